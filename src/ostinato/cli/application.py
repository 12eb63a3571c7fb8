"""The command line: all commands together, and what their errors look like.

An error is one to three lines on standard error: what, where, what to do. Exit codes: 0 done, 1 failed, 2 wrong use,
3 not found, 4 refused by policy. Knows nothing of what the commands do.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ostinato import __version__
from ostinato.cli.options import Commands
from ostinato.cli.visible import visible
from ostinato.domain.errors import Invalid, OstinatoError

EXIT_CODES = {"invalid": 2, "not_found": 3, "denied": 4}
"""Error code -> exit code; every other error is 1."""

INTERRUPTED = 130
"""As shells say it: 128 + SIGINT."""

SAID_CHARS_MAX = 1_500
"""An argument may be as long as a book; what is said about it must not."""

TRACEBACK_VARIABLE = "OSTINATO_TRACEBACK"
"""Set it to see where an unexpected error came from."""

ROOMS = {
    "init": "setup_commands",
    "up": "setup_commands",
    "demo": "setup_commands",
    "status": "fleet_commands",
    "doctor": "fleet_commands",
    "check": "fleet_commands",
    "wake": "fleet_commands",
    "stop": "fleet_commands",
    "start": "fleet_commands",
    "events": "events_commands",
    "cost": "cost_commands",
    "backup": "fleet_commands",
    "restore": "setup_commands",
}
"""Command -> the room that has it, in the order in which people meet them."""

GROUPS = {
    "agents": "agents_commands",
    "tasks": "tasks_commands",
    "sessions": "sessions_commands",
    "approvals": "approvals_commands",
    "tools": "tools_commands",
    "audit": "audit_commands",
    "schedules": "schedules_commands",
    "dead": "dead_commands",
    "processes": "processes_commands",
    "mcp": "mcp_commands",
    "breakers": "breakers_commands",
    "pins": "pins_commands",
    "tokens": "tokens_commands",
    "secrets": "secrets_commands",
    "store": "store_commands",
    "model": "model_commands",
}

NEGATED = re.compile(r"-[A-Za-z]+:")
"""How a term of a query begins that is turned round, and that looks like an option."""

HELP = """Agents that keep working when nobody is watching.

A fleet is a folder: agents in agents/, settings in ostinato.toml. Make one, let it run, see what needs you:

\b
  ostinato init my-fleet --yes && cd my-fleet
  ostinato up
  ostinato status
"""


def application(words: Sequence[str] = ()) -> typer.Typer:
    """All commands; with `words` only as much as these need: declaring an option takes longer than most commands."""
    app = _group("ostinato", HELP, subtitle="")
    app.callback()(_root)
    first = words[0] if words else ""
    if first in GROUPS:
        _add_group(app, first, words[1] if len(words) > 1 else "")
    elif first in ROOMS:
        _add(app, first, _room(ROOMS[first])[first])
    else:
        for name, room in ROOMS.items():
            _add(app, name, _room(room)[name])
        for name in GROUPS:
            _add_group(app, name, "")
    return app


def _group(name: str, text: str, *, subtitle: str) -> typer.Typer:
    return typer.Typer(
        name=name,
        help=text,
        short_help=subtitle or None,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def _add_group(app: typer.Typer, name: str, only: str) -> None:
    room = import_module(f"ostinato.cli.{GROUPS[name]}")
    group = _group(name, room.HELP, subtitle=room.HELP.rstrip("."))
    commands: Commands = room.COMMANDS
    for each, command in commands.items():
        if only not in commands or each == only:
            _add(group, each, command)
    app.add_typer(group)


def _room(name: str) -> Commands:
    commands: Commands = import_module(f"ostinato.cli.{name}").COMMANDS
    return commands


def _add(app: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """The first sentence of the docstring stands in lists; its example is kept on a line of its own."""
    text = inspect.cleandoc(command.__doc__ or "")
    head, mark, example = text.partition("\n\nExample: ")
    brief = " ".join(head.split("\n\n")[0].split())
    shown = f"{head}\n\n\b\nExample:\n  {example}" if mark else head
    app.command(name, help=shown, short_help=brief.partition(". ")[0].rstrip("."))(command)


def _root(
    *,
    version: Annotated[bool, typer.Option("--version", "-V", is_eager=True, help="Print the version.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"ostinato {__version__}\n")
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit code. Never raises."""
    try:
        _check_words(arguments)
        code = application(arguments)(args=list(arguments), prog_name="ostinato", standalone_mode=False)
        sys.stdout.flush()
    except OstinatoError as error:
        return _refuse(error)
    except TyperException as error:
        return _misused(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone: nothing more can be said, and the interpreter must not try at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # a person is never shown a traceback that they did not ask for
        return _surprised(error)
    return code if isinstance(code, int) else 0


def _check_words(arguments: Sequence[str]) -> None:
    """Raises Invalid for what no system hands over to a program, but whoever calls `run` may."""
    for each in arguments:
        try:
            held = b"\0" in os.fsencode(each)
        except UnicodeEncodeError:
            held = True
        if held:
            raise Invalid(f"{each[:40]!r} cannot stand on a command line", cure="Leave out 0 and halves of characters.")


def _refuse(error: OstinatoError) -> int:
    _say(f"{error.message}" if not error.place else f"{error.place}: {error.message}")
    if error.cure:
        _say(error.cure, head="  ")
    return EXIT_CODES.get(error.code, 1)


def _misused(error: TyperException, arguments: Sequence[str]) -> int:
    """Wrong use of a command: what, and where its help is."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help, and keeps its lines
        sys.stderr.write(f"{message}\n")
        return error.exit_code
    if message:
        _say(message)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ostinato"
    if type(error).__name__ == "NoSuchOption" and (terms := [each for each in arguments if NEGATED.match(each)]):
        _say(f"Terms that begin with a minus stand last, behind --: {command} -- {terms[0]}", head="  ")
    _say(f"See: {command} --help", head="  ")
    return error.exit_code


def _surprised(error: Exception) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    _say(f"{type(error).__name__}: {str(error)[:500]}")
    _say(f"This should not happen. {TRACEBACK_VARIABLE}=1 shows where it came from.", head="  ")
    return 1


def _say(text: str, *, head: str = "ostinato: ") -> None:
    try:
        line = visible(" ".join(text.split()))
        if len(line) > SAID_CHARS_MAX:
            line = f"{line[: SAID_CHARS_MAX // 2]} ... {line[-SAID_CHARS_MAX // 2 :]}"
        sys.stderr.write(f"{head}{line}\n")
    except (OSError, ValueError):
        pass  # nobody reads any more
