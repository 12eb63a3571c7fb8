"""What a seed stands for: a small fleet, what arrives for it, what people do, and what goes wrong, each at its time.

Drawn once, before anything runs, so that a change in one part of a run does not change the others. Knows nothing of how
it is performed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Literal

from ostinato.domain.message import NewMessage
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import NewTask, TaskKind, TaskSpec
from ostinato.domain.values import SECOND, Instant, Source, Trust, Value

TROUBLED_S = 60.0
"""How long things arrive and go wrong. After it everything is repaired, and has to come to rest."""

BEGINS_AT = 1_767_600_000_000_000
"""2026-01-05T08:00:00Z."""

AGENTS = ("smith", "clerk", "watch")

_TOOLS = """\
---
allow: [world.look, world.put, world.swap, {fire}tasks.create, tasks.propose, message.send]
recipients: [operator, "mail:*@example.com"]
---
"""
FREE = "---\nconcurrency: 3\ngates_off: [irreversible, outward]\n{limits}---\nVersion {version}.\n"
GATED = (
    "---\nconcurrency: 3\n{limits}gates:\n  - {{effect: irreversible, ask: operator, expires: 40s}}\n---\n"
    "Version {version}.\n"
)
BEAT = '---\nevery: {every}\ncheck: {{when: "tasks.pending > 0 || tasks.running == 0"}}\n---\nlook around\n'
BUDGET = "limits: {{per_day: {{usd: {usd}}}}}\n"


class AddTask(Value, tag=True):
    """Somebody sends a task, again and again until they are told that it is safe. `after` are keys of earlier ones."""

    key: str
    new: NewTask
    after: tuple[str, ...] = ()


class Say(Value, tag=True):
    """Somebody sends a message."""

    agent: str
    session: str
    message: NewMessage


class Meddle(Value, tag=True):
    """A person does something to the `pick`-th task there is, if it can be done."""

    deed: Literal[
        "cancel", "fail", "retry", "fresh", "dismiss", "approve", "reject", "urgent", "release", "note", "again"
    ]
    """`again`: what runs is failed and sent on at once, while its attempt may still be at it."""
    pick: int


class Flag(Value, tag=True):
    """A person pauses or halts a scope, and lets it go on."""

    scope: str
    flag: Literal["paused", "halted"]
    for_s: float


class Deploy(Value, tag=True):
    """Files are replaced."""

    files: Mapping[str, str]


class Crash(Value, tag=True):
    """The node's process is killed: now, at one of its next commits, or right after one of the next deeds."""

    where: Literal["now", "before", "after", "deed"]
    count: int
    down_s: float


class Restart(Value, tag=True):
    """The node is stopped in order, and started again."""

    down_s: float


class Freeze(Value, tag=True):
    """The node's process is stopped, and goes on later."""

    for_s: float


class SetClock(Value, tag=True):
    """Clocks on the wall jump. Not far back: what is to be tried again in a second waits until its time comes again."""

    by_s: float


class FillDisk(Value, tag=True):
    """No commit has room."""

    for_s: float


Happening = AddTask | Say | Meddle | Flag | Deploy | Crash | Restart | Freeze | SetClock | FillDisk


class Story(Value):
    """Everything that a seed stands for."""

    seed: int
    files: Mapping[str, str]
    happenings: tuple[tuple[float, Happening], ...]
    """Seconds since the beginning, and what happens then; in order."""


def write_files(folder: Path, files: Mapping[str, str], *, at: Instant) -> None:
    """Writes files with their folders; an empty text removes one. The times of files and folders are the run's: the
    kernel's tick is longer than most of a run, and within one tick a change cannot be seen."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.with_name(f".{path.name}.new").write_text(text)
            path.with_name(f".{path.name}.new").rename(path)
            os.utime(path, ns=(at * 1_000, at * 1_000))
        else:
            path.unlink(missing_ok=True)
        os.utime(path.parent, ns=(at * 1_000, at * 1_000))


def tell(seed: int) -> Story:
    """The story of a seed."""
    chance = Random(f"story {seed}")
    happenings: list[tuple[float, Happening]] = []

    def at_any_time(happening: Happening, *, from_s: float = 0.0) -> None:
        happenings.append((round(chance.uniform(from_s, TROUBLED_S), 6), happening))

    for number in range(chance.randint(2, 6)):
        at_any_time(_task(chance, number))
    for number in range(chance.randint(1, 3)):
        at_any_time(_message(chance, number))
    for _ in range(chance.randint(0, 4)):
        at_any_time(_meddle(chance), from_s=5.0)
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        at_any_time(Meddle(deed="again", pick=chance.randrange(1_000)))
    for _ in range(chance.choice((0, 0, 1, 2))):
        at_any_time(_flag(chance))
    for version in range(2, 2 + chance.choice((0, 0, 1, 2))):
        at_any_time(Deploy(files=_agent_files(chance, chance.choice(AGENTS), version)))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        at_any_time(_crash(chance))
    for happening in (
        Restart(down_s=chance.uniform(0.1, 5.0)),
        Freeze(for_s=chance.uniform(1.0, 30.0)),
        SetClock(by_s=chance.choice((86_400.0, 3_600.0, 100.0, -20.0, -100.0))),
        FillDisk(for_s=chance.uniform(0.5, 8.0)),
    ):
        if chance.random() < 0.2:
            at_any_time(happening)
    files = {"ostinato.toml": _fleet_file(chance)}
    for agent in AGENTS:
        files.update(_agent_files(chance, agent, 1))
    return Story(seed=seed, files=files, happenings=tuple(sorted(happenings, key=lambda each: each[0])))


def _fleet_file(chance: Random) -> str:
    limit = "" if chance.random() < 0.7 else f"[limits.per_day]\nusd = {chance.choice((0.1, 0.3))}\n"
    return f'[fleet]\nname = "sim"\n[engine]\ntasks = {chance.choice((1, 3, 8))}\n[tasks]\nfile = false\n{limit}'


def _agent_files(chance: Random, agent: str, version: int) -> dict[str, str]:
    limits = BUDGET.format(usd=chance.choice((0.02, 0.06, 0.2))) if chance.random() < 0.25 else ""
    text = GATED if agent == "clerk" else FREE
    folder = f"agents/{agent}"
    fire = "" if version > 1 and chance.random() < 0.3 else "world.fire, "
    files = {
        f"{folder}/AGENTS.md": text.format(version=version, limits=limits),
        f"{folder}/TOOLS.md": _TOOLS.format(fire=fire),
        f"{folder}/SOUL.md": f"I am {agent}.\n",
    }
    if agent == "watch":
        files[f"{folder}/HEARTBEAT.md"] = BEAT.format(every=chance.choice(("10s", "20s", "1m")))
    return files


def _task(chance: Random, number: int) -> AddTask:
    key = f"task {number}"
    after = (f"task {chance.randrange(number)}",) if number and chance.random() < 0.25 else ()
    spec = TaskSpec(
        goal=f"do {key}",
        retry=RetryPolicy(attempts_max=chance.choice((1, 3, 5)), base_s=1.0, factor=2.0),
        timeout_s=chance.choice((None, None, None, 5.0, 30.0)),
        deadline_at=BEGINS_AT + round(chance.uniform(10, 200) * SECOND) if chance.random() < 0.1 else None,
        trust=chance.choice((Trust.OPERATOR, Trust.OPERATOR, Trust.EXTERNAL)),
        deliver=chance.choice((None, None, "operator", "session:main:watch")),
    )
    new = NewTask(
        kind=TaskKind.GOAL,
        title=key,
        spec=spec,
        agent=chance.choice(("smith", "smith", "clerk")),
        priority=chance.choice((0, 0, 0, 10, -10)),
        not_before_at=BEGINS_AT + round(chance.uniform(0, 120) * SECOND) if chance.random() < 0.15 else 0,
        draft=chance.random() < 0.1,
        key=key,
    )
    return AddTask(key=key, new=new, after=after)


def _message(chance: Random, number: int) -> Say:
    agent = chance.choice(AGENTS)
    message = NewMessage(
        source=Source.OPERATOR,
        text=f"message {number}",
        client_id=f"message {number}",
        trust=chance.choice((Trust.OPERATOR, Trust.EXTERNAL)),
    )
    return Say(agent=agent, session=chance.choice((f"main:{agent}", f"chat:{agent}")), message=message)


def _meddle(chance: Random) -> Meddle:
    deeds = ("cancel", "cancel", "fail", "retry", "retry", "fresh", "dismiss", "approve", "reject", "urgent", "note")
    return Meddle(deed=chance.choice((*deeds, "release")), pick=chance.randrange(1_000))  # type: ignore[arg-type]  # one of its words


def _flag(chance: Random) -> Flag:
    scope = chance.choice(("fleet", "agent:smith", "agent:clerk", "session:main:watch", "task:2"))
    return Flag(scope=scope, flag=chance.choice(("paused", "halted")), for_s=chance.uniform(1.0, 30.0))


def _crash(chance: Random) -> Crash:
    where = chance.choice(("now", "before", "after", "after", "deed", "deed"))
    down_s = chance.choice((0.05, 0.5, 5.0))
    return Crash(where=where, count=chance.randint(1, 12) if where != "deed" else chance.randint(1, 3), down_s=down_s)  # type: ignore[arg-type]  # one of its words
