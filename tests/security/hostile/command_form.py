"""Command lines: arguments, options and standard input of commands that end by themselves.

`@fleet` stands for `--fleet` and the fleet's folder, which only the siege knows. Left out is whatever would halt the
fleet, stay in the foreground, or write outside the folder that the commands run in. Knows nothing of running them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random

from tests.security.hostile.case import Command, Kind, Surface
from tests.security.hostile.form import brackets, encoded

FLEET = "@fleet"
MOVING = "moving"
"""A fleet whose file changes all the time."""
HERE = "@"
"""Where the hostile word stands."""

ARGUMENT_BYTES_MAX = 100_000
"""The kernel takes 128 kB for one argument; more goes to standard input."""

TEXTS = [
    ("tasks", "add", FLEET, HERE, "--agent", "clerk"),
    ("tasks", "add", FLEET, HERE, "--agent", "clerk", "--json"),
    ("tasks", "add", FLEET, "Hello", "--agent", "clerk", "--goal", HERE),
    ("sessions", "send", FLEET, "clerk", HERE),
    ("wake", FLEET, "clerk", "--text", HERE),
    ("tasks", "comment", FLEET, "T1", HERE),
    ("agents", "pause", FLEET, "spare", "--reason", HERE),
    ("approvals", "answer", FLEET, "Q1", HERE),
    ("approvals", "deny", FLEET, "Q1", "--reason", HERE),
    ("dead", "dismiss", FLEET, "T1", "--reason", HERE),
    ("tasks", "list", FLEET, "--text", HERE),
]
NAMES = [
    ("agents", "show", FLEET, HERE),
    ("agents", "add", FLEET, HERE),
    ("agents", "add", FLEET, HERE, "--purpose", "x", "--skill", HERE),
    ("agents", "context", FLEET, HERE, "--json"),
    ("tasks", "show", FLEET, HERE),
    ("tasks", "cancel", FLEET, HERE, "--reason", "x"),
    ("tasks", "add", FLEET, "Hello", "--agent", HERE),
    ("tasks", "add", FLEET, "Hello", "--skill", HERE, "--project", HERE, "--key", HERE),
    ("tasks", "list", FLEET, "--state", HERE),
    ("tasks", "list", FLEET, "--agent", HERE, "--json"),
    ("sessions", "show", FLEET, HERE),
    ("sessions", "send", FLEET, HERE, "Hello"),
    ("schedules", "remove", FLEET, HERE),
    ("schedules", "add", FLEET, HERE, "clerk", "Hello", "--every", "7d"),
    ("approvals", "show", FLEET, HERE),
    ("approvals", "list", FLEET, "--state", HERE),
    ("dead", "replay", FLEET, HERE),
    ("cost", FLEET, "--by", HERE),
    ("events", FLEET, "--name", HERE),
    ("events", FLEET, "--session", HERE, "--json"),
    ("init", "new", "--template", HERE, "--yes"),
    ("init", "new", "--timezone", HERE, "--yes"),
    ("up", "--pool", HERE, FLEET),
    (HERE,),
    ("tasks", HERE),
]
PATHS = [
    ("status", "--fleet", HERE),
    ("check", "--fleet", HERE, "--json"),
    ("backup", FLEET, HERE),
    ("restore", "--fleet", "asleep", HERE, "--replace"),
    ("model", "serve", HERE),
]
MOMENTS = [
    ("events", FLEET, "--since", HERE),
    ("events", FLEET, "--until", HERE, "--json"),
    ("cost", FLEET, "--since", HERE),
    ("tasks", "add", FLEET, "Hello", "--agent", "spare", "--not-before", HERE),
    ("tasks", "add", FLEET, "Hello", "--agent", "spare", "--deadline", HERE),
    ("tasks", "add", FLEET, "Hello", "--agent", "spare", "--timeout", HERE),
    ("schedules", "add", FLEET, "later", "spare", "Hello", "--every", HERE),
    ("schedules", "add", FLEET, "later", "spare", "Hello", "--at", HERE),
    ("schedules", "add", FLEET, "later", "spare", "Hello", "--every", "7d", "--active", HERE),
]
EXPRESSIONS = [
    ("schedules", "add", FLEET, "ticking", "spare", "Hello", "--cron", HERE),
    ("schedules", "add", FLEET, "ticking", "spare", "Hello", "--every", "7d", "--weekdays", HERE),
    ("schedules", "add", FLEET, "ticking", "spare", "Hello", "--every", "7d", "--misfire", HERE),
    ("events", FLEET, "--name", HERE),
]
NUMBERS = [
    ("tasks", "list", FLEET, "--limit", HERE),
    ("tasks", "list", FLEET, "--before", HERE),
    ("tasks", "add", FLEET, "Hello", "--agent", "spare", "--priority", HERE),
    ("tasks", "add", FLEET, "Hello", "--agent", "spare", "--after", HERE),
    ("tasks", "show", FLEET, HERE),
    ("tasks", "move", FLEET, "T1", "--priority", HERE),
    ("events", FLEET, "--limit", HERE),
    ("events", FLEET, "--after", HERE),
    ("approvals", "show", FLEET, HERE),
    ("model", "serve", "nowhere.yaml", "--port", HERE),
]
OBJECTS = [
    ("tasks", "add", FLEET, "Hello", "--agent", "spare", "--input", HERE),
    ("approvals", "allow", FLEET, "Q1", "--arguments", HERE),
]
KEYS = {
    ("tasks", "list", FLEET): ["agent", "project", "state", "limit", "before"],
    ("tasks", "add", FLEET, "Hello"): ["agent", "priority", "project", "deadline", "timeout", "model"],
    ("events", FLEET): ["since", "until", "agent", "session", "limit"],
    ("agents", "show", FLEET, "clerk"): ["fleet", "json"],
}
"""Command -> some of its options."""


class CommandForm:
    """Writes command lines."""

    surface = Surface.COMMAND_LINE

    def __init__(self, random: Random) -> None:
        self._random = random
        self._command = random.choice(list(KEYS))

    def whole(self) -> bytes:
        return b'{"note": "Hello", "number": 3, "list": [1, 2, {"a": "b"}]}'

    def keys(self) -> Sequence[str]:
        return KEYS[self._command]

    def raw(self, data: bytes) -> Command:
        if self._random.randrange(2) and len(data) < ARGUMENT_BYTES_MAX:
            return self._filled([*OBJECTS, *TEXTS], os.fsdecode(data))
        command = self._random.choice([each for each in TEXTS if each[-1] == HERE])
        return Command(tuple("-" if each == HERE else each for each in command), given=data)

    def body(self, source: str) -> Command:
        return self._filled(OBJECTS, source)

    def text(self, text: str) -> Command:
        return self._filled(TEXTS, text)

    def named(self, name: str) -> Command:
        return self._filled(NAMES, name)

    def path(self, path: str) -> Command:
        return self._filled(PATHS, path)

    def moment(self, text: str) -> Command:
        return self._filled(MOMENTS, text)

    def expression(self, text: str) -> Command:
        return self._filled(EXPRESSIONS, text)

    def number(self, source: str) -> Command:
        return self._filled(NUMBERS, source)

    def literal(self, source: str) -> Command:
        return self._filled([*OBJECTS, *NUMBERS], source)

    def key(self, name: str) -> Command:
        return Command((*self._command, self._argument(f"--{name}"), "x"))

    def nested(self, depth: int) -> Command:
        return self._filled(OBJECTS, f'{{"a": {brackets(depth, self._random)}}}')

    def sized(self, size: int) -> Command:
        if self._random.randrange(2):
            return self.raw(b"words " * (size // 6))
        return self._filled([*TEXTS, *NAMES, *MOMENTS], "x" * size)

    def twice(self, times: int) -> Command:
        found = [
            ("tasks", "list", FLEET, *("--limit", "1") * times),
            ("tasks", "show", FLEET, *("T1",) * times),
            ("status", FLEET, *("--json",) * times),
            ("events", FLEET, *("--agent", "clerk", "--agent", "nobody") * times),
            ("tasks", "add", FLEET, "Hello", *("--agent", "clerk") * times),
            ("agents", "add", FLEET, "clerk"),
            ("tasks", "tasks", FLEET),
        ]
        return Command(self._random.choice(found))

    def other_kind(self, kind: Kind, random: Random) -> Command:
        found = [
            ("status", "--fleet", f"fleets/{kind.value}"),
            ("check", "--fleet", f"kinds/{kind.value}", "--json"),
            ("backup", FLEET, f"kinds/{kind.value}"),
            ("backup", FLEET, f"kinds/{kind.value}/copy.db"),
            ("restore", "--fleet", "asleep", f"kinds/{kind.value}", "--replace"),
            ("init", f"kinds/{kind.value}/fleet", "--yes"),
        ]
        if kind not in {Kind.LINK, Kind.SECRET}:  # which can be read, and would be served
            found.append(("model", "serve", f"kinds/{kind.value}"))
        return Command(random.choice(found))

    def moving(self, random: Random) -> Command:
        found = [("check", "--json"), ("agents", "list"), ("doctor",), ("status", "--json"), ("tasks", "list")]
        return Command((*random.choice(found), "--fleet", MOVING))

    def _filled(self, commands: Sequence[tuple[str, ...]], word: str) -> Command:
        command = self._random.choice(commands)
        return Command(tuple(self._argument(word) if each == HERE else each for each in command))

    def _argument(self, word: str) -> str:
        """As the interpreter gives what stood on the command line."""
        data = encoded(word) if not any("\udc80" <= each <= "\udcff" for each in word) else os.fsencode(word)
        return os.fsdecode(data[:ARGUMENT_BYTES_MAX])
