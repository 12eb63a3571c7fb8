"""What a small fleet is to do: its folders, its model's script, and what arrives for it.

A scenario says nothing about crashes. What it does in a run without any is what it must do in every other. Knows
nothing of nodes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ostinato.domain.message import NewMessage
from ostinato.domain.task import NewTask, TaskKind, TaskSpec
from ostinato.domain.values import Value
from ostinato.models.scripted.reading import parse_script
from ostinato.models.scripted.script import Script

TOOLS = """\
---
allow:
  [world.look, world.put, world.swap, world.fire, world.stumble,
   tasks.create, message.send, memory.note, files.write, files.append, files.edit]
files: {write: [out/]}
recipients: [operator, "mail:*@example.com"]
---
"""
"""A TOOLS.md with everything."""

FREE = """\
---
concurrency: 2
gates_off: [irreversible, outward]
---
"""
"""An AGENTS.md that asks nobody."""

GATED = "---\nconcurrency: 2\n---\n"
"""An AGENTS.md that asks before what is irreversible."""


class Mail(Value):
    """A message that somebody sends to a session."""

    session: str
    agent: str
    message: NewMessage


class Fault(Value):
    """A model that cannot be had at first, for reply number `call` of turns that speak of `text`."""

    call: int
    times: int = 1
    text: str = ""


class Scenario(Value):
    """A fleet with something to do. `agents`: name -> file -> text."""

    name: str
    agents: Mapping[str, Mapping[str, str]]
    script: Script
    arrivals: tuple[NewTask | Mail, ...] = ()
    """What a sender sends, one after the other, and sends again until it is told that it is safe."""
    dropped: Mapping[str, str] = {}
    """Files that lie in the fleet before its first node begins."""
    ends: int
    """Tasks that have ended when it is over; none is left unfinished then."""
    deeds: tuple[str, ...] = ()
    """Everything that is done in the world outside, by name."""
    work: tuple[str, ...] = ()
    """Everything that agents write, path and text."""
    faults: tuple[Fault, ...] = ()
    function: Callable[..., Awaitable[Any]] | None = None
    """What its agents of kind `python` do."""
    services: frozenset[str] = frozenset()
    """`calendar`, `inbox`: what it is about, beside the engine and the scribe."""

    def build(self, folder: Path) -> None:
        """Writes the fleet's files."""
        # Without TASKS.md, whose writes come when they like: places to die in are counted. It has a harness of its own.
        write(folder / "ostinato.toml", '[fleet]\nname = "crash"\n[inbox]\nsettle = "0s"\n[tasks]\nfile = false\n')
        for agent, files in self.agents.items():
            for name, text in {"TOOLS.md": TOOLS, **files}.items():
                write(folder / "agents" / agent / name, text)
        for name, text in self.dropped.items():
            write(folder / name, text)


def write(path: Path, text: str) -> None:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def script(text: str) -> Script:
    """A model's rules; without any that holds it ends the turn."""
    return parse_script(f"{text}\ndefault: {{text: all done}}")


def goal(text: str, agent: str, *, key: str, after: tuple[int, ...] = ()) -> NewTask:
    """A goal that a sender sends."""
    return NewTask(kind=TaskKind.GOAL, title=text, spec=TaskSpec(goal=text), agent=agent, key=key, after=after)
