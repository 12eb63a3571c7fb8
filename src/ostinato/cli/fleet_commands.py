"""Commands on the fleet as a whole: status, doctor, check, wake, stop, start, backup.

Knows nothing of how operations work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import AgentId, Commands, Fleet, Json, Reason, text_argument
from ostinato.cli.screen import Screen
from ostinato.cli.status_screen import show_status
from ostinato.cli.words import count, size
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.gateway import fleet_api, metrics_api, status_api, stop_api
from ostinato.gateway.operation import Nothing

HOW = ("kill", "pause", "drain", "cancel")

Scope = Annotated[
    str,
    typer.Argument(metavar="SCOPE", help="fleet, agent:NAME, pool:NAME, session:KEY, or a task such as T7."),
]

LEVEL_STYLES = {"ok": "good", "warn": "warn", "bad": "bad", "error": "bad", "warning": "warn"}


def status(
    *,
    metrics: Annotated[bool, typer.Option("--metrics", help="All figures, in Prometheus' text format.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What needs you first, each line with its next command; then how things stand. Exits with 1 if something is wrong.

    Example: ostinato status
    """
    screen = Screen()
    if metrics:
        found = Client(fleet).call(metrics_api.metrics, Nothing())
        if as_json:
            screen.json(found)
        else:
            screen.say(found.text.rstrip("\n"))
        return
    view = Client(fleet).call(status_api.status, Nothing())
    if as_json:
        screen.json(view)
    else:
        show_status(screen, view)
    if not view.ok:
        raise typer.Exit(1)


def doctor(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Examine machine, state, keys, sandbox and files; each finding with its cure. Exits with 1 if one is bad.

    Example: ostinato doctor
    """
    screen = Screen()
    view = Client(fleet).call(fleet_api.doctor, Nothing())
    if as_json:
        screen.json(view)
    else:
        wide = max(len(line.name) for line in view.lines)
        for line in view.lines:
            mark = screen.styled(f"{line.level:4}", LEVEL_STYLES[line.level])
            screen.raw(f"{mark}  ", f"{line.name:{wide}}  {line.text}")
            if line.cure:
                screen.say(f"{'':{wide + 8}}{line.cure}", style="strong" if line.level == "bad" else "")
    if not view.ok:
        raise typer.Exit(1)


def check(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Load the fleet's file and every agent, and name what is wrong with place and cure. Exits with 1 on errors.

    Example: ostinato check
    """
    screen = Screen()
    view = Client(fleet).call(fleet_api.check, Nothing())
    if as_json:
        screen.json(view)
    else:
        for each in view.problems:
            screen.raw(screen.styled(each.level, LEVEL_STYLES[each.level]), f"  {each.place}: {each.message}")
            if each.cure:
                screen.say(f"       {each.cure}")
        errors = sum(each.level == "error" for each in view.problems)
        warnings = len(view.problems) - errors
        found = f"{count(errors, 'error')}, {count(warnings, 'warning')}" if view.problems else "nothing is wrong"
        screen.say(f"{count(view.agents, 'agent')}: {found}")
    if not view.ok:
        raise typer.Exit(1)


def wake(
    agent: AgentId,
    *,
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="What it should know.")] = "",
    session: Annotated[
        str | None, typer.Option("--session", metavar="KEY", help="In this conversation. [default: its main one]")
    ] = None,
    next_time: Annotated[bool, typer.Option("--next", help="With its next heartbeat, not now.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Wake an agent now, or leave it a word for its next heartbeat.

    Example: ostinato wake triage --text "The mail server is back."
    """
    screen, client = Screen(), Client(fleet)
    request = fleet_api.WakeAgent(
        agent=agent, text=text_argument(text) if text else "", session=session, next=next_time
    )
    woken = client.call(fleet_api.wake, request)
    if as_json:
        screen.json(woken)
        return
    when = "with its next heartbeat" if next_time else "now"
    screen.say(f"{woken.agent} reads {woken.message} in {woken.session} {when}")
    _say_if_asleep(screen, node_running=woken.node_running)


def stop(
    scope: Scope = "fleet",
    *,
    how: Annotated[
        str, typer.Option("--how", metavar="HOW", help="kill (now), pause or drain (what runs ends well), cancel.")
    ] = "kill",
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Stop everything, or an agent, a pool, a session or a task with all that it began. It survives a restart.

    Nothing new starts after a kill, a pause or a drain, until `ostinato start`; a kill also stops what runs. A cancel
    ends what is unfinished for good, and holds nothing.

    Example: ostinato stop pool:heavy --reason "the machine is on fire"
    """
    if how not in HOW:
        raise Invalid(unknown_name("way", how, HOW), place="--how")
    screen = Screen()
    held = Client(fleet).call(stop_api.stop, stop_api.StopScope(scope=scope, how=how, reason=reason))  # type: ignore[arg-type]  # checked above
    if as_json:
        screen.json(held)
        return
    what = "The fleet" if held.scope == "fleet" else held.scope
    if how == "cancel":
        screen.say(f"{what}: {count(held.cancelled, 'task')} cancelled")
    else:
        running = {"kill": ", what runs is being stopped"}.get(how, f"; {count(held.running, 'task')} at work still")
        screen.say(f"{what} is stopped: nothing new starts" + (running if held.running else ""))
        screen.say(f"Let it go on: ostinato start{'' if scope == 'fleet' else f' {scope}'}")
    if held.procedure:
        screen.say(f"What else belongs to it: {held.procedure}", style="strong")


def start(scope: Scope = "fleet", *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """Let what was stopped go on. (A node is started with `ostinato up`.)

    Example: ostinato start --reason "prices are corrected"
    """
    screen, client = Screen(), Client(fleet)
    held = client.call(stop_api.start, stop_api.StartScope(scope=scope, reason=reason))
    if as_json:
        screen.json(held)
        return
    screen.say(f"{'The fleet' if held.scope == 'fleet' else held.scope} may work again")
    _say_if_asleep(screen, node_running=client.node_runs())


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that does not exist yet.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Write a complete, consistent copy of the database while everything goes on.

    The agents' files are not in it: they are yours, and belong into Git.

    Example: ostinato backup /srv/backups/monday.db
    """
    screen = Screen()
    done = Client(fleet).call(fleet_api.backup, fleet_api.BackupFleet(file=str(file.absolute())))
    if as_json:
        screen.json(done)
        return
    screen.say(f"{done.file}: {size(done.size_bytes)}")
    screen.say(f"Bring it back with: ostinato restore {done.file}")


def _say_if_asleep(screen: Screen, *, node_running: bool) -> None:
    if not node_running:
        screen.say("No node is running; it will be done once one is: ostinato up", style="warn")


COMMANDS: Commands = {
    "status": status,
    "doctor": doctor,
    "check": check,
    "wake": wake,
    "stop": stop,
    "start": start,
    "backup": backup,
}
