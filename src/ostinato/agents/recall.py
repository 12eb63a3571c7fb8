"""Answers a task from another's result, in the commit that claims it; and keeps results that may answer others.

Of equal tasks at the same time each runs, and the last to end is kept: a task that waited for another's result would
hang on its fate. Knows nothing of how a turn goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ostinato.agents import reviews
from ostinato.agents.turn_state import TurnState
from ostinato.domain.recall import Surroundings, is_recallable, may_answer_others, recall_key
from ostinato.domain.step import Entry, Note
from ostinato.domain.task import Done, Task, TaskState
from ostinato.domain.values import Instant, digest_of, to_json
from ostinato.store.port import Tx


def answer(state: TurnState, tx: Tx, *, now: Instant) -> Task | None:
    """The task, ended with the result of an equal one; None where it must run. What runs is noted, so that its own
    result can be kept."""
    task, kept_s = state.task, _kept_s(state)
    if not kept_s or not is_recallable(task) or tx.inbox(state.session, limit=1):
        return None
    key = recall_key(task, _surroundings(state, tx, now=now))
    found = None if task.spec.fresh else tx.recall(key, within_s=kept_s, now=now)
    if found is None or found.result is None:
        tx.note_question(task.id, key, now=now)
        return None
    result = replace(found.result, source=found.id)
    note = Note(text=f"answered from the result of {found.name}", trust=result.trust, private=result.private)
    tx.record_steps(state.claim, [note], now=now)
    return tx.finish(state.claim, Done(result=result), now=now)


def keep(state: TurnState, tx: Tx, ended: Task, *, journal: Sequence[Entry], now: Instant) -> None:
    """Lets the result of a task that has just ended answer others, where it may."""
    kept_s = _kept_s(state)
    if kept_s and ended.state is TaskState.DONE and may_answer_others(journal, lambda tool: _is_outward(state, tool)):
        tx.keep_result(ended.id, for_s=kept_s, now=now)


def _kept_s(state: TurnState) -> float:
    """How long a result counts, in seconds; 0: it answers nobody else. What is reviewed is looked at each time."""
    if reviews.terms_of(state.task, state.leash.now) or reviews.terms_of(state.task, state.leash.then):
        return 0.0
    asked = state.task.spec.cache_s
    return (state.leash.then.settings.cache_s if asked is None else asked) or 0.0


def _surroundings(state: TurnState, tx: Tx, *, now: Instant) -> Surroundings:
    agent = state.leash.then
    wish = state.choices.wish(tx, state.task, agent, now=now)
    model = state.choices.model(wish.wanted)
    return Surroundings(
        agent=agent.id,
        files=dict(agent.digests),
        model=f"{wish.wanted or ''} {model.name} {model.model}",
        effort=wish.effort,
        tools=digest_of(to_json(state.leash.specs)),
    )


def _is_outward(state: TurnState, name: str) -> bool:
    tool = state.leash.tool_or_none(name)
    return tool is None or tool.outward
