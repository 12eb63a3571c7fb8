"""Retention: what is over goes in bounded portions, what is needed stays."""

from __future__ import annotations

from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName
from ostinato.domain.message import OPERATOR, OPERATOR_SESSION
from ostinato.domain.step import Input
from ostinato.domain.task import Fail, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import SECOND, Attachment
from ostinato.store.port import EventFilter, Retention, ScheduleRow, TaskFilter
from ostinato.testing.contract.scene import Scene, case, claim_of, refuses

DAY_S = 86_400.0
KEEP = Retention(tasks_s=DAY_S, events_s=DAY_S, blobs_s=DAY_S, skips_s=DAY_S, charges_s=DAY_S)


async def _prune(scene: Scene, keep: Retention = KEEP, limit: int = 500) -> int:
    return await scene.do(lambda tx: tx.prune(keep, now=scene.now, limit=limit))


async def _titles(scene: Scene) -> set[str]:
    return {task.title for task in await scene.see(lambda reads: reads.tasks(TaskFilter()))}


@case
async def ended_tasks_go_after_their_time_with_all_they_own(scene: Scene) -> None:
    await scene.add("old", kind=TaskKind.GOAL, agent="a", spec=TaskSpec(goal="x" * 9_000))
    old = await scene.claim_one()
    await scene.do(lambda tx: tx.open_session(old.session or "", agent="a", now=scene.now))
    await scene.do(lambda tx: tx.record_steps(claim_of(old), [Input()], now=scene.now))
    await scene.change("set_flag", f"task:{old.id}", "halted", actor="ann", reason="enough", now=scene.now)
    question = await scene.ask(old)
    await scene.ask(old)
    await scene.finish(old)
    await scene.add("young")
    assert await _prune(scene) == 0
    scene.wait(DAY_S + 1)
    assert await _prune(scene) > 0
    with refuses(NotFound):
        await scene.look(old)
    with refuses(NotFound):
        await scene.see(lambda reads: reads.question(question.id))
    assert await scene.see(lambda reads: reads.attempts(old.id)) == []
    assert await scene.see(lambda reads: reads.flags()) == []
    assert await scene.see(lambda reads: reads.session(old.session or "")) is None
    assert await _titles(scene) == {"young"}
    assert await _prune(scene) == 0
    await _recount(scene)


async def _recount(scene: Scene) -> None:
    """Tallies are of all tasks that ever were in a state and still are there."""
    tallies = await scene.see(lambda reads: reads.tallies())
    tasks = await scene.see(lambda reads: reads.tasks(TaskFilter()))
    assert sum(tallies.tasks.values()) == len(tasks)


@case
async def unfinished_tasks_and_dead_letters_stay(scene: Scene) -> None:
    await scene.add("waits", blocked="for someone")
    await scene.add("dead")
    dead = await scene.finish(await scene.claim_one(), Fail(error="x"))
    await scene.add("last")
    scene.wait(100 * DAY_S)
    await _prune(scene)
    assert await _titles(scene) == {"waits", "dead", "last"}
    await scene.move(dead, TaskEvent.DISMISS)
    scene.wait(2 * DAY_S)
    await _prune(scene)
    assert await _titles(scene) == {"waits", "last"}


@case
async def what_something_unfinished_refers_to_stays(scene: Scene) -> None:
    first = await scene.add("dependency")
    ended = await scene.finish(await scene.claim_one())
    parent = await scene.add("parent")
    await scene.finish(await scene.claim_one())
    await scene.add("child", parent=parent.id, blocked="later")
    await scene.add("dependant", after=(first.id,), blocked="later")
    assert ended.state is TaskState.DONE
    scene.wait(2 * DAY_S)
    await _prune(scene)
    assert {"dependency", "parent", "child", "dependant"} <= await _titles(scene)


@case
async def pruning_is_bounded_and_comes_to_an_end(scene: Scene) -> None:
    for number in range(30):
        await scene.add(str(number))
        await scene.finish(await scene.claim_one())
    await scene.add("newest")
    scene.wait(2 * DAY_S)
    portions: list[int] = []
    while portion := await _prune(scene, limit=7):
        portions.append(portion)
        assert len(portions) < 100
    assert max(portions) <= 7
    assert await _titles(scene) == {"newest"}
    assert len(await scene.see(lambda reads: reads.events(EventFilter()))) == 1


@case
async def a_number_is_never_given_out_twice(scene: Scene) -> None:
    for number in range(3):
        await scene.add(str(number))
        last = await scene.finish(await scene.claim_one())
    message = await scene.say("main:a", wake=False)
    await scene.read_all("main:a")
    scene.wait(2 * DAY_S)
    latest = await scene.see(lambda reads: reads.latest_event())
    while await _prune(scene):
        pass
    assert (await scene.add("new")).id > last.id
    assert (await scene.say("main:a", wake=False)).id > message.id
    assert await scene.see(lambda reads: reads.latest_event()) > latest


@case
async def read_messages_of_shared_sessions_go_and_unread_ones_stay(scene: Scene) -> None:
    first = await scene.say("main:a", "read", wake=False)
    await scene.say("main:a", "unread", wake=False)
    await scene.say(OPERATOR_SESSION, "a word to a person, whose reading moves no cursor", agent=OPERATOR, wake=False)
    await scene.say("main:b", "last", wake=False)
    await scene.do(lambda tx: tx.advance_cursor("main:a", first.id, now=scene.now))
    scene.wait(2 * DAY_S)
    await _prune(scene)
    assert await scene.see(lambda reads: reads.messages(OPERATOR_SESSION)) == []
    assert [m.text for m in await scene.see(lambda reads: reads.messages("main:a"))] == ["unread"]


@case
async def what_was_written_while_a_clock_was_ahead_keeps_nothing_else_from_going(scene: Scene) -> None:
    async def talk(count: int) -> None:
        for _ in range(count):
            await scene.say("main:a", wake=False)
        await scene.read_all("main:a")

    await talk(2)
    scene.wait(3_650 * DAY_S)
    await talk(3)
    scene.wait(-3_650 * DAY_S)
    await talk(7)
    scene.wait(2 * DAY_S)
    await talk(1)
    while await _prune(scene, limit=2):
        pass
    told = [event.at for event in await scene.see(lambda reads: reads.events(EventFilter()))]
    kept = [message.at for message in await scene.see(lambda reads: reads.messages("main:a"))]
    assert [at for at in told if at < scene.now - DAY_S * SECOND] == []
    assert [at for at in kept if at < scene.now] == []
    assert kept.count(scene.now) == 1
    assert told[-1] == scene.now


@case
async def a_blob_goes_when_nothing_kept_names_it(scene: Scene) -> None:
    async def put(text: str) -> str:
        return await scene.do(lambda tx: tx.put_blob(text.encode(), now=scene.now))

    loose, prompt, attached, sent = [await put(text) for text in ("loose", "prompt", "attached", "sent")]
    await scene.add("ends", spec=TaskSpec(attachments=(Attachment(name="a", digest=attached),)))
    task = await scene.claim_one()
    await scene.do(lambda tx: tx.record_steps(claim_of(task), [Input(files={"SOUL.md": prompt})], now=scene.now))
    await scene.say("main:a", wake=False, attachments=(Attachment(name="b", digest=sent),))
    scene.wait(2 * DAY_S)
    await _prune(scene)
    with refuses(NotFound):
        await scene.see(lambda reads: reads.blob(loose))
    for digest in (prompt, attached, sent):
        assert await scene.look_up("blob", digest)
    await scene.finish(task)
    await scene.add("newest")
    scene.wait(3 * DAY_S)
    await _prune(scene)
    for digest in (prompt, attached):
        with refuses(NotFound):
            await scene.look_up("blob", digest)
    assert await scene.see(lambda reads: reads.blob(sent))


@case
async def a_blob_that_is_stored_again_counts_as_young(scene: Scene) -> None:
    digest = await scene.do(lambda tx: tx.put_blob(b"x", now=scene.now))
    scene.wait(2 * DAY_S)
    await scene.do(lambda tx: tx.put_blob(b"x", now=scene.now))
    await _prune(scene)
    assert await scene.see(lambda reads: reads.blob(digest)) == b"x"


@case
async def skips_go_and_what_is_to_be_kept_for_ever_stays(scene: Scene) -> None:
    await scene.do(lambda tx: tx.put_schedule(ScheduleRow(name="h", agent="a", rule={}), now=scene.now))
    for number in range(3):
        reason = f"reason {number}"
        at = scene.now + number
        await scene.change("skip", "h", heartbeat="h", agent="a", reason=reason, nominal_at=at, next_at=None, now=at)
    scene.wait(2 * DAY_S)
    for_ever = Retention(tasks_s=None, events_s=None, blobs_s=None, skips_s=None, charges_s=None)
    assert await _prune(scene, for_ever) == 0
    await _prune(scene)
    assert len(await scene.see(lambda reads: reads.skips())) == 1
    assert len(await scene.told(EventName.SCHEDULE_ADDED)) == 0
