"""Results that answer equal tasks: the newest, while it counts, of a task that is done; and what was saved."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.task import Done, Fail, Task, TaskResult
from ostinato.store.port import Retention
from ostinato.testing.contract.scene import Scene, case, claim_of, done

HOUR_S = 3_600.0


async def find_out(scene: Scene, key: str, *, ends_well: bool = True) -> Task:
    """A task that asks this, and has ended; its result is kept for an hour."""
    await scene.add()
    task = await scene.claim_one()
    await scene.do(lambda tx: tx.note_question(task.id, key, now=scene.now))
    ended = await scene.finish(task, done("42") if ends_well else Fail(error="no"))
    if ends_well:
        assert await scene.do(lambda tx: tx.keep_result(task.id, for_s=HOUR_S, now=scene.now))
    return ended


async def recalled(scene: Scene, key: str, *, within_s: float = HOUR_S) -> int | None:
    """The task whose result answers this now."""
    found = await scene.see(lambda reads: reads.recall(key, within_s=within_s, now=scene.now))
    return None if found is None else found.id


@case
async def the_newest_result_answers_while_it_counts(scene: Scene) -> None:
    assert await recalled(scene, "key") is None
    first = await find_out(scene, "key")
    scene.wait(10.0)
    second = await find_out(scene, "key")
    assert await recalled(scene, "key") == second.id
    assert await recalled(scene, "another") is None
    scene.wait(20.0)
    assert await recalled(scene, "key", within_s=20.0) is None, "too old for whoever asks"
    assert await recalled(scene, "key", within_s=21.0) == second.id
    scene.wait(HOUR_S - 20.0)
    assert await recalled(scene, "key", within_s=9 * HOUR_S) is None, "too old by its own word"
    keep = Retention(tasks_s=None, events_s=None, blobs_s=None, skips_s=None, charges_s=None)
    assert await scene.do(lambda tx: tx.prune(keep, now=scene.now + 1)) == 2
    assert first.id != second.id


@case
async def what_was_found_out_while_a_clock_was_ahead_answers_nothing_once_it_is_set_back(scene: Scene) -> None:
    scene.wait(9_000 * HOUR_S)
    ahead = await find_out(scene, "key")
    assert await recalled(scene, "key") == ahead.id
    scene.wait(-9_000 * HOUR_S)
    assert await recalled(scene, "key") is None
    now = await find_out(scene, "key")
    scene.wait(-10.0)
    assert await recalled(scene, "key") == now.id, "clocks differ by a little"


@case
async def what_has_not_ended_well_or_was_not_kept_answers_nothing(scene: Scene) -> None:
    await find_out(scene, "key", ends_well=False)
    await scene.add()
    task = await scene.claim_one()
    await scene.do(lambda tx: tx.note_question(task.id, "key", now=scene.now))
    assert await recalled(scene, "key") is None
    await scene.finish(task)
    assert await recalled(scene, "key") is None
    assert not await scene.do(lambda tx: tx.keep_result(9_999, for_s=1.0, now=scene.now))


@case
async def an_answer_is_counted_with_what_it_saved(scene: Scene) -> None:
    first = await find_out(scene, "key")
    await scene.add()
    task = await scene.claim_one()
    result = replace(first.result or TaskResult(), source=first.id)
    ended = await scene.do(lambda tx: tx.finish(claim_of(task), Done(result=result), now=scene.now))
    assert ended.result is not None
    assert (ended.result.text, ended.result.source) == ("42", first.id)
    now = scene.now
    assert await scene.see(lambda reads: reads.hits(since_at=now)) == (1, first.usd_micros)
    assert await scene.see(lambda reads: reads.hits(since_at=now + 1)) == (0, 0)
    assert await scene.see(lambda reads: reads.hits(since_at=0, until_at=now)) == (0, 0)


@case
async def a_result_goes_with_its_task(scene: Scene) -> None:
    await find_out(scene, "key")
    await scene.add()  # the newest task always stays
    scene.wait(100.0)
    assert await scene.do(lambda tx: tx.prune(Retention(tasks_s=50.0), now=scene.now)) > 0
    assert await recalled(scene, "key") is None
