"""The audit: what people did is in the chain in the commit that did it, and a row that was changed is found."""

from __future__ import annotations

from ostinato.domain.audit import cut_off, first_break, kept_place
from ostinato.domain.errors import Conflict
from ostinato.domain.task import Review, TaskEvent, TaskResult
from ostinato.store.port import Tx
from ostinato.testing.contract.scene import Scene, case, refuses


@case
async def what_people_do_is_chained_and_what_the_runtime_does_is_not(scene: Scene) -> None:
    task = await scene.add()
    assert await scene.look_up("audit") == []
    await scene.change("set_flag", "fleet", "paused", actor="ann", reason="lunch", now=scene.now)
    await scene.change("clear_flag", "fleet", "paused", actor="ann", now=scene.now)
    await scene.move(task, TaskEvent.CANCEL, reason="not needed")
    rows = await scene.look_up("audit")
    assert [each.seq for each in rows] == [1, 2, 3]
    assert {each.incarnation for each in rows} == {scene.node}
    assert first_break(rows) == ""
    assert '"reason":"not needed"' in rows[-1].body
    assert await scene.look_up("audit_latest", limit=2) == [rows[2], rows[1]]
    assert await scene.look_up("audit", after=(scene.node, 2)) == rows[2:]


@case
async def whatever_a_person_accepts_or_lets_go_on_is_in_the_chain(scene: Scene) -> None:
    await scene.do(lambda tx: tx.see_pin("skills.triage", digest="one", text="", now=scene.now))
    await scene.do(lambda tx: tx.see_pin("skills.triage", digest="two", text="", now=scene.now))
    await scene.do(lambda tx: tx.accept_pin("skills.triage", digest="two", actor="ann", now=scene.now))
    task = await scene.add(blocked="nobody can do it")
    await scene.move(task, TaskEvent.RELEASE)
    held = await scene.claim_one()
    await scene.finish(held, Review(result=TaskResult(text="look")))
    await scene.move(held, TaskEvent.ACCEPT)
    rows = await scene.look_up("audit")
    names = [name for row in rows for name in ("pin.accepted", "task.released", "task.done") if f'"{name}"' in row.body]
    assert names == ["pin.accepted", "task.released", "task.done"]


@case
async def what_is_undone_leaves_no_row(scene: Scene) -> None:
    def stopped_half_way(tx: Tx) -> None:
        tx.set_flag("fleet", "paused", actor="ann", reason="", now=scene.now)
        raise Conflict("not now")

    with refuses(Conflict, "not now"):
        await scene.do(stopped_half_way)
    assert await scene.look_up("audit") == []


@case
async def each_incarnation_has_a_chain_of_its_own_and_looking_goes_on_where_it_ended(scene: Scene) -> None:
    for number in range(3):
        await scene.change("set_flag", "fleet", "paused", actor="ann", reason=str(number), now=scene.now)
    assert await scene.change("check_audit", now=scene.now, limit=2) == (2, "")
    await scene.begin()
    await scene.change("set_flag", "fleet", "halted", actor="bob", reason="", now=scene.now)
    assert await scene.change("check_audit", now=scene.now, limit=100) == (2, "")
    assert await scene.change("check_audit", now=scene.now) == (0, "")
    rows = await scene.look_up("audit")
    assert [each.seq for each in rows] == [1, 2, 3, 1]
    assert rows[-1].incarnation > rows[0].incarnation


@case
async def no_chain_can_lose_its_end_or_be_lost_whole(scene: Scene) -> None:
    for number in range(3):
        await scene.begin()
        for reason in ("one", "two"):
            await scene.change("set_flag", "fleet", "paused", actor="ann", reason=f"{number} {reason}", now=scene.now)
    rows = await scene.look_up("audit")
    assert [each.seq for each in rows] == [1, 2, 1, 2, 1, 2]
    assert first_break(rows) == ""
    for gone in ({1}, {0, 1}, {3}, {2, 3}):
        assert "is not bound to the row before it" in first_break([e for i, e in enumerate(rows) if i not in gone])
    end = kept_place(await scene.look_up("setting", "audit.end"))
    assert cut_off(rows[-1], end) == ""
    assert "the last that was written, is gone" in cut_off(rows[-2], end)
    assert "the last that was written, is gone" in cut_off(None, end)
