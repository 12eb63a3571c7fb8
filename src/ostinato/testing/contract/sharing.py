"""Many callers at once: one commit for all, and what one does wrong harms no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from ostinato.domain.errors import Conflict
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.question import NewQuestion, QuestionKind
from ostinato.domain.task import Fail, NewTask, TaskEvent, TaskKind, TaskState
from ostinato.store.port import ClaimRequest, EventFilter, TaskFilter, Tx
from ostinato.testing.contract.scene import Scene, case, claim_of, done

MANY_EVENTS = 70
"""More than a store gathers before it begins to write."""


@case
async def an_exception_undoes_its_own_function_only(scene: Scene) -> None:
    def add(number: int, tx: Tx) -> int:
        task = tx.add_task(NewTask(kind=TaskKind.RUN, title=str(number), agent="a"), now=scene.now)
        if number % 3 == 0:
            raise ZeroDivisionError(number)
        return task.id

    results = await asyncio.gather(
        *(scene.do(partial(add, number)) for number in range(60)),
        return_exceptions=True,
    )
    good = [result for result in results if isinstance(result, int)]
    bad = [result for result in results if isinstance(result, ZeroDivisionError)]
    assert (len(good), len(bad)) == (40, 20)
    assert [error.args[0] for error in bad] == list(range(0, 60, 3))
    assert len(set(good)) == 40
    tasks = await scene.see(lambda reads: reads.tasks(TaskFilter()))
    assert {task.id for task in tasks} == set(good)
    assert {task.title for task in tasks} == {str(n) for n in range(60) if n % 3}
    assert len(await scene.told(EventName.TASK_ADDED)) == 40
    assert len(await scene.claim(most=99)) == 40


@case
async def an_undone_function_leaves_no_claim_behind(scene: Scene) -> None:
    task = await scene.add(agent="a")

    def claims_and_fails(tx: Tx) -> None:
        from_claim = tx.claim(_request(scene), now=scene.now)
        assert len(from_claim) == 1
        raise ZeroDivisionError

    for _ in range(3):
        both = await asyncio.gather(scene.do(claims_and_fails), scene.do(claims_and_fails), return_exceptions=True)
        assert [type(each) for each in both] == [ZeroDivisionError] * 2
    claimed = await scene.claim_one(agent_limit_default=1)
    assert (claimed.id, claimed.token) == (task.id, 1)


@case
async def a_part_that_fails_is_undone_alone(scene: Scene) -> None:
    """Also beside functions that fail as a whole, and one part behind the other."""
    assert await scene.claim() == [], "what can be claimed is known by now"
    before = await scene.see(lambda reads: reads.latest_event())

    def add(tx: Tx, title: str, *, fails: bool = False) -> None:
        tx.add_task(NewTask(kind=TaskKind.RUN, title=title, agent="a"), now=scene.now)
        tx.set_setting(f"seen.{title}", "yes")
        if fails:
            raise ZeroDivisionError(title)

    def act(number: int, tx: Tx) -> None:
        if number % 2:
            add(tx, f"{number} before")
        for part in range(3):
            with contextlib.suppress(ZeroDivisionError):
                tx.whole(partial(add, tx, f"{number} part {part}", fails=part != number % 3))
        tx.whole(lambda: tx.setting("nothing is written"))
        add(tx, f"{number} behind", fails=number % 5 == 0)

    await asyncio.gather(*(scene.do(partial(act, number)) for number in range(20)), return_exceptions=True)
    kept = [number for number in range(20) if number % 5]
    titles = (
        {f"{n} before" for n in kept if n % 2} | {f"{n} part {n % 3}" for n in kept} | {f"{n} behind" for n in kept}
    )
    tasks = await scene.see(lambda reads: reads.tasks(TaskFilter()))
    assert {task.title for task in tasks} == titles
    assert all([await scene.look_up("setting", f"seen.{title}") == "yes" for title in titles])
    assert await scene.look_up("setting", "seen.1 part 0") is None
    events = await scene.see(lambda reads: reads.events(EventFilter(), after=before))
    assert [event.task for event in events] == sorted(task.id for task in tasks)
    assert (await scene.see(lambda reads: reads.tallies())).agents == {"a": {"ready": len(titles)}}
    assert len(await scene.claim(most=99)) == len(titles)
    await scene.do(partial(_drops, partial(add, title="gone", fails=True)))
    assert await scene.claim() == [], "nothing of it is remembered"
    await scene.do(partial(_drops, partial(_notes, tasks[0].id)))
    assert await scene.look_up("steps", tasks[0].id) == []


def _notes(task: int, tx: Tx) -> None:
    tx.note_task(task, "gone", by="ann", now=1)
    raise ZeroDivisionError


def _drops(part: Callable[[Tx], None], tx: Tx) -> None:
    with contextlib.suppress(ZeroDivisionError):
        tx.whole(partial(part, tx))


@case
async def a_function_may_fail_because_its_part_did(scene: Scene) -> None:
    def fails(tx: Tx) -> None:
        tx.whole(lambda: tx.set_setting("x", str(1 // len(""))))

    def fails_late(tx: Tx) -> None:
        tx.whole(lambda: tx.set_setting("x", "1"))
        fails(tx)

    results = await asyncio.gather(*map(scene.do, (fails, fails_late, fails_late)), return_exceptions=True)
    assert [type(each) for each in results] == [ZeroDivisionError] * 3
    assert await scene.look_up("setting", "x") is None
    await scene.do(lambda tx: tx.whole(lambda: tx.set_setting("x", "2")))
    assert await scene.look_up("setting", "x") == "2"


@case
async def results_come_back_to_their_own_callers(scene: Scene) -> None:
    tasks = await asyncio.gather(*(scene.add(str(number)) for number in range(200)))
    assert [task.title for task in tasks] == [str(number) for number in range(200)]
    assert len({task.id for task in tasks}) == 200


@case
async def functions_see_what_earlier_ones_did(scene: Scene) -> None:
    task = await scene.add()

    def note(tx: Tx) -> int:
        tx.note_task(task.id, "x", by="ann", now=scene.now)
        return tx.task(task.id).steps

    assert await asyncio.gather(*(scene.do(note) for _ in range(50))) == list(range(1, 51))


@case
async def a_transaction_sees_its_own_tallies(scene: Scene) -> None:
    def both(tx: Tx) -> tuple[int, int]:
        before = tx.tallies().tasks.get("ready", 0)
        tx.add_task(NewTask(kind=TaskKind.GOAL, title="x", agent="a"), now=scene.now)
        assert tx.agent_tally("a")["ready"] == tx.tallies().agents["a"]["ready"]
        return before, tx.tallies().goals["ready"]

    results = await asyncio.gather(*(scene.do(both) for _ in range(20)))
    assert results == [(number, number + 1) for number in range(20)]


@case
async def no_task_is_claimed_twice_by_many_at_once(scene: Scene) -> None:
    for _ in range(100):
        await scene.add()
    claimed = await asyncio.gather(*(scene.claim(most=3) for _ in range(50)))
    ids = [task.id for group in claimed for task in group]
    assert len(ids) == len(set(ids)) == 100


@case
async def one_of_many_finishers_wins(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()

    async def finish(number: int) -> bool:
        try:
            await scene.do(lambda tx: tx.finish(claim_of(task), done(str(number)), now=scene.now))
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*(finish(number) for number in range(20)))) == 1
    assert len(await scene.told(EventName.TASK_DONE)) == 1


@case
async def listeners_hear_every_event_once_in_order_after_it_is_kept(scene: Scene) -> None:
    heard: list[Event] = []

    def listen(events: Sequence[Event]) -> None:
        heard.extend(events)

    start = await scene.see(lambda reads: reads.latest_event())
    stop = scene.store.subscribe(listen)
    await asyncio.gather(*(scene.add(str(number)) for number in range(100)))
    kept = await scene.see(lambda reads: reads.events(EventFilter(), after=start))
    assert heard == kept
    stop()
    await scene.add()
    assert len(heard) == 100


@case
async def what_is_undone_is_not_heard(scene: Scene) -> None:
    heard: list[Event] = []
    scene.store.subscribe(heard.extend)

    def fails(tx: Tx) -> None:
        tx.add_task(NewTask(kind=TaskKind.RUN, title="x"), now=scene.now)
        raise ZeroDivisionError

    results = await asyncio.gather(scene.do(fails), scene.add("stays"), scene.do(fails), return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, Exception)] == [ZeroDivisionError] * 2
    (event,) = heard
    assert (await scene.look(event.task or 0)).title == "stays"


@case
async def what_is_done_again_beside_one_that_fails_is_counted_and_told_once(scene: Scene) -> None:
    heard: list[Event] = []
    scene.store.subscribe(heard.extend)
    await scene.add(agent="a")
    task = await scene.claim_one()
    question = NewQuestion(kind=QuestionKind.ASK, text="well?", agent="a", task=task.id, session="", stored=True)
    before = len(heard)

    def much(tx: Tx) -> None:
        tx.ask(question, now=scene.now)
        for number in range(MANY_EVENTS):
            tx.announce(NewEvent(name=EventName.RULE_MISSED, reason=str(number)), now=scene.now)
        tx.finish(claim_of(task), Fail(error="no"), now=scene.now)

    def fails(tx: Tx) -> None:
        tx.add_task(NewTask(kind=TaskKind.RUN, title="x"), now=scene.now)
        raise ZeroDivisionError

    results = await asyncio.gather(scene.add(), scene.do(much), scene.do(fails), return_exceptions=True)
    assert [type(each) for each in results[1:]] == [type(None), ZeroDivisionError], results
    told = [event.reason for event in heard[before:] if event.name is EventName.RULE_MISSED]
    assert told == [str(number) for number in range(MANY_EVENTS)]
    tallies = await scene.see(lambda reads: reads.tallies())
    assert (tallies.dead, tallies.questions) == (1, 1)
    assert [event.id for event in heard] == sorted({event.id for event in heard})


@case
async def a_caller_that_gives_up_harms_nobody(scene: Scene) -> None:
    tasks = [asyncio.ensure_future(scene.add(str(number))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(not isinstance(result, BaseException) for result in results[1::2])
    assert len(await scene.see(lambda reads: reads.tasks(TaskFilter()))) >= 10


@case
async def a_snapshot_is_not_disturbed_by_writers(scene: Scene) -> None:
    task = await scene.add()
    before = await scene.look(task)
    await asyncio.gather(
        *(scene.see(lambda reads: [reads.task(task.id) for _ in range(50)]) for _ in range(4)),
        scene.move(task, TaskEvent.CANCEL),
    )
    assert before.state is TaskState.READY
    assert (await scene.look(task)).state is TaskState.CANCELLED


@case
async def a_function_may_change_much_at_once(scene: Scene) -> None:
    def many(tx: Tx) -> int:
        for number in range(2_000):
            tx.add_task(NewTask(kind=TaskKind.RUN, title=str(number)), now=scene.now)
        claimed = tx.claim(_request(scene, most=2_000), now=scene.now)
        for task in claimed:
            tx.finish(claim_of(task), done(), now=scene.now)
        return len(claimed)

    assert await scene.do(many) == 2_000
    assert (await scene.see(lambda reads: reads.tallies())).tasks == {"done": 2_000}


def _request(scene: Scene, most: int = 1) -> ClaimRequest:
    return ClaimRequest(node=scene.node, most=most, agent_limit_default=10_000)
