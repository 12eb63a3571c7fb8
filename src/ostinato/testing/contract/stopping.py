"""Flags, settings, blobs and announcements."""

from __future__ import annotations

from ostinato.domain.errors import Invalid, NotFound
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.values import digest_of
from ostinato.testing.contract.scene import Scene, case, refuses


@case
async def a_flag_is_kept_with_who_when_and_why(scene: Scene) -> None:
    await scene.do(lambda tx: tx.set_flag("agent:a", "paused", actor="ann", reason="looks odd", now=scene.now))
    (flag,) = await scene.see(lambda reads: reads.flags())
    assert (flag.scope, flag.name, flag.actor, flag.reason, flag.at) == (
        "agent:a",
        "paused",
        "ann",
        "looks odd",
        scene.now,
    )
    (event,) = await scene.told(EventName.FLAG_SET)
    assert (event.agent, event.actor, event.reason) == ("a", "ann", "looks odd")
    assert await scene.do(lambda tx: tx.clear_flag("agent:a", "paused", actor="bob", now=scene.now))
    assert not await scene.do(lambda tx: tx.clear_flag("agent:a", "paused", actor="bob", now=scene.now))
    assert await scene.see(lambda reads: reads.flags()) == []
    assert len(await scene.told(EventName.FLAG_CLEARED)) == 1


@case
async def flags_and_scopes_that_do_not_exist_are_refused(scene: Scene) -> None:
    with refuses(Invalid, "'sleepy'", "halted"):
        await scene.do(lambda tx: tx.set_flag("fleet", "sleepy", actor="ann", reason="", now=scene.now))
    for scope in ("agents:a", "agent:", ""):
        with refuses(Invalid, "scope"):
            await scene.change("set_flag", scope, "paused", actor="ann", reason="", now=scene.now)


@case
async def settings_are_kept_by_name(scene: Scene) -> None:
    assert await scene.see(lambda reads: reads.setting("theme")) is None
    await scene.do(lambda tx: tx.set_setting("theme", "dark"))
    await scene.do(lambda tx: tx.set_setting("theme", "light"))
    assert await scene.see(lambda reads: reads.setting("theme")) == "light"


@case
async def a_blob_is_kept_once_by_its_digest(scene: Scene) -> None:
    data = bytes(range(256)) * 1_000
    digest = await scene.do(lambda tx: tx.put_blob(data, now=scene.now))
    assert digest == digest_of(data) == await scene.do(lambda tx: tx.put_blob(data, now=scene.now))
    assert await scene.see(lambda reads: reads.blob(digest)) == data
    with refuses(NotFound):
        await scene.see(lambda reads: reads.blob("0" * 64))


@case
async def an_announcement_is_an_event_like_any_other(scene: Scene) -> None:
    new = NewEvent(name=EventName.FILE_TAKEN, agent="a", actor="ann", reason="dropped", data={"file": "a.md"})
    await scene.do(lambda tx: tx.announce(new, now=scene.now))
    (event,) = await scene.told(EventName.FILE_TAKEN)
    assert (event.agent, event.actor, event.reason, event.data) == ("a", "ann", "dropped", {"file": "a.md"})
    assert (event.at, event.id) == (scene.now, await scene.see(lambda reads: reads.latest_event()))


@case
async def the_size_is_told_in_bytes_and_rows(scene: Scene) -> None:
    for _ in range(5):
        await scene.add()
    size = await scene.see(lambda reads: reads.size())
    assert size["database"] + size["wal"] > 0
    assert size["rows.tasks"] == 5
    assert size["rows.events"] >= 5
