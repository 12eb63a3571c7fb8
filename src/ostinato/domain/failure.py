"""What a task does about a failure: try again, give it to another agent, ask a person, or be a dead letter. Pure.

Knows nothing of stores, agents' files or clocks: what they say comes in as a plan, and the dice as one number.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from ostinato.domain.escalation import Rung
from ostinato.domain.retry import FailureClass, RetryPolicy, class_of, delay_s, rule_of
from ostinato.domain.values import Instant, Value

KEPT_MAX = 50
"""Failed attempts of a task that are told one by one; of more, the oldest are only counted."""

CAUSE_CHARACTERS_MAX = 1_000
"""Of each failed attempt's words so many are kept here; the journal and the log have more."""

AGENTS_MAX = 8
"""Agents that a task goes through, the first included."""

SAID_NO = frozenset({"budget", "limit", "stopped"})
"""Kinds of failures that are a person's own word: nobody is asked about them again."""

SKILLS = "skills"
"""The word, in an agent's place, for whoever else has the skills, by routing."""


class FailurePlan(Value):
    """What is to happen when an attempt of one task fails, by the files of its agent and fleet."""

    retry: tuple[RetryPolicy, ...] = ()
    """What stands behind the task's own policy: its agent's, then its fleet's."""
    fallback: str = ""
    """The agent that takes over; empty: none."""
    why_no_fallback: str = ""
    """In words, where one is named and cannot take over."""
    escalate: tuple[Rung, ...] = ()
    """Whom to ask, one after the other; none: nobody."""


NO_PLAN = FailurePlan()
"""Nobody says anything."""


class Setback(Value):
    """An attempt that failed."""

    attempt: int
    """The token of its claim."""
    agent: str
    failure: FailureClass
    kind: str
    """What it is more closely, as its outcome named it."""
    error: str
    at: Instant


class Setbacks(Value):
    """What has failed in a task so far. A person who sends it on, and another agent, begin at nought again; what was is
    still told."""

    told: tuple[Setback, ...] = ()
    """Oldest first, the latest `KEPT_MAX`."""
    counts: Mapping[FailureClass, int] = {}
    """Failed attempts of each class since its agent got it."""
    budgets: Mapping[FailureClass, int] = {}
    """How many of each class it may have, as it was when one failed last."""
    tried: tuple[str, ...] = ()
    """Agents that have given up, in order."""

    def after(self, setback: Setback, *, budget: int) -> Setbacks:
        """These and one more."""
        known = self.counts.get(setback.failure, 0)
        shortened = replace(setback, error=setback.error[:CAUSE_CHARACTERS_MAX])
        return replace(
            self,
            told=(*self.told, shortened)[-KEPT_MAX:],
            counts={**self.counts, setback.failure: known + 1},
            budgets={**self.budgets, setback.failure: budget},
        )

    def anew(self, *, without: str = "") -> Setbacks:
        """The same with every budget whole again; `without` names an agent that has given up."""
        tried = (*self.tried, without) if without and without not in self.tried else self.tried
        return replace(self, counts={}, tried=tried)


class Facts(Value):
    """What else decides about one failure."""

    is_final: bool
    """Its handler says that the same journal cannot become right by itself."""
    is_alone: bool
    """Its journal belongs to it alone: another can begin anew, and a wait freezes no session."""
    deeds: str = ""
    """What was done, in words, that cannot be undone or that nobody knows of; empty: nothing."""


class TryAgain(Value):
    """The same agent, after a delay. `fresh`: with a new journal."""

    delay_s: float
    fresh: bool = False


class HandOver(Value):
    """Another agent begins anew, and reads what failed."""

    agent: str


class AskPeople(Value):
    """Somebody decides. `why_not` says, where a fallback is named, why it did not take over."""

    rungs: tuple[Rung, ...]
    why_not: str = ""


class GiveUp(Value):
    """A dead letter. `why_not` as above."""

    why_not: str = ""
    rungs: tuple[Rung, ...] = ()
    """Whom to ask beside it: the session that it was for goes on, and waits for nobody."""


NextStep = TryAgain | HandOver | AskPeople | GiveUp
"""What follows a failure, consumed by `match`."""


def next_step(
    kind: str, *, count: int, own: RetryPolicy, plan: FailurePlan, facts: Facts, tried: tuple[str, ...],
    chance: float, asked_s: float | None = None,
) -> NextStep:  # fmt: skip
    """What a task does after its failure number `count` of this class. `own` is what the task itself says of retries,
    `tried` the agents that have given up, the present one among them."""
    failure = class_of(kind)
    if failure is FailureClass.POLICY:
        return GiveUp() if kind in SAID_NO else _asking(plan, facts)
    rule = rule_of(failure, own, *plan.retry)
    fresh = failure is FailureClass.INVALID_OUTPUT
    again = not facts.is_final or failure in (FailureClass.PERMANENT, FailureClass.INVALID_OUTPUT)
    if again and not (fresh and (facts.deeds or not facts.is_alone)):
        delay = delay_s(rule, failures=count, chance=chance, asked_s=asked_s)
        if delay is not None:
            return TryAgain(delay_s=delay, fresh=fresh)
    why_not = _why_no_fallback(plan, facts, tried)
    if plan.fallback and not why_not:
        return HandOver(agent=plan.fallback)
    return _asking(plan, facts, why_not=why_not)


def _asking(plan: FailurePlan, facts: Facts, *, why_not: str = "") -> AskPeople | GiveUp:
    """Somebody is asked, where there is anybody: it waits for them only where nobody waits for it."""
    if plan.escalate and facts.is_alone:
        return AskPeople(rungs=plan.escalate, why_not=why_not)
    return GiveUp(why_not=why_not, rungs=plan.escalate)


def budget_of(kind: str, own: RetryPolicy, plan: FailurePlan) -> int:
    """How many attempts of a task may fail like this."""
    return rule_of(class_of(kind), own, *plan.retry).attempts_max


def _why_no_fallback(plan: FailurePlan, facts: Facts, tried: tuple[str, ...]) -> str:
    if not plan.fallback:
        return plan.why_no_fallback
    if not facts.is_alone:
        return f"{plan.fallback} cannot take over: the journal belongs to a session that goes on"
    if facts.deeds:
        return f"{plan.fallback} does not take over without a person's word: {facts.deeds}"
    if plan.fallback in tried:
        return f"{plan.fallback} has given up already"
    if len(tried) >= AGENTS_MAX:
        return f"{len(tried)} agents have given up already"
    return ""


def handover_note(setbacks: Setbacks, *, agent: str) -> str:
    """What the agent that takes over reads about the one before."""
    lines = [f"{agent} has tried this before, and gave up. What failed:"]
    lines += [f"- {each.failure.value}: {each.error}" for each in setbacks.told if each.agent == agent][-5:]
    return "\n".join([*lines, "Begin anew; whatever it has done is told above, if it did anything."])
