"""Replays of dead letters: each letter once, whatever kills the node; as fast as asked; and stopped by a word."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Fenced
from ostinato.domain.event import EventName
from ostinato.domain.limit import Rate
from ostinato.domain.replay import Edit, ReplayOrder, Risky, beyond_recall, input_of, spaced_at
from ostinato.domain.step import Effect, Entry, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Fail, NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import SECOND
from ostinato.engine.port import AttemptPort, Settled
from ostinato.engine.replayer import BATCH, ReplayHandler
from ostinato.store.port import Claim, ClaimRequest, EventFilter, Store, Tx
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from tests.conftest import run

T = TypeVar("T")

LETTERS = 2 * BATCH + 5


class DiedError(Exception):
    """The node is gone."""


class Mortal:
    """A store whose node dies before or after one of its commits."""

    def __init__(self, store: Store, *, at: int, after: bool) -> None:
        self._store = store
        self._left = at
        self._after = after

    async def run(self, fn: Callable[[Tx], T]) -> T:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise DiedError
        done = await self._store.run(fn)
        if self._left == 0:
            raise DiedError
        return done


class Yard:
    """Dead letters, a clock, and a node that performs replays."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.node = 0

    async def begin(self) -> None:
        """A node starts; what an older one ran is given back."""
        now = self.clock.now()
        node = await self.store.run(
            lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9e9, exclusive=True, now=now)
        )
        self.node = node.id

    async def bury(self, count: int, *, error: str = "no", entries: tuple[Entry, ...] = ()) -> list[Task]:
        def fail(tx: Tx) -> list[Task]:
            now, found = self.clock.now(), []
            for _ in range(count):
                tx.add_task(NewTask(kind=TaskKind.GOAL, title="t", agent="a"), now=now)
                task = tx.claim(ClaimRequest(node=self.node, agent_limit_default=999), now=now)[0]
                claim = Claim(task=task.id, token=task.token)
                tx.record_steps(claim, entries, now=now)
                found.append(tx.finish(claim, Fail(error=error), now=now))
            return found

        return await self.store.run(fail)

    async def order(self, **more: object) -> Task:
        """A replay of all that has failed so far."""
        order = ReplayOrder(until_at=self.clock.now(), total=LETTERS, actor="ann", **more)  # type: ignore[arg-type]  # a test's
        new = NewTask(kind=TaskKind.REPLAY, title="replay", spec=TaskSpec(input=input_of(order)))
        return await self.store.run(lambda tx: tx.add_task(new, now=self.clock.now()))

    async def perform(self, store: object = None) -> Task:
        """One attempt, to its end."""
        request = ClaimRequest(node=self.node, kinds=(TaskKind.REPLAY,))
        (task,) = await self.store.run(lambda tx: tx.claim(request, now=self.clock.now()))
        settled = await ReplayHandler().perform(Try(task, store or self.store, self.clock))  # type: ignore[arg-type]  # runs as one
        assert isinstance(settled, Settled)
        return settled.task

    async def replays(self) -> list[tuple[int, int]]:
        """Each letter that was replayed, and when, as it was told."""
        which = EventFilter(names=frozenset({EventName.TASK_REPLAYED}))
        events = await self.store.read(lambda reads: reads.events(which, limit=5_000))
        return [(each.task or 0, each.at) for each in events]


class Try(AttemptPort):
    """An attempt at a replay."""

    draining = False
    preempted = False

    def __init__(self, task: Task, store: Store, clock: ManualClock) -> None:
        self.task = task
        self.claim = Claim(task=task.id, token=task.token)
        self.store = store
        self.clock = clock


def in_yard(path: Path, story: Callable[[Yard], object]) -> None:
    async def play() -> None:
        store = open_store(path)
        try:
            yard = Yard(store)
            await yard.begin()
            await story(yard)  # type: ignore[misc]  # a coroutine
        finally:
            await store.close()

    run(play())


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_each_letter_is_replayed_once_whichever_commit_the_node_dies_at(tmp_path: Path, after: bool) -> None:
    async def story(yard: Yard) -> None:
        for at in (1, 2, 3):
            letters = await yard.bury(LETTERS)
            before = len(await yard.replays())
            await yard.order()
            try:
                ended = await yard.perform(Mortal(yard.store, at=at, after=after))
            except DiedError:
                await yard.begin()
                ended = None
            if ended is None and not (after and at == 3):  # the third commit is the last one
                ended = await yard.perform()
            replayed = [task for task, _ in (await yard.replays())[before:]]
            assert replayed == [letter.id for letter in letters], f"dead at commit {at}"
            assert ended is None or ended.state is TaskState.DONE
            for letter in letters:
                await yard.store.run(
                    lambda tx, id_=letter.id: tx.move_task(id_, TaskEvent.CANCEL, actor="ann", now=yard.clock.now())  # type: ignore[misc]  # one letter
                )

    in_yard(tmp_path, story)


def test_a_rate_is_kept_by_parking_and_cancelling_stops_it(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.bury(5)
        replay = await yard.order(rate=Rate(starts=2, span_s=60.0))
        for number in range(1, 4):
            parked = await yard.perform()
            assert parked.state is TaskState.WAITING
            assert parked.reason.startswith(f"replayed {number} of")
            yard.clock.advance(30.0)
            await yard.store.run(lambda tx: tx.rescue(now=yard.clock.now()))
        times = [at for _, at in await yard.replays()]
        assert [b - a for a, b in itertools.pairwise(times)] == [30 * SECOND] * 2
        await yard.store.run(lambda tx: tx.move_task(replay.id, TaskEvent.CANCEL, actor="ann", now=yard.clock.now()))
        assert len(await yard.store.read(lambda reads: reads.dead_letters())) == 2

    in_yard(tmp_path, story)


def test_a_replay_that_was_cancelled_while_it_runs_does_nothing_more(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.bury(LETTERS)
        replay = await yard.order()
        cancelled = 0

        class Cancelling(Mortal):
            async def run(self, fn: Callable[[Tx], T]) -> T:
                nonlocal cancelled
                done = await yard.store.run(fn)
                await yard.store.run(
                    lambda tx: tx.move_task(replay.id, TaskEvent.CANCEL, actor="ann", now=yard.clock.now())
                )
                cancelled += 1
                return done

        with pytest.raises(Fenced):
            await yard.perform(Cancelling(yard.store, at=0, after=False))
        assert cancelled == 1
        assert len(await yard.replays()) == BATCH

    in_yard(tmp_path, story)


def test_a_query_and_a_group_say_which_and_what_cannot_be_undone_is_left(tmp_path: Path) -> None:
    intent = ToolIntent(call_id="c", tool="pay", effect=Effect.IRREVERSIBLE, arguments={}, key="k")

    async def story(yard: Yard) -> None:
        (plain,) = await yard.bury(1)
        (paid,) = await yard.bury(1, entries=(intent,))
        (other,) = await yard.bury(1, error="something else")
        group = (await yard.store.read(lambda reads: reads.dead_groups()))[1]
        assert group.count == 2
        await yard.order(group=group.fingerprint, where="agent:a -title:nothing", edit=Edit(goal="again"))
        ended = await yard.perform()
        assert ended.result is not None
        assert ended.result.data == {"replayed": 1, "left": 1}
        tasks = await yard.store.read(lambda reads: [reads.task(each.id) for each in (plain, paid, other)])
        assert [each.state for each in tasks] == [TaskState.READY, TaskState.FAILED, TaskState.FAILED]
        assert tasks[0].spec.goal == "again"
        await yard.order(where="agent:a", risky=Risky.REPLAY)
        await yard.perform()
        assert await yard.store.read(lambda reads: reads.dead_letters()) == []

    in_yard(tmp_path, story)


OUTCOMES = st.none() | st.sampled_from(list(ResultStatus))


@given(st.lists(st.tuples(st.sampled_from(list(Effect)), OUTCOMES), max_size=6))
def test_what_may_have_happened_for_good_is_never_taken_for_nothing(
    calls: list[tuple[Effect, ResultStatus | None]],
) -> None:
    journal: list[Entry] = []
    for number, (effect, status) in enumerate(calls):
        name = f"c{number}"
        journal.append(ToolIntent(call_id=name, tool="t", effect=effect, arguments={}, key=name))
        if status is not None:
            journal.append(ToolOutcome(call_id=name, tool="t", status=status))
    named = {each.call_id for each in beyond_recall(journal)}
    nothing = {ResultStatus.DENIED, ResultStatus.INVALID, ResultStatus.PENDING}
    for number, (effect, status) in enumerate(calls):
        lasting = effect is Effect.IRREVERSIBLE and status not in nothing
        unknown = effect is Effect.REVERSIBLE and status in (None, ResultStatus.UNKNOWN)
        assert (f"c{number}" in named) is (lasting or unknown)


@given(st.integers(1, 1_000), st.floats(0.001, 1e6))
def test_letters_that_follow_evenly_are_never_more_in_any_span_than_the_rate_says(starts: int, span_s: float) -> None:
    rate = Rate(starts=starts, span_s=span_s)
    apart = spaced_at(rate, now=0)
    assert apart * starts >= round(span_s * SECOND)
