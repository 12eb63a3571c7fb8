"""Limits of queues: how many tasks of some kind, project, agent or priority run at once, and how many begin in a while.

A rate is a sliding window, kept exactly: in any span of its length, wherever it begins, no more tasks begin than it
says. A token bucket was the other way, and lost: after a rest it lets nearly twice as many begin within one span.
Every claim counts as a beginning, so what comes back from a question or a retry counts again. Knows nothing of stores.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from ostinato.domain.duration import format_duration, parse_duration
from ostinato.domain.errors import Invalid
from ostinato.domain.task import Task
from ostinato.domain.values import SECOND, Instant, Value

EACH = "*"
"""In the place of a name: every one of them has this limit for itself."""

STARTS_MAX = 1_000
"""Beginnings that a rate counts at most: so many instants are kept for each. `6000/m` is written `100/s`."""

SPAN_MAX_S = 31 * 86_400.0
"""The longest span of a rate: a month."""

LIMITS_MAX = 100
"""Limits of one fleet: each is looked at in each claim of a task that it covers."""

PRIORITY_LEAST, PRIORITY_MOST = -100, 100


class Rate(Value):
    """So many beginnings in any span of so many seconds."""

    starts: int
    span_s: float

    @property
    def text(self) -> str:
        """As it is written: `10/m`."""
        span = format_duration(self.span_s)
        return f"{self.starts}/{span.removeprefix('1') if re.fullmatch('1[a-z]+', span) else span}"

    def opens_at(self, begun: Sequence[Instant], *, now: Instant) -> Instant:
        """When the next task may begin, `now` at the earliest. `begun`: earlier beginnings in order, the last
        `starts` of them at least."""
        if len(begun) < self.starts:
            return now
        return max(now, begun[-self.starts] + round(self.span_s * SECOND))


def parse_rate(text: str) -> Rate:
    """A rate such as `10/m`, `100/h` or `3/10s`. Raises Invalid."""
    count, slash, span = text.replace(" ", "").partition("/")
    cure = "Write how many in how long, such as '10/m', '100/h' or '3/10s'."
    if not slash or not re.fullmatch(r"[1-9]\d{0,8}", count, re.ASCII):
        raise Invalid(f"{text[:40]!r} is not a rate", cure=cure)
    try:
        span_s = parse_duration(span if span[:1].isdigit() else f"1{span}")
    except Invalid:
        raise Invalid(f"{text[:40]!r} is not a rate: {span[:20]!r} is no time", cure=cure) from None
    if int(count) > STARTS_MAX:
        raise Invalid(f"{text[:40]!r} counts more than {STARTS_MAX}", cure="Name a shorter time: 6000/m is 100/s.")
    if not 0.001 <= span_s <= SPAN_MAX_S:
        raise Invalid(f"The time of {text[:40]!r} is out of range", cure="It can be 1ms to 31d.")
    return Rate(starts=int(count), span_s=span_s)


_PRIORITIES = re.compile(r"(>=|<=|>|<|)(-?\d{1,3})(?:\.\.(-?\d{1,3}))?", re.ASCII)


def parse_priorities(text: str) -> tuple[int, int]:
    """The least and the most of `>=50`, `<0`, `0` or `-10..10`. Raises Invalid."""
    cure = "Write '>=50', '<0', '10' or '-10..10'; priorities go from -100 to 100."
    found = _PRIORITIES.fullmatch(text.replace(" ", ""))
    if found is None or (found[1] and found[3]):
        raise Invalid(f"{text[:40]!r} names no priorities", cure=cure)
    one = int(found[2])
    least, most = {
        ">=": (one, PRIORITY_MOST),
        ">": (one + 1, PRIORITY_MOST),
        "<=": (PRIORITY_LEAST, one),
        "<": (PRIORITY_LEAST, one - 1),
        "": (one, int(found[3]) if found[3] else one),
    }[found[1]]
    if not PRIORITY_LEAST <= least <= most <= PRIORITY_MOST:
        raise Invalid(f"{text[:40]!r} names no priorities", cure=cure)
    return least, most


class QueueLimit(Value):
    """One limit. Empty parts cover everything; `EACH` in the place of a name makes one limit for each."""

    kind: str = ""
    project: str = ""
    agent: str = ""
    priority_least: int = PRIORITY_LEAST
    priority_most: int = PRIORITY_MOST
    concurrency: int | None = None
    """Tasks that run at once, on all nodes."""
    rate: Rate | None = None
    """Tasks that begin."""

    @property
    def has_band(self) -> bool:
        """True where it is about some priorities only."""
        return (self.priority_least, self.priority_most) != (PRIORITY_LEAST, PRIORITY_MOST)

    def scope(self, *, kind: str, project: str, agent: str) -> str:
        """The name of what is counted together; the same for limits that cover the same tasks."""
        given = (("kind", self.kind, kind), ("project", self.project, project), ("agent", self.agent, agent))
        parts = [f"{word}={own if named == EACH else named}" for word, named, own in given if named]
        if self.has_band:
            parts.append(f"priority={self.priority_least}..{self.priority_most}")
        return "limit:" + " ".join(parts)

    def covers(self, *, kind: str, project: str, agent: str, priority: int) -> bool:
        """True for a task that counts. One without a project or agent has none to be limited by each."""
        return (
            self.kind in ("", EACH, kind)
            and (self.project in ("", project) or (self.project == EACH and bool(project)))
            and (self.agent in ("", agent) or (self.agent == EACH and bool(agent)))
            and self.priority_least <= priority <= self.priority_most
        )


class LimitState(Value):
    """How one limit stands for what it counts together."""

    scope: str
    limit: QueueLimit
    running: int = 0
    opens_at: Instant | None = None
    """When a rate that is used up lets the next task begin; None: it lets one begin now, or there is no rate."""
    waits: int | None = None
    """The first task that could be claimed but for this, where that is known."""

    @property
    def name(self) -> str:
        """As people call it: `project=acme`."""
        return self.scope.removeprefix("limit:") or "all tasks"

    @property
    def is_full(self) -> bool:
        """True where nothing more may run."""
        return self.limit.concurrency is not None and self.running >= self.limit.concurrency


class Strands:
    """Parts each queue so that one limit stops whole parts of it and never hides what it does not cover: a strand holds
    the tasks of one limited project and of priorities between which no limit begins or ends.

    The strand of a task is stored with it. Without a limit on projects or priorities every task is in the strand ''.
    """

    def __init__(self, limits: Iterable[QueueLimit] = ()) -> None:
        self.limits = tuple(limits)
        self._projects = {each.project for each in self.limits if each.project}
        edges = {
            least for each in self.limits if each.has_band for least in (each.priority_least, each.priority_most + 1)
        }
        self._edges = sorted({PRIORITY_LEAST, *edges}) if edges else []

    def strand(self, *, project: str, priority: int) -> str:
        """Where a task waits: the least priority of its band, and its project, where any limit asks for them."""
        if not self._edges and not self._projects:
            return ""
        band = str(self._edges[bisect_right(self._edges, priority) - 1]) if self._edges else ""
        named = project if project and (project in self._projects or EACH in self._projects) else ""
        return f"{band}/{named}" if band or named else ""

    def covering(self, *, kind: str, agent: str, strand: str) -> tuple[tuple[str, QueueLimit], ...]:
        """The limits of a strand's tasks, each with its scope."""
        band, _, project = strand.partition("/")
        priority = int(band) if band else 0
        return tuple(
            (each.scope(kind=kind, project=project, agent=agent), each)
            for each in self.limits
            if each.covers(kind=kind, project=project, agent=agent, priority=priority)
        )

    def of(self, task: Task) -> tuple[tuple[str, QueueLimit], ...]:
        """The limits of one task, each with its scope."""
        strand = self.strand(project=task.project, priority=task.priority)
        return self.covering(kind=task.kind.value, agent=task.agent or "", strand=strand)
