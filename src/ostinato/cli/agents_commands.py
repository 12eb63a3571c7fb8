"""`ostinato agents ...`: who there is, what they may do, and the leash.

Knows nothing of how operations work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import AgentId, Commands, Fleet, Json, Reason
from ostinato.cli.screen import Screen
from ostinato.cli.words import count, money, size, when
from ostinato.domain.errors import Denied
from ostinato.gateway import agents_api, bindings_api, review_api
from ostinato.gateway.agents_api import AgentView, Leashed
from ostinato.gateway.operation import Nothing, Operation

FILES_SHOWN = 8
"""Paths on one line; programs get all of them."""


def _list_bindings(screen: Screen, found: bindings_api.BindingList, *, as_json: bool) -> None:
    if as_json:
        screen.json(found)
        return
    rows = [
        (each.peer or "any", each.account or "any", each.channel or "any", each.agent, each.session, each.place)
        for each in found.bindings
    ]
    rows.append(("any", "any", "any", found.default or "by routing", "a task", "[inbox]"))
    screen.table(("PEER", "ACCOUNT", "CHANNEL", "AGENT", "SESSION", "SAID IN"), rows)


def list_agents(
    *,
    bindings: Annotated[bool, typer.Option("--bindings", help="Who gets what comes from outside, instead.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Every agent with its state, work and next wake-up.

    Example: ostinato agents list
    """
    screen, client = Screen(), Client(fleet)
    if bindings:
        _list_bindings(screen, client.call(bindings_api.list_bindings, Nothing()), as_json=as_json)
        return
    found = client.call(agents_api.list_agents, agents_api.WhichAgents())
    if as_json:
        screen.json(found)
        return
    if not found.agents:
        screen.say("There are no agents yet: ostinato agents add NAME")
        return
    rows = [
        (
            each.id,
            each.state,
            ",".join(each.skills) or "-",
            each.model or "-",
            str(each.tools),
            when(each.next_wake_at),
            each.purpose,
        )
        for each in found.agents
    ]
    screen.table(("AGENT", "STATE", "SKILLS", "MODEL", "TOOLS", "NEXT WAKE", "PURPOSE"), rows)
    for each in found.agents:
        if each.held:
            screen.say(f"{each.held} → ostinato agents resume {each.id}", style="warn")
    if any(each.problems for each in found.agents):
        screen.say("Some files have problems: ostinato check")


def show(agent: AgentId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """One agent: its leash, its work, what it did today, what it cost.

    Example: ostinato agents show triage
    """
    screen = Screen()
    view = Client(fleet).call(agents_api.show, agents_api.WhichAgent(agent=agent))
    if as_json:
        screen.json(view)
        return
    _show(screen, view)


def add(
    agent: AgentId,
    *,
    purpose: Annotated[str, typer.Option("--purpose", metavar="TEXT", help="What it is for, in a sentence.")] = "",
    skill: Annotated[
        list[str] | None, typer.Option("--skill", metavar="SKILL", help="What it is good at; may be repeated.")
    ] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Make a new agent: a folder of files. Its TOOLS.md says what it may do: at first its own notes, and a word to you.

    Example: ostinato agents add billing --purpose "Answers questions about invoices." --skill billing
    """
    screen, client = Screen(), Client(fleet)
    request = agents_api.AddAgent(agent=agent, purpose=purpose, skills=skill or [])
    added = client.call(agents_api.add, request)
    if as_json:
        screen.json(added)
        return
    screen.say(f"{added.agent} is in {added.folder}:")
    for each in added.files:
        screen.say(f"  {each}")
    screen.say(
        f"Say who it is in SOUL.md, and what it may use in TOOLS.md; then: ostinato agents context {added.agent}"
    )


def show_context(agent: AgentId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """What a model is shown at the start of each turn, part by part, and how many tokens it costs.

    Example: ostinato agents context triage
    """
    screen = Screen()
    view = Client(fleet).call(agents_api.show_context, agents_api.WhichAgent(agent=agent))
    if as_json:
        screen.json(view)
        return
    rows = [
        (each.name, str(each.tokens), size(each.size_bytes), "yes" if each.cached else "no", each.note)
        for each in view.parts
    ]
    screen.table(("PART", "TOKENS", "SIZE", "CACHED", "NOTE"), rows)
    screen.say(f"about {view.tokens} tokens before history and messages")
    if view.tainted:
        screen.say(f"Each turn begins tainted, as strangers had a hand in {_few(view.tainted)}", style="warn")
        screen.say(f"Look at them, and then: ostinato agents trust {view.agent}")


def review(
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="[default: those that spent most]")] = None,
    *,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="3d, or a time.")] = "7d",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Before you give an agent more to do: what it was denied, used for the first time, cost, failed and skipped.

    Example: ostinato agents review billing --since 30d
    """
    screen = Screen()
    found = Client(fleet).call(review_api.review, review_api.ReviewAgents(agent=agent, since=since))
    if as_json:
        screen.json(found)
        return
    for number, each in enumerate(found.reviews):
        screen.say(("\n" if number else "") + each.summary, style="strong")
        more = "" if each.complete else " (the newest; it did more)"
        spent = money(each.usd, unpriced=each.unpriced_calls)
        figures = f"{count(each.tasks, 'task')}{more}, {count(each.calls, 'model call')}, {spent}"
        screen.say(f"  {figures} since {when(found.since)}", style="faint")
        for remark in each.remarks:
            mark = {"bad": "!", "look": "?", "good": "-"}[remark.level]
            screen.raw(
                screen.styled(f"{mark} ", {"bad": "bad", "look": "warn", "good": "good"}[remark.level]), remark.text
            )
            if remark.level != "good":
                screen.say(f"  → {remark.command}")
    if found.left_out:
        screen.say(f"\n{count(found.left_out, 'agent')} that spent less: ostinato agents review AGENT")


def pause(agent: AgentId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """Nothing new starts for this agent; what runs goes on.

    Example: ostinato agents pause billing --reason "prices are being changed"
    """
    _leash(Client(fleet), agents_api.pause, _asked(agent, reason), as_json=as_json)


def drain(agent: AgentId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """What runs is finished or parked at its next step; nothing new starts.

    Example: ostinato agents drain billing
    """
    _leash(Client(fleet), agents_api.drain, _asked(agent, reason), as_json=as_json)


def kill(
    agent: AgentId,
    *,
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What runs is stopped now, and nothing starts until `resume`. Needs a reason.

    Example: ostinato agents kill billing --reason "it writes to the wrong people"
    """
    if not reason.strip():
        raise Denied("A kill needs a reason", cure=f'ostinato agents kill {agent} --reason "..."')
    _leash(Client(fleet), agents_api.kill, _asked(agent, reason), as_json=as_json)


def resume(agent: AgentId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """Let a paused, draining or killed agent go on.

    Example: ostinato agents resume billing
    """
    _leash(Client(fleet), agents_api.resume, _asked(agent, reason), as_json=as_json)


def scale(
    agent: AgentId,
    instances: Annotated[
        int | None, typer.Argument(metavar="[N]", min=1, help="Tasks at once; without it, as its files say.")
    ] = None,
    *,
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Let an agent do more or fewer tasks at once; they share its queue. Holds until it is scaled anew.

    Example: ostinato agents scale billing 4
    """
    request = agents_api.ScaleAgent(agent=agent, instances=instances, reason=reason)
    screen, done = Screen(), Client(fleet).call(agents_api.scale, request)
    if as_json:
        screen.json(done)
        return
    says = ", as its files say" if done.concurrency == done.files_say else f" (its files say {done.files_say})"
    waiting = f"; {count(done.unfinished, 'task')} in its queue" if done.unfinished else ""
    screen.say(f"{done.agent} does {count(done.concurrency, 'task')} at once{says}{waiting}")


def trust(
    agent: AgentId,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="As `agents show` names them; none: all of them.")
    ] = None,
    *,
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Say that you have looked at files which strangers had a hand in: reading them taints nobody any more.

    Example: ostinato agents trust triage MEMORY.md
    """
    screen = Screen()
    request = agents_api.TrustFiles(agent=agent, files=list(files or ()), reason=reason)
    done = Client(fleet).call(agents_api.trust, request)
    if as_json:
        screen.json(done)
    elif not done.files:
        screen.say(f"Nothing of {done.agent} is marked.")
    else:
        screen.say(f"{count(len(done.files), 'file')} of {done.agent} taint nobody any more: {_few(done.files)}")
        if done.left:
            screen.say(f"still marked: {_few(done.left)}")


def _few(files: Sequence[str]) -> str:
    rest = len(files) - FILES_SHOWN
    return ", ".join(files[:FILES_SHOWN]) + (f" and {rest} more (--json)" if rest > 0 else "")


def _asked(agent: str, reason: str) -> agents_api.LeashAgent:
    return agents_api.LeashAgent(agent=agent, reason=reason)


def _leash(
    client: Client,
    operation: Operation[agents_api.LeashAgent, Leashed],
    request: agents_api.LeashAgent,
    *,
    as_json: bool,
) -> None:
    screen = Screen()
    done = client.call(operation, request)
    if as_json:
        screen.json(done)
        return
    held = ", ".join({"halted": "killed"}.get(each.name, each.name) for each in done.flags)
    running = f"; {count(done.running, 'task')} at work" if done.running else ""
    if held:
        screen.say(f"{done.agent} is {held}{running}")
        if done.procedure and any(each.name == "halted" for each in done.flags):
            screen.say(f"What else belongs to it: {done.procedure}", style="strong")
        screen.say(f"Let it go on: ostinato agents resume {done.agent}")
    else:
        screen.say(f"{done.agent} may work again{running}")


def _show(screen: Screen, view: AgentView) -> None:
    agent = view.agent
    screen.say(f"{agent.id}: {agent.state}", style="strong")
    if agent.held:
        screen.say(f"{agent.held} → ostinato agents resume {agent.id}", style="warn")
    screen.pairs(
        [
            ("purpose", agent.purpose),
            ("folder", view.folder),
            ("skills", ", ".join(agent.skills)),
            ("model", agent.model or "the fleet's default"),
            ("at once", _at_once(view)),
            ("tools", ", ".join(view.tools) or "none: TOOLS.md grants none"),
            ("recipients", ", ".join(view.recipients)),
            ("asks", "\n".join(view.gates)),
            ("wakes", "\n".join(_beat(each) for each in view.heartbeats)),
            ("next wake", when(agent.next_wake_at) if agent.next_wake_at else ""),
            ("tasks", ", ".join(f"{number} {state}" for state, number in agent.tasks.items()) or "none yet"),
            ("today", money(view.usd_today, unpriced=view.unpriced_calls_today)),
            ("tainted", f"{_few(view.tainted_files)} → ostinato agents trust {agent.id}" if view.tainted_files else ""),
            ("stop", view.stop),
        ]
    )
    for problem in view.problems:
        screen.say(f"{problem.level}: {problem.place}: {problem.message} {problem.cure}".rstrip(), style="bad")
    if view.tasks:
        screen.say("\nunfinished", style="strong")
        screen.table(
            ("TASK", "STATE", "TITLE", "WAITS FOR"),
            [(each.id, each.state, each.title, each.waits_for or each.reason) for each in view.tasks],
        )
    if view.skips:
        screen.say("\nwoke for nothing, at no cost", style="strong")
        for skip in view.skips:
            screen.say(f"  {when(skip.to_at)}  {skip.heartbeat}, {count(skip.count, 'time')}: {skip.reason}")
    if view.recent:
        screen.say("\nlately", style="strong")
        for event in view.recent:
            screen.say(f"  {when(event.at)}  {event.text}")
    screen.say(f"\nmore: ostinato events --since 3d --agent {agent.id}")


def _at_once(view: AgentView) -> str:
    says = "" if view.concurrency == view.files_say else f", scaled; its files say {view.files_say}"
    return f"{count(view.concurrency, 'task')}{says}"


def _beat(beat: agents_api.BeatView) -> str:
    parts = [beat.name if beat.name == "heartbeat" else f"heartbeat {beat.name}", beat.rule]
    parts += [f"active {beat.active} {beat.timezone}".rstrip()] if beat.active else []
    parts += [f"if {beat.check}"] if beat.check else []
    return ", ".join(parts)


HELP = "Agents: who there is, and the leash."

COMMANDS: Commands = {
    "list": list_agents,
    "show": show,
    "add": add,
    "context": show_context,
    "review": review,
    "scale": scale,
    "pause": pause,
    "resume": resume,
    "drain": drain,
    "kill": kill,
    "trust": trust,
}
