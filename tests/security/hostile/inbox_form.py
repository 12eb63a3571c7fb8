"""Files that are dropped into an inbox: Markdown, JSON, mails and anything else, under any name.

Knows nothing of taking them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from tests.security.hostile.case import Content, Kind, Surface
from tests.security.hostile.form import brackets, encoded, quoted

WHOLE = {
    "title": "Hello",
    "agent": "clerk",
    "goal": "Say hello to whoever asks.",
    "priority": "3",
    "project": "desk",
    "timeout": "10m",
    "session": "main:clerk",
}
"""Key -> source of its value; texts are quoted where the format wants it."""

NAME_BYTES_MAX = 180
"""A file's name may have 255 bytes; the rest is for the mark that makes it the only one."""


class InboxForm:
    """Writes dropped files."""

    surface = Surface.INBOX

    def __init__(self, random: Random) -> None:
        self._random = random
        self._suffix = random.choice([".md", ".md", ".json", ".json", ".eml", ".txt"])
        self._mark = f"{random.getrandbits(48):012x}"
        self._folder = random.choice(["inbox", "inbox", "inbox", "agents/clerk/inbox"])

    def whole(self) -> bytes:
        match self._suffix:
            case ".md":
                return self._markdown({}).encode()
            case ".json":
                return self._json({}).encode()
            case ".eml":
                heads = f"From: ann@example.com\r\nSubject: Hello\r\nMessage-ID: <{self._mark}@x>\r\n"
                return f"{heads}\r\nHello there.\r\n".encode()
            case _:
                return b"Hello there,\nsomebody left this here.\n"

    def keys(self) -> Sequence[str]:
        return [*WHOLE, "skills", "not_before", "deadline", "after", "kind", "input", "model"]

    def raw(self, data: bytes) -> Content:
        return Content(data=data, name=self._name("file"))

    def body(self, source: str) -> Content:
        self._settle()
        text = f"---\n{source}\n---\nHello.\n" if self._suffix == ".md" else source
        return self.raw(encoded(text))

    def text(self, text: str) -> Content:
        return self._with(self._random.choice(["title", "goal", "project", "type"]), quoted(text, self._random))

    def named(self, name: str) -> Content:
        if self._random.randrange(2):
            return Content(data=self.whole(), name=self._name(name))
        key = self._random.choice(["agent", "session", "model", "skills", "key", "kind"])
        return self._with(key, quoted(name, self._random))

    def path(self, path: str) -> Content:
        if self._random.randrange(2):
            return Content(data=self.whole(), name=self._name(path))
        return self._with("input", f'{{"path": {quoted(path, self._random)}}}')

    def moment(self, text: str) -> Content:
        return self._with(self._random.choice(["not_before", "deadline", "timeout"]), quoted(text, self._random))

    def expression(self, text: str) -> Content:
        return self._with(self._random.choice(["session", "type", "title"]), quoted(text, self._random))

    def number(self, source: str) -> Content:
        key = self._random.choice(["priority", "after", "priority"])
        return self._with(key, source if key == "priority" else f"[{source}]")

    def literal(self, source: str) -> Content:
        return self._with(self._random.choice(self.keys()), source)

    def key(self, name: str) -> Content:
        self._settle()
        if self._suffix == ".md" and name.isascii() and name.isalpha():
            return self._content(self._markdown({name: "x"}))
        source = quoted(name, self._random)
        found = self._json({})[:-1] + f', {source}: "x"}}' if self._suffix == ".json" else f"---\n{source}: x\n---\nHi"
        return self._content(found)

    def nested(self, depth: int) -> Content:
        return self._with("input", f'{{"a": {brackets(depth, self._random)}}}')

    def sized(self, size: int) -> Content:
        if self._random.randrange(2):
            return self.raw(self.whole() + b"x" * size)
        return self._with(self._random.choice(["goal", "title", "key"]), f'"{"x" * size}"')

    def twice(self, times: int) -> Content:
        self._settle()
        key = self._random.choice(["title", "agent", "goal"])
        if self._suffix == ".md":
            return self._content("---\n" + f"{key}: clerk\n" * times + "---\n")
        each = self._random.choice(['{"title": "a", "key": "k"}', self._json({})])
        return self._content(f"[{', '.join([each] * times)}]")

    def other_kind(self, kind: Kind, random: Random) -> Content:
        return Content(data=self.whole(), name=self._name("file"), kind=kind)

    def moving(self, random: Random) -> Content:
        before = random.choice([b"", self.whole()[:10], self.whole() + b"x" * 50_000])
        return Content(data=self.whole(), before=before, name=self._name("file"), kind=Kind.MOVING)

    def _settle(self) -> None:
        """Only Markdown and JSON have keys."""
        self._suffix = self._suffix if self._suffix in {".md", ".json"} else self._random.choice([".md", ".json"])

    def _with(self, key: str, source: str) -> Content:
        self._settle()
        return self._content(self._markdown({key: source}) if self._suffix == ".md" else self._json({key: source}))

    def _content(self, text: str) -> Content:
        return Content(data=encoded(text), name=self._name("file"))

    def _markdown(self, changes: dict[str, str]) -> str:
        lines = {key: source for key, source in WHOLE.items() if key != "goal"} | changes
        prose = "" if "goal" in changes else "Hello there.\n"
        return "---\n" + "".join(f"{key}: {source}\n" for key, source in lines.items()) + f"---\n{prose}"

    def _json(self, changes: dict[str, str]) -> str:
        plain = {key: source if key == "priority" else json.dumps(source) for key, source in WHOLE.items()}
        return "{" + ", ".join(f'"{key}": {source}' for key, source in {**plain, **changes}.items()) + "}"

    def _name(self, stem: str) -> str:
        """A name that a file can have, and no other has: as near to `stem` as the file system lets it."""
        allowed = "".join("∕" if each == "/" else "␀" if each == "\0" else each for each in stem)
        cut = encoded(allowed)[:NAME_BYTES_MAX].decode("utf-8", "surrogateescape")
        return f"{self._folder}/{cut}{self._mark}{self._suffix}"
