"""Figures for Prometheus: counters and histograms of this process, gauges of the store, and their text form.

Every label has few values: states, kinds, names of models and events, never an agent, a task or a title, unless the
fleet's file asks for figures of each agent. Knows nothing of HTTP, nor of whoever scrapes.
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from ostinato.domain.breaker import Breaker
from ostinato.domain.event import Event
from ostinato.domain.question import QuestionKind
from ostinato.domain.stalled import STALLED_S
from ostinato.domain.task import TaskState
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.engine.lookout import stalled_tasks
from ostinato.store.port import QuestionFilter, Reads, TaskFilter

Kind = Literal["counter", "gauge", "histogram"]

Labels = tuple[tuple[str, str], ...]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
"""Upper bounds of durations: from a commit to a turn of half an hour."""

COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Of commits: a good disk takes 0.3 ms; from 50 ms on `doctor` speaks of a slow one."""

SERIES_MAX = 200
"""Combinations of labels of one figure; whatever comes then counts as `other`."""

AGENTS_MAX = 1_000
"""Agents that have figures of their own, where the fleet's file asks for these."""

QUEUE_LOOKED_AT = 500
"""Ready tasks among which the oldest is looked for; of a longer queue its length alone is told."""


class Family(Value):
    """One figure with its samples. `samples`: labels -> value; a histogram's are `Buckets`."""

    name: str
    kind: Kind
    about: str
    samples: Sequence[tuple[Labels, float | Buckets]]


class Buckets(Value):
    """A histogram as it stands: how many lay within each bound, all of them, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """One more than `bounds`: the last is what lay beyond."""
    total: float


class Meter:
    """Counts what happens in this process. Each figure is named once, here; safe to read while it is counted."""

    def __init__(self, *, agents: bool = False) -> None:
        self.agents = agents
        """Whether figures of each agent are told."""
        self.sources: list[Callable[[], Iterable[Family]]] = []
        """Rooms with figures of their own, such as the states of breakers, asked at each scrape."""
        self._events: dict[str, int] = defaultdict(int)
        self._counters: dict[str, dict[Labels, float]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[Labels, list[float]]] = {name: {} for name in _HISTOGRAMS}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        series = self._counters[name]
        key = _key(series, labels)
        series[key] = series.get(key, 0) + amount

    def begin(self, name: str, **labels: str) -> None:
        """Has a counter told as 0 before anything is counted: of one that begins at 1, `rate` and `increase` never see
        the first, and one that is absent looks like a node that does not run."""
        self.count(name, 0, **labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds a value to a histogram: seconds."""
        series = self._histograms[name]
        key = _key(series, labels)
        bounds = _HISTOGRAMS[name][1]
        counts = series.get(key)
        if counts is None:
            counts = series[key] = [0.0] * (len(bounds) + 2)
        counts[bisect_left(bounds, value)] += 1
        counts[-1] += value

    def hear(self, events: Sequence[Event]) -> None:
        """What a commit announced."""
        counts = self._events
        for event in events:
            counts[event.name._value_] += 1  # the plain text: the enum's own hash costs three times as much

    def skipped(self, reason: str) -> None:
        """A wake for nothing."""
        self.count("ostinato_wakes_skipped_total", reason=reason_class(reason))

    def families(self) -> Iterator[Family]:
        """All that was counted here, and what the other rooms tell."""
        self._counters["ostinato_events_total"] = {(("event", n),): float(c) for n, c in list(self._events.items())}
        for name, about in _COUNTERS.items():
            yield Family(name=name, kind="counter", about=about, samples=sorted(self._counters[name].items()))
        for name, (about, bounds) in _HISTOGRAMS.items():
            found = sorted(self._histograms[name].items())
            samples = [
                (labels, Buckets(bounds=bounds, counts=tuple(map(int, counts[:-1])), total=counts[-1]))
                for labels, counts in found
            ]
            yield Family(name=name, kind="histogram", about=about, samples=samples)
        for source in self.sources:
            yield from source()
        yield from _process()


_COUNTERS = {
    "ostinato_events_total": "Events by name: task.claimed counts claims, heartbeat.fired wakes, and so on.",
    "ostinato_attempts_total": "Attempts by kind of task and outcome.",
    "ostinato_model_calls_total": "Calls of models by the fleet's name of the model, and outcome.",
    "ostinato_model_tokens_total": "Tokens by model; input tokens without those read from a cache.",
    "ostinato_model_cost_usd_total": "Dollars by model; calls of unknown price cost nothing here.",
    "ostinato_model_unpriced_calls_total": "Calls whose price is unknown.",
    "ostinato_wakes_skipped_total": "Heartbeats and schedules that woke nobody, by reason.",
}

_HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "ostinato_attempt_seconds": ("How long attempts took, by kind of task.", SECONDS),
    "ostinato_model_call_seconds": ("How long calls of models took, retries included.", SECONDS),
    "ostinato_store_commit_seconds": ("How long commits took to be on disk.", COMMIT_SECONDS),
}


def _key(
    series: dict[Labels, object] | dict[Labels, float] | dict[Labels, list[float]], labels: dict[str, str]
) -> Labels:
    key = tuple(sorted(labels.items()))
    if key in series or len(series) < SERIES_MAX:
        return key
    return tuple((name, "other") for name, _ in key)


def reason_class(reason: str) -> str:
    """A reason as a label: without names of agents, tasks and conditions, so that there are only a few."""
    if reason.startswith("still busy"):
        return "busy"
    if found := re.fullmatch(r"(?:fleet|agent:\S+) is (\w+)", reason):
        return found[1]
    return reason.partition(":")[0][:60]


# --- gauges of the store ---


def store_families(reads: Reads, *, now: Instant, agents: bool, stalled_s: float = STALLED_S) -> Iterator[Family]:
    """How things stand, by counters that the store keeps anyway."""
    tallies = reads.tallies()
    tasks = []
    for state in TaskState:
        goals = tallies.goals.get(state.value, 0)
        others = tallies.tasks.get(state.value, 0) - goals
        tasks += [((("kind", "goal"), ("state", state.value)), float(goals))]
        tasks += [((("kind", "other"), ("state", state.value)), float(others))]
    yield Family(
        name="ostinato_tasks",
        kind="gauge",
        about="Tasks by state; turns, deliveries and such are other.",
        samples=tasks,
    )
    yield _gauge("ostinato_dead_letters", "Failed tasks that nobody has dealt with.", tallies.dead)
    stalled = len(stalled_tasks(reads, now=now, after_s=stalled_s))
    yield _gauge("ostinato_stalled_tasks", "Tasks at a standstill: no step, or waiting past their time.", stalled)
    yield _gauge("ostinato_questions_open", "Questions that wait for a person.", tallies.questions)
    yield from _ages(reads, ready=tallies.tasks.get("ready", 0), questions=tallies.questions, now=now)
    breakers = [
        ((("breaker", each.name), ("state", each.state.value)), 1.0) for each in _breakers(reads, agents=agents)
    ]
    about = "Breakers that have seen failures, by state: closed, open (calls are refused), half_open."
    yield Family(name="ostinato_breaker_state", kind="gauge", about=about, samples=breakers)
    size = reads.size()
    parts = [((("part", part),), float(size[part])) for part in ("database", "wal") if part in size]
    yield Family(name="ostinato_store_bytes", kind="gauge", about="Size of the store's files.", samples=parts)
    nodes = reads.nodes(limit=1)
    if nodes:
        yield _gauge("ostinato_node_started_seconds", "When the last node started.", nodes[0].started_at / SECOND)
    if agents:
        yield Family(
            name="ostinato_agent_tasks",
            kind="gauge",
            about="Tasks by agent and state.",
            samples=[
                ((("agent", agent), ("state", state)), float(count))
                for agent, states in sorted(tallies.agents.items())[:AGENTS_MAX]
                for state, count in sorted(states.items())
            ],
        )


_GUARDED = ("model", "channel", "tool", "host", "agent")
"""What breakers guard, the few that matter to everybody first: of hosts there may be many, of agents more."""


def _breakers(reads: Reads, *, agents: bool) -> Sequence[Breaker]:
    """At most SERIES_MAX; those of agents only where these have figures of their own."""
    kinds = _GUARDED if agents else _GUARDED[:-1]
    ranks = {kind: rank for rank, kind in enumerate(kinds)}
    found = [each for each in reads.breakers() if each.name.partition(":")[0] in ranks]
    return sorted(found, key=lambda each: ranks[each.name.partition(":")[0]])[:SERIES_MAX]


def _ages(reads: Reads, *, ready: int, questions: int, now: Instant) -> Iterator[Family]:
    """Ages of what waits longest; the store finds them newest first."""
    if questions <= QUEUE_LOOKED_AT:
        pending = reads.questions(QuestionFilter(), limit=QUEUE_LOOKED_AT) if questions else []
        oldest = {kind.value: 0.0 for kind in QuestionKind}
        for each in pending:
            oldest[each.kind.value] = max(oldest[each.kind.value], (now - each.created_at) / SECOND)
        samples = [((("kind", kind),), age) for kind, age in oldest.items()]
        about = "Age of the oldest open question, by kind."
        yield Family(name="ostinato_question_oldest_age_seconds", kind="gauge", about=about, samples=samples)
    yield _gauge("ostinato_queue_depth", "Tasks that are ready, those with a later time included.", ready)
    if ready <= QUEUE_LOOKED_AT:
        which = TaskFilter(states=frozenset({TaskState.READY}))
        waiting = (
            [each for each in reads.tasks(which, limit=QUEUE_LOOKED_AT) if each.not_before_at <= now] if ready else []
        )
        since = min((max(each.updated_at, each.not_before_at) for each in waiting), default=now)
        about = "How long the task has waited that could be claimed first; absent above 500 ready tasks."
        yield _gauge("ostinato_queue_oldest_age_seconds", about, max(0, now - since) / SECOND)


def _gauge(name: str, about: str, value: float) -> Family:
    return Family(name=name, kind="gauge", about=about, samples=[((), float(value))])


def _process() -> Iterator[Family]:
    """This process, by the names that Prometheus' own clients use. Nothing where the system does not tell."""
    times = os.times()
    yield Family(
        name="process_cpu_seconds_total",
        kind="counter",
        about="Time of processors.",
        samples=[((), times[0] + times[1])],
    )
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            pages = int(stream.read().split()[1])
        descriptors = len(os.listdir("/proc/self/fd")) - 1  # without the one that this took
    except (OSError, ValueError, IndexError):
        return
    yield _gauge("process_resident_memory_bytes", "Memory in use.", pages * os.sysconf("SC_PAGE_SIZE"))
    yield _gauge("process_open_fds", "Open descriptors.", descriptors)


# --- the text form ---


def exposition(families: Iterable[Family], *, version: str) -> str:
    """Prometheus' text format 0.0.4, families by name."""
    info = Family(
        name="ostinato_info", kind="gauge", about="The version that runs.", samples=[((("version", version),), 1.0)]
    )
    lines = []
    for family in sorted((info, *families), key=lambda each: each.name):
        lines.append(f"# HELP {family.name} {_escaped(family.about)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            lines += _sample(family.name, labels, value)
    return "\n".join(lines) + "\n"


def _sample(name: str, labels: Labels, value: float | Buckets) -> Iterator[str]:
    if not isinstance(value, Buckets):
        yield f"{name}{_labels(labels)} {_number(value)}"
        return
    count = 0
    for bound, number in zip((*value.bounds, float("inf")), value.counts, strict=True):
        count += number
        yield f"{name}_bucket{_labels((*labels, ('le', _number(bound))))} {count}"
    yield f"{name}_sum{_labels(labels)} {_number(value.total)}"
    yield f"{name}_count{_labels(labels)} {count}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(text)}"' for name, text in labels)
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


class CommitTimes:
    """Measures commits from within the writer's thread; a store's `CommitHook`."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._began_s = 0.0

    def __call__(self, when: str, commit: int) -> None:
        """One commit begins or has been made."""
        if when == "before":
            self._began_s = time.perf_counter()
        else:
            self._meter.observe("ostinato_store_commit_seconds", time.perf_counter() - self._began_s)
