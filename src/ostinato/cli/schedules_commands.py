"""`ostinato schedules ...`: what wakes agents at a time or again and again.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import AgentId, Commands, Fleet, Json, OfAgent, text_argument
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.gateway import schedules_api

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `schedules list` shows it.")]


def list_schedules(*, agent: OfAgent = None, fleet: Fleet = None, as_json: Json = False) -> None:
    """Schedules and heartbeats, the next one due first.

    Example: ostinato schedules list
    """
    screen = Screen()
    found = Client(fleet).call(schedules_api.list_schedules, schedules_api.WhichSchedules(agent=agent))
    if as_json:
        screen.json(found)
        return
    if not found.schedules:
        screen.say("There are none. Heartbeats stand in an agent's HEARTBEAT.md, and are read when a node runs.")
        return
    rows = [
        (each.name, each.agent, _rule(each.rule), when(each.next_at), when(each.last_at), str(each.skips_in_row or "-"))
        for each in found.schedules
    ]
    screen.table(("NAME", "AGENT", "RULE", "NEXT", "LAST", "SKIPS IN A ROW"), rows, grow=2)


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, '-', '_' and '.'.")],
    agent: AgentId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the agent is told; - reads standard input.")],
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Once: 2h, or a time.")] = None,
    every: Annotated[str | None, typer.Option("--every", metavar="15m", help="Again and again.")] = None,
    cron: Annotated[str | None, typer.Option("--cron", metavar="'0 7 * * MON-FRI'", help="Five fields.")] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", metavar="ZONE", help="Such as Europe/Zurich.")] = None,
    active: Annotated[str | None, typer.Option("--active", metavar="07:00-20:00", help="Only then.")] = None,
    weekdays: Annotated[str | None, typer.Option("--weekdays", metavar="MON-FRI", help="Only then.")] = None,
    misfire: Annotated[
        str | None, typer.Option("--misfire", metavar="WHAT", help="skip or once: what to do about a missed time.")
    ] = None,
    anchor: Annotated[str | None, typer.Option("--anchor", metavar="TIME", help="From when --every counts.")] = None,
    jitter: Annotated[str | None, typer.Option("--jitter", metavar="5m", help="Come up to so much late.")] = None,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="WHAT", help="queue or skip: while the last one is still at work."),
    ] = None,
    session: Annotated[str, typer.Option("--session", metavar="SESSION", help="main, isolated, or a key.")] = "main",
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="A tier or model.")] = None,
    effort: Annotated[str | None, typer.Option("--effort", metavar="EFFORT", help="low, medium or high.")] = None,
    attempts: Annotated[int | None, typer.Option("--attempts", metavar="N", help="Tries where models fail.")] = None,
    deliver: Annotated[
        str | None, typer.Option("--deliver", metavar="WHERE", help="operator, agent:NAME, session:KEY, file:PATH.")
    ] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Add a schedule: a message to an agent, at a time or again and again.

    Example: ostinato schedules add weekly clerk "Write the week's report." --cron "0 16 * * FRI"
    """
    screen = Screen()
    request = schedules_api.AddSchedule(
        name=name,
        agent=agent,
        text=text_argument(text),
        at=at,
        every=every,
        cron=cron,
        timezone=timezone,
        active=active,
        weekdays=weekdays,
        misfire=misfire,
        anchor=anchor,
        jitter=jitter,
        overlap=overlap,
        session=session,
        model=model,
        effort=effort,
        attempts=attempts,
        deliver=deliver,
    )
    added = Client(fleet).call(schedules_api.add, request)
    screen.answer(added, f"{added.name}: {_rule(added.rule)}, next {when(added.next_at)}", as_json=as_json)


def remove(name: Name, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """Remove a schedule. (A heartbeat is removed in its agent's file.)

    Example: ostinato schedules remove weekly
    """
    screen = Screen()
    removed = Client(fleet).call(schedules_api.remove, schedules_api.WhichSchedule(name=name))
    screen.answer(removed, f"{removed.name} is removed", as_json=as_json)


def run(
    name: Name,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only if its check, its hours and all else agree.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Fire a heartbeat or schedule now, beside its own times: whatever its check says, unless --check is given.

    Example: ostinato schedules run heartbeat:clerk:heartbeat
    """
    screen = Screen()
    ran = Client(fleet).call(schedules_api.run, schedules_api.RunSchedule(name=name, check=check))
    if as_json:
        screen.json(ran)
        return
    if not ran.woken:
        screen.say(f"{ran.name} does not wake {ran.agent}: {ran.reason}")
        return
    screen.say(f"{ran.agent} is woken by {ran.name}")
    if not ran.node_running:
        screen.say("No node is running; it will be done once one is: ostinato up", style="warn")


def _rule(rule: dict[str, str]) -> str:
    parts = [f"{key} {rule[key]}" for key in ("every", "cron", "at") if key in rule]
    parts += [f"active {rule['active']}"] if "active" in rule else []
    parts += [rule["weekdays"]] if "weekdays" in rule else []
    parts += [f"jitter {rule['jitter']}"] if "jitter" in rule else []
    zone = rule.get("timezone", "UTC")
    return ", ".join(parts) + (f" ({zone})" if zone != "UTC" or "cron" in rule or "active" in rule else "")


HELP = "Schedules and heartbeats."

COMMANDS: Commands = {
    "list": list_schedules,
    "add": add,
    "remove": remove,
    "run": run,
}
