"""Whoever makes a task asks here which agent gets it: gathers what `domain.routing` judges by, in one transaction.

The one way in for all of them: tools, dropped files, commands, drafts that are approved, work that nobody could do
before. What an agent is good at is looked up now and then, not for each task. Knows nothing of workspaces: agents are
handed in as colleagues.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from ostinato.domain.breaker import BreakerState
from ostinato.domain.budget import Ceiling, Unit
from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.ledger import day_of
from ostinato.domain.question import QuestionState
from ostinato.domain.routing import Candidate, Ranked, Record, Route, has_all, route
from ostinato.domain.routing_rule import Guidance, Routing, guidance
from ostinato.domain.task import UNFINISHED, NewTask, Task
from ostinato.domain.values import Instant
from ostinato.store.port import Reads, Tx
from ostinato.tools.port import Colleague

SCALE = "scale."
"""How the names of settings begin that say how many instances of an agent work at once."""

RECORDS_S = 5.0
"""How old what is known of an agent's work may be, in seconds, before it is looked up again."""

RECORDS_AT_ONCE = 16
"""Of a thousand candidates so many are looked up again for one task, those known longest first: each is a walk over 200
rows, and nobody writes meanwhile."""

RECORDS_MAX = 20_000
"""Agents and types of tasks of which it is kept: some 6 MB."""

ONE_BY_ONE_MAX = 50
"""Candidates whose counters are looked up one by one; of more, all counters are read at once."""

NOBODY_NAMED = "neither an agent nor skills are named"


class Router:
    """Routes for all who make tasks in this process. Used inside transactions."""

    def __init__(
        self,
        routing: Routing = Routing(),  # noqa: B008 - frozen
        *,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routing = routing
        self._elapsed_s = elapsed_s
        self._records: dict[tuple[str, str], tuple[float, Record]] = {}

    def place(self, tx: Tx, new: NewTask, agents: Sequence[Colleague], *, now: Instant) -> NewTask:
        """The task with whoever gets it among `agents`, or with what is missing. Raises NotFound where it names an
        agent that is not among them."""
        if new.agent is not None:
            known = [each.id for each in agents]
            if new.agent not in known:
                raise NotFound(unknown_name("agent", new.agent, known))
            return new
        chosen, guide = self._choose(tx, new, agents, after=[each.task for each in new.dependencies], now=now)
        for each in guide.missed:
            tx.announce(NewEvent(name=EventName.RULE_MISSED, agent=chosen.agent, reason=each), now=now)
        if chosen.agent is None:
            return replace(new, blocked=chosen.blocked)
        spec = replace(new.spec, routed=_why(chosen, guide), routed_to=chosen.agent)
        return replace(new, agent=chosen.agent, blocked="", spec=spec)

    def place_again(
        self, tx: Tx, task: Task, agents: Sequence[Colleague], *, actor: str, now: Instant, at_once: bool = False
    ) -> Task:
        """The task with whoever gets it now; as it was where nobody can do it, or with `at_once` where nobody else can
        do it now."""
        after = [each.task for each in tx.waits_on(task.id)]
        chosen, guide = self._choose(tx, task, agents, after=after, now=now)
        if chosen.agent in (None, task.agent) or (at_once and chosen.ranked[0].waits):
            return task
        return tx.change_task(task.id, actor=actor, agent=chosen.agent, routed=_why(chosen, guide), now=now)

    def explain(
        self, tx: Reads, task: Task, agents: Sequence[Colleague], *, after: Sequence[int], now: Instant
    ) -> tuple[Route, str]:
        """How the task would be routed now, and which word would decide it."""
        chosen, guide = self._choose(tx, task, agents, after=after, now=now)
        return chosen, guide.why

    def _choose(
        self, tx: Reads, task: NewTask | Task, agents: Sequence[Colleague], *, after: Sequence[int], now: Instant
    ) -> tuple[Route, Guidance]:
        skills = task.spec.skills
        able = {each.id for each in agents if has_all(each.skills, skills)}
        guide = guidance(task, self._routing, able=able)
        if not skills and guide.agent is None:
            return Route(blocked=NOBODY_NAMED), guide
        known = self._relatives(tx, after)
        if guide.agent is not None:
            return _given(guide), guide
        candidates = list(self._look(tx, agents, able, task_type=task.type, known=known, now=now))
        if not candidates or isinstance(task, Task):  # where nobody can, and where it is told, the others count too
            candidates += [Candidate(id=each.id, skills=each.skills) for each in agents if each.id not in able]
        return route(candidates, skills=skills, weights=guide.weights), guide

    def _look(
        self,
        tx: Reads,
        agents: Sequence[Colleague],
        able: set[str],
        *,
        task_type: str,
        known: set[str],
        now: Instant,
    ) -> Iterable[Candidate]:
        """Those who could do it, with everything that counts for and against them."""
        if not able:
            return
        flags: dict[str, set[str]] = {}
        for flag in tx.flags():
            flags.setdefault(flag.scope, set()).add(flag.name)
        troubled = {each.name for each in tx.breakers() if each.state is not BreakerState.CLOSED}
        scales = tx.settings(SCALE)
        tallies, records = _tallies(tx, able), self._records_of(tx, able, task_type)
        for each in agents:
            if each.id not in able:
                continue
            held = flags.get(f"agent:{each.id}", set())
            yield Candidate(
                id=each.id,
                skills=each.skills,
                paused="paused" in held,
                unfinished=sum(tallies.get(each.id, {}).get(state.value, 0) for state in UNFINISHED),
                concurrency=scaled(scales.get(each.id), each.concurrency),
                hindered=_hindrance(tx, each, held=held, in_trouble=f"agent:{each.id}" in troubled, now=now),
                record=records[each.id],
                is_known=each.id in known,
            )

    def _records_of(self, tx: Reads, able: Iterable[str], task_type: str) -> dict[str, Record]:
        """What became of the work of each: of those that nobody has asked for yet, and of some that have grown old, as
        it is now."""
        now_s, known = self._elapsed_s(), self._records
        ages = [(known[each, task_type][0], each) for each in able if (each, task_type) in known]
        old = [each for each in ages if now_s - each[0] > RECORDS_S]
        wanted = {name for _, name in heapq.nsmallest(RECORDS_AT_ONCE, old)}
        found: dict[str, Record] = {}
        for each in able:
            at_record = known.get((each, task_type))
            if at_record is None or each in wanted:
                if len(known) >= RECORDS_MAX:
                    known.clear()
                at_record = known[each, task_type] = now_s, tx.agent_record(each, task_type)
            found[each] = at_record[1]
        return found

    @staticmethod
    def _relatives(tx: Reads, after: Sequence[int]) -> set[str]:
        """Agents of the tasks that this one needs."""
        found: set[str] = set()
        for each in after:
            try:
                found.add(tx.task(each).agent or "")
            except NotFound:  # whoever adds the task says so, and where
                continue
        return found


def scaled(stored: str | None, concurrency: int) -> int:
    """How many tasks of an agent run at once: what a person has said, else its files."""
    return int(stored) if stored and stored.isdecimal() else concurrency


def is_routed(task: Task) -> bool:
    """True for a task that has its agent by routing: nobody named it, and nobody has moved it since."""
    return task.agent is not None and task.agent == task.spec.routed_to


def _why(chosen: Route, guide: Guidance) -> str:
    able = sum(each.score is not None for each in chosen.ranked)
    return f"{guide.why}: {chosen.ranked[0].words}{f' (first of {able})' if able > 1 else ''}"


def _given(guide: Guidance) -> Route:
    agent = guide.agent or ""
    return Route(agent=agent, ranked=(Ranked(id=agent, reasons=("a rule gives it",), score=0.0),))


def _tallies(tx: Reads, agents: set[str]) -> Mapping[str, Mapping[str, int]]:
    if len(agents) <= ONE_BY_ONE_MAX:
        return {each: tx.agent_tally(each) for each in agents}
    return tx.tallies().agents


def _hindrance(tx: Reads, agent: Colleague, *, held: set[str], in_trouble: bool, now: Instant) -> str:
    """Why an agent cannot work now although nobody paused it; empty where it can."""
    if held - {"paused"}:
        return next(each for each in ("halted", "draining", *sorted(held)) if each in held)
    if in_trouble:
        return "in trouble"  # not which: that is the text of a task's result, which may be a stranger's
    most = Ceiling(usd_micros=agent.per_day_usd_micros, tokens=agent.per_day_tokens)
    if most.is_open:
        return ""
    account = replace(tx.account(f"agent:{agent.id}", day_of(now)), most=most)
    if account.room(Unit.USD) == 0 or account.room(Unit.TOKENS) == 0:
        return "no money left today"
    try:  # what is left was too little for a call, and nobody has granted more
        asked = None if account.question is None else tx.question(account.question)
    except NotFound:
        return ""
    return "no money left today" if asked is not None and asked.state is not QuestionState.ALLOWED else ""
