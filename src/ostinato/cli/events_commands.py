"""`ostinato events`: what happened, in sentences.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json, OfAgent, OfTask, Since, Until
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.gateway import events_api
from ostinato.gateway.views import EventView


def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show what happens.")] = False,
    since: Since = None,
    until: Until = None,
    agent: OfAgent = None,
    task: OfTask = None,
    session: Annotated[str | None, typer.Option("--session", metavar="KEY", help="Only in this session.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="Only these: question, or task.failed; may be repeated."),
    ] = None,
    after: Annotated[int, typer.Option("--after", min=0, metavar="ID", help="Only behind this event.")] = 0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=5_000, help="How many at most.")] = 500,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What happened in the last day, or since a time, oldest first, in sentences.

    Example: ostinato events --since 3d --agent triage
    """
    screen, client = Screen(), Client(fleet)
    request = events_api.WhichEvents(
        since=since, until=until, agent=agent, task=task, session=session, name=name or [], after=after, limit=limit
    )
    if follow:
        for each in client.stream(events_api.follow, request):
            if each is not None:
                _say(screen, each, as_json=as_json)
                screen.flush()
        return
    found = client.call(events_api.list_events, request)
    if as_json:
        screen.json(found)
        return
    for each in found.events:
        _say(screen, each, as_json=False)
    if not found.events:
        screen.say("Nothing happened." if since else "Nothing happened in the last day; look further back: --since 7d")
    if found.next:
        screen.say(f"and more: --after {found.next}")


def _say(screen: Screen, event: EventView, *, as_json: bool) -> None:
    if as_json:
        screen.json_line(event)
    else:
        screen.say(f"{when(event.at)}  {event.text}")


COMMANDS: Commands = {
    "events": events,
}
