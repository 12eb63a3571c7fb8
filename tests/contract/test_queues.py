"""Queues choose what a plain walk over all rows would choose, whatever is in memory and whatever stands in the way."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.task import TaskKind
from ostinato.store.port import ClaimRequest
from ostinato.store.verbs.queues import PAGE_MAX, Candidate, QueueKey, Queues

KINDS = (TaskKind.RUN, TaskKind.TURN)
POOLS = ("p", "q")
AGENTS = ("", "a", "b", "c")
SESSIONS = ("", "", "s1", "s2")


class Row(NamedTuple):
    key: QueueKey
    candidate: Candidate


class Table:
    """Rows as a database keeps them, and the plain walk."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.running: list[Row] = []
        self.flags: set[str] = set()
        self.numbers = 0
        self.queues = self.fresh()

    def fresh(self) -> Queues:
        """Queues that know nothing but what is in the table."""
        heads: dict[QueueKey, Candidate] = {}
        for key, candidate in self.rows:
            heads[key] = min(candidate, heads.get(key, candidate))
        queues = Queues(heads=heads.items(), page=self.page)
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
        while (found := self.queues.take(request, self.flags.__contains__)) is not None:
            row = Row(*found)
            if row in self.rows:
                self.rows.remove(row)
                self.running.append(row)
                self.queues.started(row.key, row.candidate.session)
                return row
        return None

    def expected(self, request: ClaimRequest) -> Row | None:
        agents = Counter(row.key.agent for row in self.running)
        kinds = Counter(row.key.kind for row in self.running)
        sessions = {row.candidate.session for row in self.running} - {""}

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
            )

        return min(filter(may_run, self.rows), key=lambda row: row.candidate, default=None)


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
    if what < 0.45:
        key = QueueKey(chance.choice(POOLS), chance.choice(AGENTS), chance.choice(KINDS).value)
        table.add(key, chance.randint(-2, 2), chance.choice(SESSIONS))
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
    chance, table = random.Random(seed), Table()
    for _ in range(60):
        step(table, chance)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_queues_choose_what_a_plain_walk_would_in_long_histories(seed: int) -> None:
    chance, table = random.Random(seed), Table()
    for _ in range(3_000):
        step(table, chance)


def test_queues_hold_a_page_of_a_long_queue_and_find_all_of_it() -> None:
    table, chance = Table(), random.Random(1)
    key = QueueKey("p", "a", "run")
    for _ in range(10 * PAGE_MAX):
        table.add(key, chance.randint(-1, 1), "")
    held = max(len(queue.rows) for queue in table.queues._queues.values())
    assert held == PAGE_MAX
    request = ClaimRequest(node=1, pools=("p",), agent_limit_default=10**6)
    order = [row.candidate for row in iter(lambda: table.take(request), None)]
    assert order == sorted(order)
    assert len(order) == 10 * PAGE_MAX
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
