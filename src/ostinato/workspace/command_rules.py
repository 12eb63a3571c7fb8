"""`kind` of AGENTS.md, and what goes with it: an agent whose work is done by a program of another make (`command`), or
by a function of the fleet's own (`python`).

Knows nothing of how either is run; TOOLS.md grants what they may do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ostinato.domain.command import effect_of
from ostinato.domain.step import Effect
from ostinato.domain.values import Value
from ostinato.workspace.fields import Fields

KINDS = ("model", "command", "python")
COMMAND_KEYS = ("argv", "stdin", "timeout", "terminal", "worktree", "secrets", "environment")
GOAL = "{goal}"
"""Stands in `argv` and `stdin` for the goal."""

TIMEOUT_S = 3_600.0

_FUNCTION = re.compile(r"[a-z][a-z0-9_]{0,47}\.[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


class CodingCommand(Value):
    """The program that does an agent's work."""

    argv: tuple[str, ...]
    stdin: str = ""
    timeout_s: float = TIMEOUT_S
    terminal: bool = False
    worktree: bool = False
    """Each task works in a Git worktree of its own."""
    secrets: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    """Plain variables; what is secret is named in `secrets`."""

    def argv_for(self, goal: str) -> list[str]:
        """The words, with the goal in its place. A goal that begins like an option gets a space before it: whoever
        gives a goal has no say in the program's settings."""
        safe = f" {goal}" if goal.startswith("-") else goal
        return [each.replace(GOAL, safe if each.startswith(GOAL) else goal) for each in self.argv]


def only_reads(command: CodingCommand, *, effects: Mapping[str, Effect], network: Sequence[str]) -> bool:
    """True where TOOLS.md declares that the command reads and does nothing else, whatever the goal, and nothing that it
    has could make that untrue: a network, secrets, a worktree."""
    declared = effect_of(command.argv, effects) is Effect.READ
    return declared and not network and not command.secrets and not command.worktree


def words_of(fields: Fields, key: str) -> tuple[str, ...]:
    """The words of a command, each as often and where it stands. Raises Invalid for what is no list of texts."""
    found = fields.plain(key) if fields.has(key) else []
    if not isinstance(found, list) or not all(isinstance(each, str) and "\0" not in each for each in found):
        raise fields.wrong(key, "A command is a list of texts", cure="For example [git, status]; numbers need quotes.")
    return tuple(found)


def parse_command(fields: Fields) -> CodingCommand | None:
    """The command of an agent of kind `command`; None for every other. Raises Invalid."""
    kind = fields.choice("kind", KINDS, "model")
    group = fields.group("command", COMMAND_KEYS)
    if kind != "command":
        if group is not None:
            raise fields.wrong("command", "The agent is not of kind 'command'", cure="Add: kind: command")
        return None
    if group is None or not words_of(group, "argv"):
        cure = "For example: command: {argv: [codex, exec, --json, '{goal}']}"
        raise fields.wrong("kind", "An agent of kind 'command' needs a command", cure=cure)
    argv, stdin = words_of(group, "argv"), group.text("stdin")
    if not any(GOAL in each for each in (*argv[1:], stdin)):
        raise group.wrong("argv", "The goal has no place in the command", cure=f"Put {GOAL} into argv or stdin.")
    environment = group.group("environment", ()) if group.has("environment") else None
    variables = {name: environment.text(name) for name in environment.names()} if environment else {}
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise group.wrong("environment", f"{name[:64]!r} is not the name of a variable", cure="Correct it.")
    if not all(map(_VARIABLE.fullmatch, group.texts("secrets"))):  # it may be the secret itself
        cure = "Name it only; the value stays in the environment."
        raise group.wrong("secrets", "This is not the name of a secret", cure=cure)
    return CodingCommand(
        argv=argv,
        stdin=stdin,
        timeout_s=group.duration_s("timeout", TIMEOUT_S, least=1.0),
        terminal=group.flag("terminal", default=False),
        worktree=group.flag("worktree", default=False),
        secrets=group.texts("secrets"),
        environment=variables,
    )


def parse_function(fields: Fields) -> str:
    """The function of an agent of kind `python`, `file.function`; empty for every other. Raises Invalid."""
    kind, name = fields.choice("kind", KINDS, "model"), fields.text("function")
    if kind != "python":
        if name:
            raise fields.wrong("function", "The agent is not of kind 'python'", cure="Add: kind: python")
        return ""
    if not _FUNCTION.fullmatch(name):
        words = f"{name[:80]!r} is not a function" if name else "An agent of kind 'python' needs a function"
        raise fields.wrong("function" if name else "kind", words, cure="For 'chase' of tools/bills.py: bills.chase")
    return name
