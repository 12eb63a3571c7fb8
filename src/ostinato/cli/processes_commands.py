"""`ostinato processes ...`: what agents have started that goes on by itself.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json, OfAgent, Reason, text_argument
from ostinato.cli.screen import Screen
from ostinato.cli.words import length, size, when
from ostinato.domain.errors import Exhausted
from ostinato.gateway import processes_api
from ostinato.gateway.processes_api import Done, ProcessRow

ProcessId = Annotated[str, typer.Argument(metavar="PROCESS", help="T12, or just 12: the task of the process.")]


def list_processes(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    agent: OfAgent = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Processes that run, newest first.

    Example: ostinato processes list --all
    """
    screen = Screen()
    request = processes_api.WhichProcesses(agent=agent, all=everything)
    found = Client(fleet).call(processes_api.list_processes, request)
    if as_json:
        screen.json(found)
        return
    if not found.processes:
        screen.say("There are none." if everything else "None runs.")
        return
    rows = [(each.id, each.agent, each.command, _standing(each), size(each.bytes)) for each in found.processes]
    screen.table(("PROCESS", "AGENT", "COMMAND", "STATE", "OUTPUT"), rows, grow=2)


def _standing(row: ProcessRow) -> str:
    if row.runs:
        return f"runs, {length(row.seconds)}"
    return f"exit {row.exit}" if row.exit is not None else row.ended or row.state


def show(process: ProcessId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """One process: whose it is, how long it runs, how it ended.

    Example: ostinato processes show T12
    """
    screen = Screen()
    row = Client(fleet).call(processes_api.show, processes_api.WhichProcess(process=process))
    if as_json:
        screen.json(row)
        return
    screen.say(f"{row.id} {row.command}", style="strong")
    screen.pairs(
        [
            ("state", _standing(row)),
            ("agent", row.agent),
            ("session", row.session),
            ("started by", row.parent or "nobody"),
            ("started", when(row.started_at)),
            ("terminal", "yes" if row.terminal else "no"),
            ("output", f"{row.bytes} bytes"),
            ("end", row.text if not row.runs else ""),
        ]
    )
    screen.say()
    screen.say(f"→ ostinato processes log {row.id}{' --follow' if row.runs else ''}")
    if row.runs:
        screen.say(f"→ ostinato processes kill {row.id}")


def log(
    process: ProcessId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until it has ended.")] = False,
    start: Annotated[int | None, typer.Option("--from", min=0, metavar="BYTE", help="Read from this byte on.")] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What a process has said, without escape sequences: the last of it, or from a byte on.

    Example: ostinato processes log T12 --follow
    """
    screen, client = Screen(), Client(fleet)
    request = processes_api.WhichOutput(process=process, start=start)
    if follow:
        for piece in client.stream(processes_api.follow, request):
            if piece is not None and as_json:
                screen.json_line(piece)
            elif piece is not None:
                screen.piece(piece.text)
        return
    found = client.call(processes_api.log, request)
    if as_json:
        screen.json(found)
        return
    screen.piece(found.text)
    if found.text and not found.text.endswith("\n"):
        screen.say()
    if found.end < found.total:
        screen.say(f"and more: ostinato processes log {process} --from {found.end}")


def wait(
    process: ProcessId,
    *,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.0, metavar="SECONDS", help="At most so long.")
    ] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Wait until a process has ended; says how.

    Example: ostinato processes wait T12 && echo over
    """
    screen, client = Screen(), Client(fleet)
    request = processes_api.WaitProcess(process=process, timeout_s=timeout)
    ended = None
    for ended in client.stream(processes_api.wait, request):
        if ended is not None:
            break
    if ended is None:
        raise Exhausted(f"{process} still runs", cure="Wait longer, or end it: ostinato processes kill.")
    screen.answer(ended, ended.text, as_json=as_json)


def write(
    process: ProcessId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to write; - reads standard input.")],
    *,
    end: Annotated[bool, typer.Option("--end", help="And close its input.")] = False,
    no_line_end: Annotated[bool, typer.Option("--no-newline", "-n", help="Add no line end.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Write a line to a process's input.

    Example: ostinato processes write T12 yes
    """
    said = text_argument(text) if text == "-" else text
    request = processes_api.WriteProcess(process=process, text=said if no_line_end else f"{said}\n", end=end)
    _say(Client(fleet).call(processes_api.write, request), as_json=as_json)


def keys(
    process: ProcessId,
    names: Annotated[list[str], typer.Argument(metavar="KEY...", help="enter, up, ctrl-c, or characters.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Press keys at a process's terminal.

    Example: ostinato processes keys T12 down down enter
    """
    request = processes_api.PressKeys(process=process, keys=names)
    _say(Client(fleet).call(processes_api.keys, request), as_json=as_json)


def resize(
    process: ProcessId,
    rows: Annotated[int, typer.Argument(metavar="ROWS", min=1, max=1_000)],
    columns: Annotated[int, typer.Argument(metavar="COLUMNS", min=1, max=1_000)],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Resize a process's terminal.

    Example: ostinato processes resize T12 50 160
    """
    request = processes_api.ResizeTerminal(process=process, rows=rows, columns=columns)
    _say(Client(fleet).call(processes_api.resize, request), as_json=as_json)


def kill(process: ProcessId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """End a process with all that it started; its session is told of the end.

    Example: ostinato processes kill T12 --reason "it hangs"
    """
    request = processes_api.KillProcess(process=process, reason=reason)
    _say(Client(fleet).call(processes_api.kill, request), as_json=as_json)


def _say(done: Done, *, as_json: bool) -> None:
    Screen().answer(done, f"{done.process}: {done.text}", as_json=as_json)


HELP = "Processes: what agents have started that goes on by itself."

COMMANDS: Commands = {
    "list": list_processes,
    "show": show,
    "log": log,
    "wait": wait,
    "write": write,
    "keys": keys,
    "resize": resize,
    "kill": kill,
}
