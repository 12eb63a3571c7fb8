"""Answers a task from another's result, in the commit that claims it; and keeps results that may answer others.

Of equal tasks at the same time each runs, and the last to end is kept: a task that waited for another's result would
hang on its fate. Knows nothing of how a turn goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ostinato.agents import reviews
from ostinato.agents.leash import Leash
from ostinato.agents.turn_state import TurnState
from ostinato.domain.recall import Surroundings, is_recallable, may_answer_others, recall_key
from ostinato.domain.step import Entry, Note
from ostinato.domain.task import Done, Task, TaskState
from ostinato.domain.values import Instant, digest_of, to_json
from ostinato.store.port import Claim, Tx
from ostinato.workspace.agent import AgentDefinition

_EMPTY = digest_of(b"")


def answer(state: TurnState, tx: Tx, *, now: Instant) -> Task | None:
    """The task, ended with the result of an equal one; None where it must run. What runs is noted, so that its own
    result can be kept."""
    return answer_to(tx, state.task, leash=state.leash, around=lambda: _surroundings(state, tx, now=now), now=now)


def answer_to(
    tx: Tx, task: Task, *, leash: Leash, around: Callable[[], Surroundings | None], now: Instant
) -> Task | None:
    """The same for whoever does a task without a model. `around`: what its result depends on; None: on what nobody
    can tell, so that it neither answers another nor is answered."""
    kept_s = kept_for(task, leash)
    if not kept_s or not is_recallable(task) or tx.inbox(task.session or "", limit=1):
        return None
    surroundings = around()
    if surroundings is None:
        return None
    key = recall_key(task, surroundings)
    found = None if task.spec.fresh else tx.recall(key, within_s=kept_s, now=now)
    if found is None or found.result is None:
        tx.note_question(task.id, key, now=now)
        return None
    result, claim = replace(found.result, source=found.id), Claim(task=task.id, token=task.token)
    note = Note(text=f"answered from the result of {found.name}", trust=result.trust, private=result.private)
    tx.record_steps(claim, [note], now=now)
    return tx.finish(claim, Done(result=result), now=now)


def keep(state: TurnState, tx: Tx, ended: Task, *, journal: Sequence[Entry], now: Instant) -> None:
    """Lets the result of a task that has just ended answer others, where it may."""
    kept_s = kept_for(state.task, state.leash)
    if not kept_s or ended.state is not TaskState.DONE or state.choices.version(None) is None:
        return
    if may_answer_others(journal, lambda tool: _is_outward(state, tool)):
        tx.keep_result(ended.id, for_s=kept_s, now=now)


def kept_for(task: Task, leash: Leash) -> float:
    """How long a result counts, in seconds; 0: it answers nobody else. What is reviewed is looked at each time."""
    if reviews.terms_of(task, leash.now) or reviews.terms_of(task, leash.then):
        return 0.0
    asked = task.spec.cache_s
    return (leash.then.settings.cache_s if asked is None else asked) or 0.0


def files_of(agent: AgentDefinition) -> dict[str, str]:
    """Names and digests of an agent's files. Empty ones say nothing: commands leave some behind, lest they be made."""
    return {name: digest for name, digest in agent.digests.items() if digest != _EMPTY}


def _surroundings(state: TurnState, tx: Tx, *, now: Instant) -> Surroundings | None:
    agent = state.leash.then
    wish = state.choices.wish(tx, state.task, agent, now=now)
    version = state.choices.version(wish.wanted)
    if version is None:
        return None
    return Surroundings(
        agent=agent.id,
        files=files_of(agent),
        model=version,
        effort=wish.effort,
        tools=digest_of(to_json(state.leash.specs)),
    )


def _is_outward(state: TurnState, name: str) -> bool:
    tool = state.leash.tool_or_none(name)
    return tool is None or tool.outward
