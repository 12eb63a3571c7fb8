"""Front matter of workspace files: AGENTS.md, TOOLS.md, HEARTBEAT.md and heartbeats/*.md of one agent.

Knows nothing of loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from tests.security.hostile.case import Content, Kind, Surface
from tests.security.hostile.form import brackets, encoded, quoted

BEAT = {
    "every": "15m",
    "active": '"07:00-20:00"',
    "timezone": "Europe/Zurich",
    "check": '{when: "tasks.failed > 0"}',
    "session": "main",
}
WHOLE: Mapping[str, Mapping[str, str]] = {
    "AGENTS.md": {
        "description": "Hello",
        "skills": "[triage]",
        "model": "good",
        "timezone": "Europe/Zurich",
        "concurrency": "2",
        "limits": "{steps: 40, tokens: 200k, usd: 0.5, wall: 10m, per_day: {usd: 5}}",
        "gates": "[{tool: message.send, when: \"args.to != 'operator'\", ask: operator, expires: 24h}]",
        "delegates": "[billing]",
        "stop": "ostinato agents pause target",
    },
    "TOOLS.md": {"allow": "[memory.note]", "files": '{read: ["."], write: ["notes/"]}', "recipients": "[operator]"},
    "HEARTBEAT.md": BEAT,
    "heartbeats/daily.md": BEAT,
}
"""File -> key -> source of its value."""

GRANTED = "memory.note"
"""The one tool that any of these files grants."""


def document(file: str, changes: Mapping[str, str] | None = None) -> str:
    """A file with some of its keys changed, or more of them."""
    lines = {**WHOLE[file], **(changes or {})}
    body = "".join(f"{key}: {source}\n" for key, source in lines.items())
    return f"---\n{body}---\nHello there.\n"


class FrontMatterForm:
    """Writes front matter."""

    surface = Surface.FRONT_MATTER

    def __init__(self, random: Random) -> None:
        self._random = random
        self._file = random.choice(list(WHOLE))

    def whole(self) -> bytes:
        return document(self._file).encode()

    def keys(self) -> Sequence[str]:
        return list(WHOLE[self._file])

    def raw(self, data: bytes) -> Content:
        return Content(data=data, name=self._file)

    def body(self, source: str) -> Content:
        return self._content(f"---\n{source}\n---\nHello.\n")

    def text(self, text: str) -> Content:
        return self._at({"AGENTS.md": ["description", "stop"], "TOOLS.md": ["recipients"]}, quoted(text, self._random))

    def named(self, name: str) -> Content:
        places = {
            "AGENTS.md": ["skills", "model", "delegates"],
            "TOOLS.md": ["allow"],
            "HEARTBEAT.md": ["session", "model"],
            "heartbeats/daily.md": ["session", "model"],
        }
        return self._at(places, quoted(name, self._random))

    def path(self, path: str) -> Content:
        source = quoted(path, self._random)
        return self._at({"TOOLS.md": ["files"]}, f"{{{self._random.choice(['read', 'write'])}: [{source}]}}")

    def moment(self, text: str) -> Content:
        source = quoted(text, self._random)
        if self._random.randrange(3) == 0:
            return self._at({"AGENTS.md": ["limits"]}, f"{{wall: {source}}}")
        beats = ["every", "active", "timezone", "escalate_after"]
        return self._at({"HEARTBEAT.md": beats, "heartbeats/daily.md": beats}, source)

    def expression(self, text: str) -> Content:
        source = quoted(text, self._random)
        match self._random.randrange(3):
            case 0:
                return self._at({"AGENTS.md": ["gates"]}, f"[{{tool: message.send, when: {source}, ask: operator}}]")
            case 1:
                return self._at({"HEARTBEAT.md": ["check"]}, f"{{when: {source}}}")
            case _:
                return self._content(f"---\ncron: {source}\n---\nHello.\n", file="heartbeats/daily.md")

    def number(self, source: str) -> Content:
        key = self._random.choice(["steps", "tokens", "usd", "identical", "wall"])
        inner = self._random.choice([source, f"{{{key}: {source}}}", f"{{per_day: {{usd: {source}}}}}"])
        return self._at({"AGENTS.md": ["concurrency" if inner == source else "limits"]}, inner)

    def literal(self, source: str) -> Content:
        return self._at({file: list(keys) for file, keys in WHOLE.items()}, source)

    def key(self, name: str) -> Content:
        plain = name if name.isascii() and name.isalpha() else quoted(name, self._random)
        return self._content(document(self._file, {plain: "x"}))

    def nested(self, depth: int) -> Content:
        blocks = "\n" + "\n".join(f"{' ' * level}a:" for level in range(1, min(depth, 250)))
        key = self._random.choice(self.keys())
        return self._content(document(self._file, {key: self._random.choice([brackets(depth, self._random), blocks])}))

    def sized(self, size: int) -> Content:
        match self._random.randrange(4):
            case 0:
                return self._content(document(self._file) + "Many words. " * (size // 12))
            case 1:
                key = self._random.choice(self.keys())
                return self._content(document(self._file, {key: "x" * size}))
            case 2:
                return self.body("".join(f"k{number}: x\n" for number in range(size // 40)))
            case _:
                return self.body("# " + "comment " * (size // 8))

    def twice(self, times: int) -> Content:
        key = self._random.choice(self.keys())
        return self.body(f"{key}: {WHOLE[self._file][key]}\n" * times)

    def other_kind(self, kind: Kind, random: Random) -> Content:
        return Content(data=self.whole(), name=self._file, kind=kind)

    def moving(self, random: Random) -> Content:
        after = random.choice([self.whole(), b"---\nskils: [x]\n---\n", b"", self.whole()[:20]])
        before = self.whole() + b"word " * random.choice([0, 1_000, 100_000])
        return Content(data=after, before=before, name=self._file, kind=Kind.MOVING)

    def _at(self, places: Mapping[str, Sequence[str]], source: str) -> Content:
        file = self._random.choice(list(places))
        return self._content(document(file, {self._random.choice(places[file]): source}), file=file)

    def _content(self, text: str, *, file: str = "") -> Content:
        return Content(data=encoded(text), name=file or self._file)
