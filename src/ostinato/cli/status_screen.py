"""The status of a fleet on one screen, for somebody who has just woken up.

Knows nothing of how the figures come about.
"""

from __future__ import annotations

from ostinato.cli.screen import Screen
from ostinato.cli.visible import visible_line, width_of
from ostinato.cli.words import age, count, length, money, size, when
from ostinato.gateway.agents_api import AgentRow
from ostinato.gateway.status_api import Attention, StatusView

LIMITS_MAX = 12
"""Limits that are listed, those first that are reached."""

AGENTS_MAX = 20
"""Agents that are listed; of larger fleets only those that are not simply ready."""


def show_status(screen: Screen, view: StatusView) -> None:
    """What needs a person first, then how things stand."""
    note = f" ({view.spent_today.note})" if view.spent_today.note else ""
    story = " (story time)" if view.node.story_time else ""
    screen.say(f"{view.fleet}: {_summary(view)}{note}{story}", style="bad" if not view.ok else "strong")
    if view.needs_you:
        screen.say()
        for each in view.needs_you:
            _attention(screen, each)
    screen.say()
    screen.pairs(
        [
            ("node", _node(view)),
            ("tasks", _tasks(view)),
            ("spent today", _spent(view)),
            (
                "next wake",
                f"{age(view.next_wake_at, now=view.now)}, {when(view.next_wake_at)}" if view.next_wake_at else "",
            ),
            ("data", _data(view)),
            ("kept", _kept(view)),
        ]
    )
    _limits(screen, view)
    _agents(screen, view)


def _limits(screen: Screen, view: StatusView) -> None:
    """What the fleet limits, and the first task that waits for each limit."""
    if not view.limits:
        return
    full = [each for each in view.limits if each.full]
    shown = (full + [each for each in view.limits if not each.full])[:LIMITS_MAX]
    rows = [
        (
            each.name,
            f"{each.running}{f' of {each.concurrency}' if each.concurrency is not None else ''}",
            each.rate or "-",
            age(each.opens_at, now=view.now) if each.opens_at else "-",
            each.waits or "-",
        )
        for each in shown
    ]
    screen.say()
    screen.table(("LIMIT", "RUNNING", "RATE", "OPENS", "FIRST IN LINE"), rows)
    if len(shown) < len(view.limits):
        screen.say(f"... and {len(view.limits) - len(shown)} more: ostinato status --json")


def _summary(view: StatusView) -> str:
    wrong = sum(each.level == "wrong" for each in view.needs_you)
    waiting = len(view.needs_you) - wrong
    parts = [count(wrong, "thing") + (" is wrong" if wrong == 1 else " are wrong")] if wrong else []
    parts += [count(waiting, "thing") + (" waits" if waiting == 1 else " wait") + " for you"] if waiting else []
    return ", ".join(parts) or "nothing needs you"


def _attention(screen: Screen, item: Attention) -> None:
    mark = screen.styled("!" if item.level == "wrong" else "?", "bad" if item.level == "wrong" else "warn")
    since = f"  [{length(item.age_s)}]" if item.age_s is not None else ""
    text = f"{visible_line(item.text)}{since}"
    if width_of(text) + width_of(item.command) + 8 <= screen.width:
        screen.raw(f"{mark} ", f"{text}  → {item.command}")
    else:
        screen.raw(f"{mark} ", text)
        screen.say(f"  → {item.command}")


def _node(view: StatusView) -> str:
    node = view.node
    if node.running:
        return f"pid {node.pid}, up {length(node.uptime_s)}, version {node.version}"
    if node.changing is not None:
        return f"starting or stopping, process {node.changing}"
    if node.started_at is None:
        return "none has run yet"
    end = "ended in order" if node.clean_end else "died"
    return f"not running; the last one started {when(node.started_at)} and {end}"


def _tasks(view: StatusView) -> str:
    order = ("running", "ready", "waiting", "review", "blocked", "draft", "failed", "done", "cancelled")
    parts = [f"{view.tasks[state]} {state}" for state in order if view.tasks.get(state)]
    questions = f"; {count(view.questions, 'open question')}" if view.questions else ""
    dead = f"; {count(view.dead, 'dead letter')}" if view.dead else ""
    return (", ".join(parts) or "none yet") + questions + dead


def _spent(view: StatusView) -> str:
    spent = view.spent_today
    calls = count(spent.calls, "model call")
    unpriced = f", {spent.unpriced_calls} of them with an unknown price" if spent.unpriced_calls else ""
    answered = f"; {count(spent.answered, 'task')} answered from earlier results" if spent.answered else ""
    return f"{money(spent.usd, unpriced=spent.unpriced_calls)} for {calls}{unpriced}, {spent.tokens} tokens{answered}"


def _kept(view: StatusView) -> str:
    """How long ended things stay, and when the oldest go."""
    data = view.data
    kept: dict[str, list[str]] = {}
    for name, how_long in data.kept.items():
        kept.setdefault(how_long, []).append(name)
    parts = [f"{', '.join(names)} {how_long}" for how_long, names in kept.items()]
    goes = f"; the oldest go {age(data.next_goes_at, now=view.now)}" if data.next_goes_at else ""
    rows = f" ({count(data.rows['events'], 'event')})" if data.rows.get("events") else ""
    return "; ".join(parts) + goes + rows


def _data(view: StatusView) -> str:
    data = view.data
    whole = size(data.database_bytes + data.wal_bytes)
    return f"{whole} in {data.folder}, {size(data.disk_free_bytes)} free"


def _agents(screen: Screen, view: StatusView) -> None:
    shown = view.agents
    if len(shown) > AGENTS_MAX:
        shown = [each for each in shown if each.state != "ready"][:AGENTS_MAX]
    if not view.agents:
        screen.say("\nThere are no agents yet: ostinato agents add NAME")
        return
    screen.say()
    screen.table(("AGENT", "STATE", "OPEN WORK", "NEXT WAKE"), [_agent(each, view) for each in shown])
    everybody = sum(view.agents_by_state.values())
    if len(shown) < everybody:
        screen.say(f"... and {everybody - len(shown)} more: ostinato agents list")


def _agent(agent: AgentRow, view: StatusView) -> tuple[str, ...]:
    order = ("running", "ready", "waiting", "review", "blocked", "draft")
    tasks = ", ".join(f"{agent.tasks[state]} {state}" for state in order if agent.tasks.get(state))
    return agent.id, agent.state, tasks or "-", age(agent.next_wake_at, now=view.now)
