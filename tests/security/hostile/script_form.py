"""Model scripts: YAML files of rules.

Knows nothing of reading or serving them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from tests.security.hostile.case import Content, Kind, Surface
from tests.security.hostile.form import brackets, encoded, quoted

WHOLE = """rules:
  - name: greet
    when: {user: 'Hello', call: 1}
    text: "Hello, you said {user|excerpt:40}."
    usage: {input: 10, output: 5}
  - name: seldom
    when: {user: 'xyzzy'}
    calls:
      - tool: memory.note
        args: {text: "{user}"}
default:
  text: "No rule knows this."
price: {input: 0.25, output: 2.0}
models: [first]
"""

SELDOM = "  - name: seldom\n    when: {user: 'xyzzy'}\n"
"""What a rule begins with that no message of these tests is meant for, so that its delays and faults cost no time."""

KEYS: Mapping[str, Sequence[str]] = {
    "": ["rules", "default", "delay", "models", "price"],
    "rule": [
        "name",
        "when",
        "unless",
        "for_each",
        "choose",
        "text",
        "calls",
        "stop",
        "usage",
        "delay",
        "pace",
        "fault",
    ],
    "when": ["user", "asked", "result", "system", "model", "offered", "called", "attempt"],
    "price": ["input", "cached", "output"],
}
"""Where -> the keys that belong there."""


class ScriptForm:
    """Writes scripts."""

    surface = Surface.SCRIPT

    def __init__(self, random: Random) -> None:
        self._random = random
        self._where = random.choice(list(KEYS))

    def whole(self) -> bytes:
        return WHOLE.encode()

    def keys(self) -> Sequence[str]:
        return KEYS[self._where]

    def raw(self, data: bytes) -> Content:
        return Content(data=data)

    def body(self, source: str) -> Content:
        return self.raw(encoded(self._random.choice([source, f"rules:\n{source}", f"{WHOLE}\n{source}"])))

    def text(self, text: str) -> Content:
        source = quoted(text, self._random)
        return self._rules(
            f"  - text: {source}\n",
            f"  - text: Hello\n    calls: [{{tool: x.y, args: {{a: {source}}}}}]\n",
            f"  - calls: [{{tool: memory.note, raw: {source}}}]\n",
        )

    def named(self, name: str) -> Content:
        source = quoted(name, self._random)
        return self._rules(
            f"  - name: {source}\n    text: Hello\n",
            f"  - calls: [{{tool: {source}, args: {{}}}}]\n",
            f"{SELDOM}    for_each: {{in: {source}}}\n    text: x\n",
            f"{SELDOM}    stop: {source}\n",
            f"{SELDOM}    fault: {source}\n",
        )

    def path(self, path: str) -> Content:
        return self._rules(f"  - calls: [{{tool: files.read, args: {{path: {quoted(path, self._random)}}}}}]\n")

    def moment(self, text: str) -> Content:
        source = quoted(text, self._random)
        return self._rules(
            f"{SELDOM}    text: x\n    delay: {source}\n",
            f"{SELDOM}    text: x\n    pace: {source}\n",
            f"{SELDOM}    fault: {{status: 503, retry_after: {source}}}\n",
        )

    def expression(self, text: str) -> Content:
        source = quoted(text, self._random)
        return self._rules(
            f"  - when: {{user: {source}}}\n    text: Hello\n",
            f"  - when: {{call: {source}}}\n    text: x\n",
            f"  - unless: {{system: {source}}}\n    text: x\n",
            f'  - for_each: {{in: user, match: {source}}}\n    text: "{{item}}"\n',
        )

    def number(self, source: str) -> Content:
        if self._random.randrange(2):
            return self.raw(encoded(f"{WHOLE.partition('price')[0]}price: {{input: {source}}}\n"))
        return self._rules(
            f"  - text: Hello\n    usage: {{input: {source}}}\n",
            f"  - when: {{call: {source}}}\n    text: x\n",
            f"{SELDOM}    fault: {{status: {source}}}\n",
            f"{SELDOM}    text: x\n    delay: {source}\n",
            f"  - when: {{nth: {source}}}\n    text: Hello\n",
        )

    def literal(self, source: str) -> Content:
        key = self._random.choice(KEYS["rule"])
        top = self._random.choice(["rules", "default", "models", "price"])
        return self._rules(
            f"{SELDOM}    {key}: {source}\n", f"  - text: {source}\n", f"{SELDOM}    text: x\n{top}: {source}\n"
        )

    def key(self, name: str) -> Content:
        plain = name if name.isascii() and name.isalpha() else quoted(name, self._random)
        found = {
            "": f"{WHOLE}{plain}: x\n",
            "rule": f"rules:\n  - text: Hello\n    {plain}: x\n",
            "when": f"rules:\n  - text: Hello\n    when: {{{plain}: x}}\n",
            "price": f"{WHOLE.partition('price')[0]}price: {{{plain}: 1}}\n",
        }
        return self.raw(encoded(found[self._where]))

    def nested(self, depth: int) -> Content:
        value = brackets(depth, self._random)
        choices = "  - choose:\n" + "".join(f"{'  ' * level}  - choose:\n" for level in range(1, min(depth, 60)))
        return self._rules(f"  - calls: [{{tool: x, args: {{a: {value}}}}}]\n", f"  - text: {value}\n", choices)

    def sized(self, size: int) -> Content:
        match self._random.randrange(3):
            case 0:
                return self.raw(WHOLE.encode() + b"# a remark\n" * (size // 11))
            case 1:
                return self._rules(f"  - text: {'x' * size}\n")
            case _:
                return self.raw(b"x" * size)

    def twice(self, times: int) -> Content:
        return self._rules(
            "  - name: a\n    text: x\n" * times,
            "  - text: Hello\n" + "    text: Hello\n" * times,
            "  - text: x\n" + "default: {text: x}\n" * times,
        )

    def other_kind(self, kind: Kind, random: Random) -> Content:
        return Content(data=self.whole(), kind=kind)

    def moving(self, random: Random) -> Content:
        after = random.choice([self.whole(), b"rulse: []\n", b"", self.whole()[:40]])
        return Content(data=after, before=self.whole() + b"# a remark\n" * random.choice([0, 2_000]), kind=Kind.MOVING)

    def _rules(self, *choices: str) -> Content:
        return self.raw(encoded(f"rules:\n{self._random.choice(choices)}"))
