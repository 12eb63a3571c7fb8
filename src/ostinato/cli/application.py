"""The command line: all commands together, and what their errors look like.

An error is one to three lines on standard error: what, where, what to do. Exit codes: 0 done, 1 failed, 2 wrong use,
3 not found, 4 refused by policy. Knows nothing of what the commands do.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from ostinato.cli import (
    agents_commands,
    approvals_commands,
    cost_commands,
    dead_commands,
    events_commands,
    fleet_commands,
    schedules_commands,
    sessions_commands,
    setup_commands,
    tasks_commands,
)
from ostinato.cli.visible import visible
from ostinato.domain.errors import OstinatoError

EXIT_CODES = {"invalid": 2, "not_found": 3, "denied": 4}
"""Error code -> exit code; every other error is 1."""

INTERRUPTED = 130
"""As shells say it: 128 + SIGINT."""

TRACEBACK_VARIABLE = "OSTINATO_TRACEBACK"
"""Set it to see where an unexpected error came from."""

HELP = """Agents that keep working when nobody is watching.

A fleet is a folder: agents in agents/, settings in ostinato.toml. Make one, let it run, look what needs you:

\b
  ostinato init my-fleet --yes && cd my-fleet
  ostinato up
  ostinato status
"""


def application() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="ostinato",
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for room in (setup_commands, fleet_commands):
        room.add_to(app)
    for room in (
        agents_commands,
        tasks_commands,
        sessions_commands,
        approvals_commands,
        schedules_commands,
        dead_commands,
    ):
        app.add_typer(room.commands())
    for room in (cost_commands, events_commands):
        room.add_to(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit code. Never raises."""
    try:
        code = application()(args=list(arguments), prog_name="ostinato", standalone_mode=False)
        sys.stdout.flush()
    except OstinatoError as error:
        return _refuse(error)
    except TyperException as error:
        return _misused(error)
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


def _refuse(error: OstinatoError) -> int:
    _say(f"{error.message}" if not error.place else f"{error.place}: {error.message}")
    if error.cure:
        _say(error.cure, head="  ")
    return EXIT_CODES.get(error.code, 1)


def _misused(error: TyperException) -> int:
    """Wrong use of a command: what, and where its help is."""
    message = error.format_message()
    if message:
        _say(message)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ostinato"
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
        sys.stderr.write(f"{head}{visible(' '.join(text.split()))}\n")
    except (OSError, ValueError):
        pass  # nobody reads any more
