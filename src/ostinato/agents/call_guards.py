"""Which breakers a call of a tool must pass, and what its result says about them.

A call that reaches hosts is guarded by theirs, any other by its tool's own. Tools that act in our own store have none.
Knows nothing of turns, nor of when a breaker opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ostinato.agents.turn_state import TurnState
from ostinato.domain.chat import ToolCall
from ostinato.domain.instant import format_instant
from ostinato.domain.step import Entry, ToolIntent, ToolOutcome
from ostinato.domain.values import Instant
from ostinato.engine.breakers import Trouble
from ostinato.store.port import Tx
from ostinato.tools.port import AnyTool, Arguments, OutsideTool

REASON_MAX = 200
"""Characters of a failure that a breaker keeps."""


def guards_of(tool: AnyTool | None, arguments: Arguments) -> tuple[str, ...]:
    """The breakers of one call."""
    if not isinstance(tool, OutsideTool):
        return ()
    hosts = tool.hosts(arguments)
    return tuple(f"host:{each}" for each in hosts) if hosts else (f"tool:{tool.name}",)


def refusal(
    tx: Tx, state: TurnState, call: ToolCall, *, tool: AnyTool, arguments: Arguments, now: Instant
) -> str:  # fmt: skip
    """Why a call is not made now, as the model reads it; empty where it may be, as the one probe where needed."""
    guards = guards_of(tool, arguments)
    if not guards:
        return ""
    found = state.leash.finisher.breakers.admit(tx, guards, who=_who(state, call.id), now=now)
    if found is None:
        return ""
    # Not what went wrong: that is the text of another task's result, which may be a stranger's, or private.
    return (
        f"not called, and nothing was done: {found.who} is in trouble. "
        f"It is left alone until {format_instant(found.until_at)}; go another way, or end and say so."
    )


def learn(tx: Tx, state: TurnState, produced: Iterable[Entry], *, journal: Sequence[Entry], now: Instant) -> None:
    """What results say about whom they came from, in the commit that keeps them."""
    outcomes = [each for each in produced if isinstance(each, ToolOutcome)]
    if not outcomes:
        return
    breakers, intents = state.leash.finisher.breakers, [each for each in journal if isinstance(each, ToolIntent)]
    for outcome in outcomes:
        intent = next((each for each in reversed(intents) if each.call_id == outcome.call_id), None)
        if intent is None:
            continue
        guards, who = guards_of(state.leash.tool_or_none(intent.tool), intent.arguments), _who(state, intent.call_id)
        if not outcome.broken:
            breakers.went_well(tx, guards, who=who, now=now)
        for guard in guards if outcome.broken else ():
            trouble = Trouble(reason=outcome.text.split("\n")[0][:REASON_MAX])
            breakers.went_wrong(tx, guard, trouble, who=who, now=now, task=state.task.id)


def _who(state: TurnState, call: str) -> str:
    return f"{state.task.name} {call}"
