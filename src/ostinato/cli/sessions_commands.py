"""`ostinato sessions ...`: conversations with agents.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import AgentId, Commands, Fleet, Json, JsonLines, OfAgent, text_argument
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.gateway import sessions_api, talk_api
from ostinato.gateway.sessions_api import TranscriptLine

SessionKey = Annotated[str, typer.Argument(metavar="SESSION", help="A key such as main:triage, or an agent's name.")]


def list_sessions(
    *,
    agent: OfAgent = None,
    after: Annotated[str, typer.Option("--after", metavar="KEY", help="The page behind this key.")] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=500, help="How many at most.")] = 100,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Sessions by key.

    Example: ostinato sessions list --agent triage
    """
    screen = Screen()
    request = sessions_api.WhichSessions(agent=agent, after=after, limit=limit)
    found = Client(fleet).call(sessions_api.list_sessions, request)
    if as_json:
        screen.json(found)
        return
    if not found.sessions:
        screen.say('There are none. Begin one: ostinato sessions send AGENT "Hello"')
        return
    rows = [(each.key, each.agent, each.kind, str(each.unread), when(each.active_at)) for each in found.sessions]
    screen.table(("SESSION", "AGENT", "KIND", "UNREAD", "ACTIVE"), rows)
    if found.next:
        screen.say(f"more: ostinato sessions list --after {found.next}")


def show(
    session: SessionKey,
    *,
    turns: Annotated[
        int, typer.Option("--turns", metavar="N", min=1, max=200, help="How many of the latest turns.")
    ] = 20,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Who said what in a session, and which tools were used.

    Example: ostinato sessions show triage
    """
    screen = Screen()
    view = Client(fleet).call(sessions_api.show, sessions_api.WhichSession(session=session, turns=turns))
    if as_json:
        screen.json(view)
        return
    screen.say(f"{view.session.key} of {view.session.agent}", style="strong")
    if view.turns_left_out:
        screen.say(f"(the latest {turns} turns; earlier ones with --turns)", style="faint")
    for line in view.transcript:
        _line(screen, line)
    for message in view.unread:
        screen.say(f"{when(message.at)}  {message.sender} (not read yet)", style="warn")
        screen.say(message.text)


def send(
    agent: AgentId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say; - reads standard input.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Stay, and show the reply as it comes.")] = False,
    session: Annotated[
        str | None, typer.Option("--session", metavar="KEY", help="In this conversation. [default: its main one]")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Sending it twice is then harmless.")] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Say something to an agent. It is durable when this returns; with --wait the reply is streamed.

    With --wait it exits with 0 when the agent has answered or waits for a person, with 1 when it failed.

    Example: ostinato sessions send clerk "What is open?" --wait
    """
    screen, client = Screen(), Client(fleet)
    request = sessions_api.SendMessage(agent=agent, text=text_argument(text), session=session, key=key)
    if wait:
        _talk(screen, client, request, as_json=as_json)
        return
    sent = client.call(sessions_api.send, request)
    if as_json:
        screen.json(sent)
        return
    screen.say(f"{sent.message} is in {sent.session}")
    if not sent.node_running:
        screen.say("No node is running; it will be read once one is: ostinato up", style="warn")
    else:
        screen.say(f"See the answer: ostinato sessions show {sent.session}")


def tail(session: SessionKey, *, fleet: Fleet = None, as_json: JsonLines = False) -> None:
    """Follow a session: its latest turns, then each line as it is written. Ctrl-C ends it.

    Example: ostinato sessions tail triage
    """
    screen = Screen()
    for item in Client(fleet).stream(talk_api.tail, sessions_api.WhichSession(session=session)):
        if item is None:
            continue
        if as_json:
            screen.json_line(item.line)
        else:
            _line(screen, item.line)
            screen.flush()


def _talk(screen: Screen, client: Client, request: sessions_api.SendMessage, *, as_json: bool) -> None:
    """Shows the reply as it comes. What came in pieces is not shown again when it is durable."""
    open_line, state = False, ""
    for item in client.stream(talk_api.talk, request):
        if item is None:
            continue
        state = item.state if item.kind in ("end", "waiting", "held") else state
        if as_json:
            screen.json_line(item)
        elif item.kind == "piece":
            screen.piece(item.text)
            open_line = True
        else:
            if open_line:
                screen.say()
                open_line = False
            if not item.live and not (item.line is not None and item.line.kind == "failure"):
                _talk_item(screen, item)
    if state == "failed":
        raise typer.Exit(1)


def _talk_item(screen: Screen, item: talk_api.TalkItem) -> None:
    if item.kind == "line" and item.line is not None:
        faint = item.line.kind in ("tool", "note")
        screen.say(f"· {item.text}" if faint else item.text, style="faint" if faint else "")
    elif item.kind == "question":
        screen.say(f"{item.question} {item.text}", style="warn")
        screen.say(f"  → ostinato approvals show {item.question}")
    elif item.kind == "retry":
        screen.say(f"· {item.text}", style="warn")
    elif item.kind == "held":
        screen.say(item.text, style="warn")
    elif item.kind == "waiting":
        screen.say(f"({item.task} waits for {item.text or 'something'})", style="faint")
    elif item.kind == "end" and item.state != "done":
        screen.say(f"{item.task} {item.state}: {item.text}", style="bad")
    screen.flush()


def _line(screen: Screen, line: TranscriptLine) -> None:
    marks = {"tool": "· ", "note": "note: ", "limit": "limit: ", "failure": "failed: "}
    task = f"  {line.task}" if line.task else ""
    if line.kind in ("tool", "note", "limit"):
        screen.say(f"    {marks[line.kind]}{line.text}", style="faint")
        return
    screen.say(f"\n{when(line.at)}  {line.who}{task}", style="strong")
    screen.say(f"{marks.get(line.kind, '')}{line.text}")


HELP = "Sessions: conversations with agents."

COMMANDS: Commands = {
    "list": list_sessions,
    "show": show,
    "send": send,
    "tail": tail,
}
