"""The choice of an agent for a task: skills first, then who can work now, then who does it best by weights; explained
line by line.

Knows nothing of stores or workspaces: candidates, their load and their record are handed in. Of an agent that has no
record yet nothing is held against it, so that a new one gets its first tasks.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.values import Value

EXPLAINED_MAX = 12
"""Candidates that an explanation names."""


class RoutingPolicy(enum.StrEnum):
    """What makes an agent the best of several that are able."""

    BALANCED = "balanced"
    LEAST_LOADED = "least_loaded"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    BEST = "best"
    """The fewest failures."""


class Weights(Value):
    """How much each criterion counts; they are shares of the worst candidate's figure, so any scale will do."""

    load: float = 0.0
    """Unfinished tasks for each that the agent may run at once."""
    cost: float = 0.0
    time: float = 0.0
    failures: float = 0.0
    change: float = 0.0
    """Another agent than the one that did the task's last relatives."""


POLICIES: Mapping[RoutingPolicy, Weights] = {
    RoutingPolicy.BALANCED: Weights(load=1.0, cost=0.5, time=0.25, failures=1.0, change=0.25),
    RoutingPolicy.LEAST_LOADED: Weights(load=1.0),
    RoutingPolicy.CHEAPEST: Weights(cost=1.0),
    RoutingPolicy.FASTEST: Weights(time=1.0, load=0.5),
    RoutingPolicy.BEST: Weights(failures=1.0),
}
"""Ties go to the lesser load, then to the name."""


class Record(Value):
    """What became of an agent's last tasks of one type."""

    done: int = 0
    failed: int = 0
    usd_micros: int | None = None
    """Micro-dollars that all of them have cost, for each that is done; None: none is."""
    seconds: float | None = None
    """The same of the time from their first start to their end."""


NO_RECORD = Record()

RECORD_TASKS = 50
"""Tasks of a type that tell how good an agent is at it."""

RECORD_REACH = 200
"""Tasks of an agent among which they are looked for: some 200 rows along an index."""


class Candidate(Value):
    """An agent, as far as routing must know it. `unfinished` counts its tasks that still want something."""

    id: str
    skills: tuple[str, ...] = ()
    paused: bool = False
    unfinished: int = 0
    concurrency: int = 1
    """Tasks that it may run at once."""
    hindered: str = ""
    """Why it cannot work now although nobody paused it: no money left today, its breaker is open. It is asked last."""
    record: Record = NO_RECORD
    is_known: bool = False
    """It did the task's last relatives."""


class Ranked(Value):
    """How one candidate came out."""

    id: str
    reasons: tuple[str, ...]
    """What speaks for and against it."""
    score: float | None = None
    """The weighted sum of its shares, 0 at best; None: it lacks a skill."""
    waits: bool = False
    """It cannot work now."""

    @property
    def words(self) -> str:
        """In one line."""
        return f"{self.id}: {'; '.join(self.reasons)}"


class Route(Value):
    """Who gets a task. Without an agent `blocked` says why nobody can do it now."""

    agent: str | None = None
    ranked: tuple[Ranked, ...] = ()
    """The candidates that count, best first; then those that lack little."""
    blocked: str = ""

    @property
    def why(self) -> tuple[str, ...]:
        """One line for each of them."""
        return tuple(each.words for each in self.ranked)


def route(
    candidates: Sequence[Candidate],
    *,
    agent: str | None = None,
    skills: Sequence[str] = (),
    weights: Weights = POLICIES[RoutingPolicy.LEAST_LOADED],
) -> Route:
    """The agent that was asked for, or the best of those that have all the skills.

    Of several the order is: can work now, lowest sum of weighted shares, least load, name. Raises NotFound for an
    unknown agent.
    """
    if agent is not None:
        found = next((each for each in candidates if each.id == agent), None)
        if found is None:
            raise NotFound(unknown_name("agent", agent, [each.id for each in candidates]))
        return Route(agent=found.id, ranked=(Ranked(id=found.id, reasons=("asked for by name",)),))
    if not skills:
        return Route(blocked="neither an agent nor skills are named")
    able = [each for each in candidates if not missing(each, skills)]
    if not able:
        return Route(blocked=_nobody(candidates, skills), ranked=_closest(candidates, skills))
    scale = _Scale(able, weights)
    best = sorted((_is_hindered(each), scale.score(each), _load(each), each.id, each) for each in able)
    has = f"has {', '.join(skills)}"
    ranked = tuple(
        Ranked(id=each.id, reasons=(has, *scale.reasons(each, score)), score=score, waits=waits)
        for waits, score, _, _, each in best[:EXPLAINED_MAX]
    )
    return Route(agent=ranked[0].id, ranked=(*ranked, *_closest(candidates, skills)[: EXPLAINED_MAX - len(ranked)]))


def missing(candidate: Candidate, skills: Sequence[str]) -> tuple[str, ...]:
    """The skills that a candidate lacks; letters' case does not matter."""
    has = {each.casefold() for each in candidate.skills}
    return tuple(each for each in skills if each.casefold() not in has)


def has_all(has: Sequence[str], skills: Sequence[str]) -> bool:
    """True where nothing is missing: the same, for whoever looks at thousands."""
    if all(each in has for each in skills):
        return True
    known = {each.casefold() for each in has}
    return all(each.casefold() in known for each in skills)


class _Scale:
    """Turns figures into shares of the worst among the able, and these into one sum."""

    def __init__(self, able: Sequence[Candidate], weights: Weights) -> None:
        self._weights = weights
        self._load = max(map(_load, able)) or 1.0
        self._cost = max(each.record.usd_micros or 0 for each in able) or 1
        self._time = max(each.record.seconds or 0.0 for each in able) or 1.0

    def score(self, each: Candidate) -> float:
        """0 for the best there could be; rounded, so that no order hangs on the last bit."""
        weights, record = self._weights, each.record
        shares = (
            weights.load * _load(each) / self._load,
            weights.cost * _share(record, record.usd_micros, self._cost),
            weights.time * _share(record, record.seconds, self._time),
            weights.failures * _failures(record),
            weights.change * (not each.is_known),
        )
        return round(sum(shares), 9)

    def reasons(self, each: Candidate, score: float) -> list[str]:
        """What speaks for and against a candidate, as far as it counts."""
        weights, record = self._weights, each.record
        parts = [f"{each.unfinished} unfinished" + (f", {each.concurrency} at once" if each.concurrency > 1 else "")]
        if weights.cost and record.usd_micros is not None:
            parts.append(f"${record.usd_micros / 1_000_000:.4f} a task")
        if weights.time and record.seconds is not None:
            parts.append(f"{record.seconds:.1f} s a task")
        if (weights.failures and (record.done or record.failed)) or _has_only_failed(record):
            parts.append(f"{record.failed} of its last {record.done + record.failed} failed")
        if weights.change and each.is_known:
            parts.append("did the last ones")
        if len(parts) > 1:
            parts.append(f"score {score:.2f}")
        if each.paused:
            parts.append("paused")
        if each.hindered:
            parts.append(each.hindered)
        return parts


def _is_hindered(candidate: Candidate) -> bool:
    return candidate.paused or bool(candidate.hindered)


def _load(candidate: Candidate) -> float:
    return candidate.unfinished / max(1, candidate.concurrency)


def _share(record: Record, figure: float | None, worst: float) -> float:
    """Whoever has only failed comes behind the worst: what ends at once in an error is neither cheap nor fast."""
    if figure is None:
        return 2.0 if _has_only_failed(record) else 0.0
    return figure / worst


def _has_only_failed(record: Record) -> bool:
    return record.failed > 0 and record.done == 0


def _failures(record: Record) -> float:
    """Share of failures; a few tasks say little, so each agent is given two good ones (a beta prior)."""
    return record.failed / (record.done + record.failed + 2)


def _nobody(candidates: Sequence[Candidate], skills: Sequence[str]) -> str:
    known = {each.casefold() for candidate in candidates for each in candidate.skills}
    unknown = [each for each in skills if each.casefold() not in known]
    if unknown:
        return f"no agent has the skill {', '.join(unknown)}"
    return f"no one agent has all of {', '.join(skills)}"


def _closest(candidates: Sequence[Candidate], skills: Sequence[str]) -> tuple[Ranked, ...]:
    lacking = [(missing(each, skills), each.id) for each in candidates]
    near = sorted((len(lacks), name, lacks) for lacks, name in lacking if 0 < len(lacks) < len(skills))
    return tuple(Ranked(id=name, reasons=(f"lacks {', '.join(lacks)}",)) for _, name, lacks in near[:EXPLAINED_MAX])
