"""Queues choose what a plain walk over all rows would choose, whatever is in memory and whatever stands in the way."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.limit import QueueLimit, Rate, Strands
from ostinato.domain.task import TaskKind
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import ClaimRequest
from ostinato.store.verbs.queues import ADDED_MAX, Candidate, QueueKey, Queues

KINDS = (TaskKind.RUN, TaskKind.TURN)
POOLS = ("p", "q")
AGENTS = ("", "a", "b", "c")
SESSIONS = ("", "", "s1", "s2")
PROJECTS = ("", "", "acme", "beta")
LIMITS = (
    QueueLimit(project="acme", concurrency=2),
    QueueLimit(project="*", rate=Rate(starts=3, span_s=10.0)),
    QueueLimit(priority_most=-1, concurrency=1),
    QueueLimit(priority_least=1, priority_most=1, rate=Rate(starts=2, span_s=5.0)),
    QueueLimit(kind="turn", agent="a", concurrency=1),
    QueueLimit(agent="*", rate=Rate(starts=4, span_s=8.0)),
)


class Row(NamedTuple):
    key: QueueKey
    candidate: Candidate


class Table:
    """Rows as a database keeps them, and the plain walk."""

    def __init__(self, limits: tuple[QueueLimit, ...] = ()) -> None:
        self.rows: list[Row] = []
        self.running: list[Row] = []
        self.flags: set[str] = set()
        self.numbers = 0
        self.now: Instant = 0
        self.strands = Strands(limits)
        self.begun: dict[str, list[Instant]] = {}
        self.queues = self.fresh()

    def fresh(self) -> Queues:
        """Queues that know nothing but what is in the table."""
        heads: dict[QueueKey, Candidate] = {}
        for key, candidate in self.rows:
            heads[key] = min(candidate, heads.get(key, candidate))
        begun = self.begun
        queues = Queues(
            heads=heads.items(), page=self.page, strands=self.strands, begun=lambda scope: list(begun.get(scope, ()))
        )
        for key, candidate in self.running:
            queues.started(key, candidate.session)
        return queues

    def page(self, key: QueueKey, after: Candidate, most: int) -> list[Candidate]:
        behind = (row.candidate for row in self.rows if row.key == key and row.candidate[:2] > after[:2])
        return sorted(behind)[:most]

    def add(self, key: QueueKey, urgency: int, session: str) -> None:
        self.numbers += 1
        self.put(Row(key, Candidate(urgency, self.numbers, session)))

    def put(self, row: Row) -> None:
        self.rows.append(row)
        self.queues.add(*row)

    def take(self, request: ClaimRequest) -> Row | None:
        """As the verb does: what has moved on since is passed over."""
        while (found := self.queues.take(request, self.flags.__contains__, now=self.now)) is not None:
            row = Row(*found)
            if row in self.rows:
                self.rows.remove(row)
                self.running.append(row)
                self.queues.started(row.key, row.candidate.session)
                for scope in self.queues.began(row.key, now=self.now):
                    self.begun.setdefault(scope, []).append(self.now)
                return row
        return None

    def expected(self, request: ClaimRequest) -> Row | None:
        agents = Counter(row.key.agent for row in self.running)
        kinds = Counter(row.key.kind for row in self.running)
        sessions = {row.candidate.session for row in self.running} - {""}

        limited = Counter(scope for row in self.running for scope in dict(self.limits_of(row)))

        def has_room(row: Row) -> bool:
            return all(
                (limit.concurrency is None or limited[scope] < limit.concurrency)
                and (limit.rate is None or self.begun_within(scope, limit.rate.span_s) < limit.rate.starts)
                for scope, limit in self.limits_of(row)
            )

        def may_run(row: Row) -> bool:
            key, candidate = row
            scopes = {f"pool:{key.pool}", f"agent:{key.agent}", f"session:{candidate.session}", f"task:{candidate.id}"}
            limit = request.agent_limits.get(key.agent, request.agent_limit_default)
            kind_limit = {kind.value: most for kind, most in request.kind_limits.items()}.get(key.kind, 10**9)
            return (
                key.pool in request.pools
                and (request.kinds is None or key.kind in request.kinds)
                and not scopes & self.flags
                and (not key.agent or agents[key.agent] < limit)
                and kinds[key.kind] < kind_limit
                and candidate.session not in sessions
                and has_room(row)
            )

        return min(filter(may_run, self.rows), key=lambda row: row.candidate, default=None)

    def limits_of(self, row: Row) -> tuple[tuple[str, QueueLimit], ...]:
        key = row.key
        return self.strands.covering(kind=key.kind, agent=key.agent, strand=key.strand)

    def begun_within(self, scope: str, span_s: float) -> int:
        """Beginnings in the span that ends now."""
        return sum(at > self.now - span_s * SECOND for at in self.begun.get(scope, ()))


def random_request(chance: random.Random) -> ClaimRequest:
    return ClaimRequest(
        node=1,
        pools=chance.choice([("p",), POOLS, POOLS]),
        kinds=chance.choice([None, None, (TaskKind.RUN,)]),
        agent_limits=chance.choice([{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"c": 1}]),
        agent_limit_default=chance.choice([2, 2, 3]),
        kind_limits=chance.choice([{}, {TaskKind.TURN: 2}]),
    )


def step(table: Table, chance: random.Random) -> None:
    """One random thing that happens to a queue."""
    what = chance.random()
    if chance.random() < 0.3:
        table.now += chance.randint(0, 3 * SECOND)
    if what < 0.45:
        urgency = chance.randint(-2, 2)
        strand = table.strands.strand(project=chance.choice(PROJECTS), priority=-urgency)
        key = QueueKey(chance.choice(POOLS), chance.choice(AGENTS), chance.choice(KINDS).value, strand)
        table.add(key, urgency, chance.choice(SESSIONS))
    elif what < 0.75:
        request = random_request(chance)
        expected = table.expected(request)
        assert table.take(request) == expected
    elif what < 0.9 and table.running:
        row = table.running.pop(chance.randrange(len(table.running)))
        table.queues.ended(row.key, row.candidate.session)
        if chance.random() < 0.3:  # it comes back
            table.put(row)
    elif what < 0.94 and table.rows:  # cancelled, or blocked and released
        row = table.rows.pop(chance.randrange(len(table.rows)))
        if chance.random() < 0.5:
            table.put(row)
    elif what < 0.97:
        table.flags ^= {chance.choice(["pool:q", "agent:a", "session:s1", f"task:{chance.randint(1, 30)}"])}
        table.queues = table.fresh()
    else:
        table.queues = table.fresh()


@pytest.mark.slow
@given(st.integers(min_value=0, max_value=2**32))
def test_queues_choose_what_a_plain_walk_would(seed: int) -> None:
    chance = random.Random(seed)
    table = Table(tuple(each for each in LIMITS if chance.random() < 0.3))
    for _ in range(60):
        step(table, chance)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_queues_choose_what_a_plain_walk_would_in_long_histories(seed: int) -> None:
    chance, table = random.Random(seed), Table(LIMITS if seed % 2 else ())
    for _ in range(2_000):
        step(table, chance)


@pytest.mark.slow
@given(st.integers(min_value=0, max_value=2**32))
def test_never_more_run_or_begin_than_limits_say_and_whatever_they_keep_hides_nothing(seed: int) -> None:
    """Over whole histories: any span of a rate, wherever it begins; and at the end everybody is served."""
    chance, table = random.Random(seed), Table(LIMITS)
    request = ClaimRequest(node=1, pools=POOLS, agent_limit_default=100)
    for _ in range(80):
        step(table, chance)
        running = Counter(scope for row in table.running for scope in dict(table.limits_of(row)))
        for row in table.running:
            for scope, limit in table.limits_of(row):
                assert limit.concurrency is None or running[scope] <= limit.concurrency
    for scope, begun in table.begun.items():
        for limit in (each for each in LIMITS if each.rate is not None):
            assert limit.rate is not None
            if scope.startswith(limit.scope(kind="", project="", agent="").removesuffix("=")):
                span = round(limit.rate.span_s * SECOND)
                assert all(b - a >= span for a, b in zip(begun, begun[limit.rate.starts :], strict=False))
    table.flags.clear()
    table.queues = table.fresh()
    for _ in range(10_000):  # as a worker: whatever may run does, what runs ends, the clock goes to the next opening
        if table.take(request) is not None:
            continue
        if table.running:
            row = table.running.pop()
            table.queues.ended(row.key, row.candidate.session)
        elif (opens_at := table.queues.opens_at()) is not None:
            assert opens_at > table.now
            table.now = opens_at
        else:
            break
    assert not table.rows, "something waits, and nothing would ever let it run"


def test_a_full_rate_or_priority_hides_nothing_behind_a_thousand_that_wait() -> None:
    limits = (QueueLimit(project="acme", rate=Rate(starts=1, span_s=60.0)), QueueLimit(priority_least=1, concurrency=1))
    table, request = Table(limits), ClaimRequest(node=1, pools=("p",), agent_limit_default=10**6)
    strands = [table.strands.strand(project=project, priority=p) for project, p in (("acme", 0), ("", 5), ("", 0))]
    assert len(set(strands)) == 3
    for strand, urgency in ((strands[0], 0), (strands[1], -5)):
        for _ in range(1_000):
            table.add(QueueKey("p", "a", "run", strand), urgency, "")
    table.add(QueueKey("p", "a", "run", strands[2]), 0, "")
    taken = [table.take(request) for _ in range(4)]
    assert [row.candidate.id for row in taken if row is not None] == [1_001, 1, 2_001]
    assert table.queues.opens_at() == 60 * SECOND
    table.now = 60 * SECOND
    again = table.take(request)
    assert again is not None
    assert again.candidate.id == 2
    assert table.take(request) is None


def test_a_clock_that_is_set_back_keeps_nothing_waiting_longer_than_its_rate() -> None:
    table = Table((QueueLimit(rate=Rate(starts=1, span_s=60.0)),))
    table.now = 10**9 * SECOND
    for _ in range(3):
        table.add(QueueKey("p", "a", "run"), 0, "")
    request = ClaimRequest(node=1, pools=("p",), agent_limit_default=10)
    assert table.take(request) is not None
    assert table.take(request) is None
    table.now = 5 * SECOND
    assert table.take(request) is None
    assert table.queues.opens_at() == 65 * SECOND
    table.now = 65 * SECOND
    assert table.take(request) is not None


def test_queues_hold_a_page_of_a_long_queue_and_find_all_of_it() -> None:
    table, chance = Table(), random.Random(1)
    key = QueueKey("p", "a", "run")
    for _ in range(3 * ADDED_MAX):
        table.add(key, chance.randint(-1, 1), "")
    held = max(len(queue.rows) for queue in table.queues._queues.values())
    assert held == ADDED_MAX
    request = ClaimRequest(node=1, pools=("p",), agent_limit_default=10**6)
    order = [row.candidate for row in iter(lambda: table.take(request), None)]
    assert order == sorted(order)
    assert len(order) == 3 * ADDED_MAX
    assert not table.queues._queues, "an empty queue is forgotten"


def test_a_crowd_at_its_limit_is_looked_at_once() -> None:
    table = Table()
    for number in range(500):
        table.add(QueueKey("p", f"agent{number}", "run"), -1, "")
        table.add(QueueKey("p", f"agent{number}", "run"), -1, "")
    request = ClaimRequest(node=1, pools=("p",), agent_limit_default=1)
    for _ in range(500):
        assert table.take(request) is not None
    assert table.take(request) is None
    assert not table.queues._order["p"], "every queue is set aside"
    row = table.running.pop(7)
    table.queues.ended(row.key, "")
    assert len(table.queues._order["p"]) == 1
    assert table.take(request) is not None


def test_a_limit_of_each_is_about_what_has_a_name() -> None:
    each = QueueLimit(agent="*", concurrency=1), QueueLimit(project="*", concurrency=1)
    assert [limit.covers(kind="run", project="", agent="", priority=0) for limit in each] == [False, False]
    assert [limit.covers(kind="run", project="acme", agent="clerk", priority=0) for limit in each] == [True, True]
