"""Sessions and their inboxes: one turn at a time, nothing left behind, nothing twice."""

from __future__ import annotations

import asyncio
import random

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.message import SessionKind
from ostinato.domain.task import (
    Cancelled,
    Fail,
    Park,
    Requeue,
    Retry,
    Task,
    TaskEvent,
    TaskKind,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import Origin, Source, Trust
from ostinato.testing.contract.scene import Scene, case, refuses

EVENT = Park(wait=Wait(kind=WaitKind.EVENT), reason="for a message")


@case
async def a_session_opens_once_and_belongs_to_one_agent(scene: Scene) -> None:
    opened = await scene.do(lambda tx: tx.open_session("main:a", agent="a", now=scene.now))
    assert (opened.kind, opened.own, opened.cursor) == (SessionKind.MAIN, False, 0)
    scene.wait(5.0)
    assert await scene.do(lambda tx: tx.open_session("main:a", agent="a", now=scene.now)) == opened
    assert await scene.see(lambda reads: reads.session("main:a")) == opened
    with refuses(Conflict, "main:a", "'a'", "'b'"):
        await scene.do(lambda tx: tx.open_session("main:a", agent="b", now=scene.now))
    assert await scene.see(lambda reads: reads.session("main:b")) is None


@case
async def the_kind_of_a_session_is_in_its_key(scene: Scene) -> None:
    for key, kind, own in (
        ("task:12", SessionKind.TASK, True),
        ("child:3", SessionKind.CHILD, True),
        ("isolated:x", SessionKind.ISOLATED, True),
        ("room:lobby:a", SessionKind.ROOM, False),
        ("mail:c@example.org", SessionKind.CHANNEL, False),
    ):
        session = await scene.change("open_session", key, agent="a", now=scene.now)
        assert (session.kind, session.own) == (kind, own)


@case
async def a_message_is_kept_as_it_was_sent(scene: Scene) -> None:
    sent = await scene.say(
        "mail:c",
        "Grüße\n\nzweite Zeile",
        source=Source.CHANNEL,
        sender="c@example.org",
        requester="c@example.org",
        trust=Trust.EXTERNAL,
        origin=Origin(channel="mail", peer="c@example.org", thread="t"),
        depth=2,
        causes=("M0",),
        model="cheap",
    )
    assert await scene.see(lambda reads: reads.inbox("mail:c")) == [sent]
    assert await scene.see(lambda reads: reads.messages_by_id([sent.id, 99])) == {sent.id: sent}
    (event,) = await scene.told(EventName.MESSAGE_APPENDED)
    assert (event.session, event.agent, event.actor) == ("mail:c", "triage", "c@example.org")
    (turn,) = await scene.unfinished("mail:c")
    assert (turn.kind, turn.state, turn.title, turn.agent) == (TaskKind.TURN, TaskState.READY, "Grüße", "triage")
    assert (turn.spec.trigger, turn.spec.trust, turn.spec.origin) == (Source.CHANNEL, Trust.EXTERNAL, sent.origin)
    assert (turn.spec.requester, turn.spec.model, turn.depth) == ("c@example.org", "cheap", 2)
    assert turn.spec.causes == ("M0", f"M{sent.id}")


@case
async def a_client_id_counts_once_in_its_session(scene: Scene) -> None:
    first = await scene.say("main:a", "one", client_id="x")
    again = await scene.say("main:a", "one", client_id="x")
    other = await scene.say("main:b", "one", client_id="x")
    assert again == first
    assert other.id != first.id
    assert len(await scene.see(lambda reads: reads.messages("main:a"))) == 1


@case
async def a_message_can_be_left_without_waking_anybody(scene: Scene) -> None:
    await scene.say("main:a", wake=False)
    assert await scene.unfinished("main:a") == []
    await scene.say("main:a")
    assert len(await scene.unfinished("main:a")) == 1


@case
async def there_is_one_unfinished_turn_for_each_session(scene: Scene) -> None:
    await asyncio.gather(*(scene.say(f"main:{number % 3}", f"text {number}") for number in range(60)))
    for number in range(3):
        assert len(await scene.unfinished(f"main:{number}")) == 1
        assert len(await scene.look_up("inbox", f"main:{number}", limit=99)) == 20


@case
async def messages_that_come_during_a_turn_get_the_next_one(scene: Scene) -> None:
    await scene.say("main:a", "one")
    turn = await scene.claim_one()
    await scene.read_all("main:a")
    late = await scene.say("main:a", "two")
    assert await scene.unfinished("main:a") == [turn]
    await scene.finish(turn)
    (again,) = await scene.unfinished("main:a")
    assert (again.id != turn.id, again.title, again.spec.causes) == (True, "two", (f"M{late.id}",))
    claimed = await scene.claim_one()
    await scene.read_all("main:a")
    await scene.finish(claimed)
    assert await scene.unfinished("main:a") == []


@case
async def messages_that_one_turn_did_not_reach_get_another(scene: Scene) -> None:
    first = await scene.say("main:a", "one")
    await scene.say("main:a", "two")
    turn = await scene.claim_one()
    await scene.do(lambda tx: tx.advance_cursor("main:a", first.id, now=scene.now))
    await scene.finish(turn)
    (again,) = await scene.unfinished("main:a")
    assert again.title == "two"


@case
async def a_turn_that_retries_is_still_the_sessions_turn(scene: Scene) -> None:
    await scene.say("main:a", "one")
    for outcome in (Retry(error="x", after_s=0.0), Requeue(reason="drained")):
        turn = await scene.claim_one()
        await scene.finish(turn, outcome, chance=0.0)
        assert [task.id for task in await scene.unfinished("main:a")] == [turn.id]


@case
async def a_failed_turn_is_not_made_again_by_what_made_it_fail(scene: Scene) -> None:
    await scene.say("main:a", "poisonous")
    await scene.finish(await scene.claim_one(), Fail(error="cannot read it"))
    assert await scene.unfinished("main:a") == []
    await scene.say("main:a", "harmless")
    turn = await scene.claim_one()
    assert len(await scene.read_all("main:a")) == 2
    await scene.finish(turn)


@case
async def what_came_after_a_failed_turns_claim_is_still_read(scene: Scene) -> None:
    for ending in (Fail(error="no"), Cancelled(reason="enough")):
        await scene.say("main:a", "before")
        turn = await scene.claim_one()
        await scene.say("main:a", "meanwhile")
        await scene.finish(turn, ending)
        (again,) = await scene.unfinished("main:a")
        assert again.title == "meanwhile"
        claimed = await scene.claim_one()
        await scene.read_all("main:a")
        await scene.finish(claimed)


@case
async def a_second_turn_beside_an_unfinished_one_is_refused_in_words(scene: Scene) -> None:
    await scene.say("main:a", "one")
    failed = await scene.finish(await scene.claim_one(), Fail(error="no"))
    await scene.say("main:a", "two")
    (turn,) = await scene.unfinished("main:a")
    with refuses(Conflict, "main:a", turn.name):
        await scene.move(failed, TaskEvent.REPLAY)
    with refuses(Conflict, "main:a", turn.name):
        await scene.add(kind=TaskKind.TURN, agent="triage", session="main:a")
    await scene.read_all("main:a")
    await scene.finish(await scene.claim_one())
    assert (await scene.move(failed, TaskEvent.REPLAY)).state is TaskState.READY


@case
async def a_turn_is_trusted_as_little_as_the_least_of_its_messages(scene: Scene) -> None:
    await scene.say("main:a", "start")
    turn = await scene.claim_one()
    await scene.read_all("main:a")
    await scene.say("main:a", "from the boss", trust=Trust.OPERATOR)
    await scene.say("main:a", "from outside", trust=Trust.EXTERNAL, depth=3)
    await scene.finish(turn)
    (again,) = await scene.unfinished("main:a")
    assert (again.spec.trust, again.depth) == (Trust.EXTERNAL, 3)


@case
async def a_message_wakes_an_own_sessions_task_that_waits_for_one(scene: Scene) -> None:
    goal = await scene.add(kind=TaskKind.GOAL, agent="a")
    key = goal.session or ""
    parked = await scene.finish(await scene.claim_one(), EVENT)
    assert parked.state is TaskState.WAITING
    await scene.say(key, agent="a")
    assert [(task.id, task.state) for task in await scene.unfinished(key)] == [(goal.id, TaskState.READY)]


@case
async def a_message_leaves_alone_what_waits_for_something_else(scene: Scene) -> None:
    goal = await scene.add(kind=TaskKind.GOAL, agent="a")
    key = goal.session or ""
    await scene.finish(await scene.claim_one(), Park(wait=Wait(kind=WaitKind.QUESTION), reason="Q"))
    await scene.say(key, agent="a")
    assert [(task.id, task.state) for task in await scene.unfinished(key)] == [(goal.id, TaskState.WAITING)]


@case
async def a_message_that_came_before_the_park_ends_the_wait_at_once(scene: Scene) -> None:
    goal = await scene.add(kind=TaskKind.GOAL, agent="a")
    claimed = await scene.claim_one()
    await scene.say(goal.session or "", agent="a")
    assert (await scene.finish(claimed, EVENT)).state is TaskState.READY


@case
async def a_message_to_an_ended_own_session_makes_a_turn_there(scene: Scene) -> None:
    goal = await scene.add(kind=TaskKind.GOAL, agent="a")
    key = goal.session or ""
    await scene.finish(await scene.claim_one())
    await scene.say(key, "one more thing", agent="a")
    (turn,) = await scene.unfinished(key)
    assert (turn.kind, turn.title, turn.session) == (TaskKind.TURN, "one more thing", key)


@case
async def a_shared_sessions_parked_turn_wakes_for_messages_only_if_it_waits_for_them(scene: Scene) -> None:
    await scene.say("main:a")
    await scene.read_all("main:a")
    turn = await scene.finish(await scene.claim_one(), Park(wait=Wait(kind=WaitKind.QUESTION), reason="limit"))
    await scene.say("main:a")
    assert (await scene.look(turn)).state is TaskState.WAITING
    assert [task.id for task in await scene.unfinished("main:a")] == [turn.id]


@case
async def a_cursor_only_moves_forward(scene: Scene) -> None:
    ids = [(await scene.say("main:a", str(number))).id for number in range(4)]
    await scene.do(lambda tx: tx.advance_cursor("main:a", ids[2], now=scene.now))
    await scene.do(lambda tx: tx.advance_cursor("main:a", ids[0], now=scene.now))
    assert [message.id for message in await scene.see(lambda reads: reads.inbox("main:a"))] == [ids[3]]
    with refuses(NotFound, "main:x"):
        await scene.do(lambda tx: tx.advance_cursor("main:x", 1, now=scene.now))


@case
async def no_message_is_lost_or_read_twice_whatever_the_order(scene: Scene) -> None:
    chance = random.Random(11)
    sent: list[int] = []
    read: list[int] = []
    running: Task | None = None
    for number in range(300):
        step = chance.random()
        if step < 0.5:
            sent.append((await scene.say("main:a", str(number))).id)
        elif running is None:
            running = next(iter(await scene.claim()), None)
        elif step < 0.8:
            read += [message.id for message in await scene.read_all("main:a")]
        else:
            await scene.finish(running)
            running = None
        assert len(await scene.unfinished("main:a")) <= 1
    for _ in range(3):
        if running is not None:
            read += [message.id for message in await scene.read_all("main:a")]
            await scene.finish(running)
        running = next(iter(await scene.claim()), None)
    assert read == sent


@case
async def sessions_are_listed_by_key_and_agent(scene: Scene) -> None:
    for key, agent in (("main:a", "a"), ("main:b", "b"), ("room:x", "a")):
        await scene.change("open_session", key, agent=agent, now=scene.now)
    assert [s.key for s in await scene.see(lambda reads: reads.sessions())] == ["main:a", "main:b", "room:x"]
    assert [s.key for s in await scene.see(lambda reads: reads.sessions(agent="a", limit=1))] == ["main:a"]
    assert [s.key for s in await scene.see(lambda reads: reads.sessions(agent="a", after="main:a"))] == ["room:x"]


@case
async def a_paused_session_says_so(scene: Scene) -> None:
    await scene.do(lambda tx: tx.open_session("main:a", agent="a", now=scene.now))
    await scene.do(lambda tx: tx.set_flag("session:main:a", "paused", actor="ann", reason="", now=scene.now))
    session = await scene.see(lambda reads: reads.session("main:a"))
    assert session is not None
    assert session.paused
