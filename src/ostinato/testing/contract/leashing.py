"""What people allow for good, and which files hold text from strangers."""

from __future__ import annotations

from ostinato.domain.budget import Ceiling
from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.permission import NewPermission
from ostinato.domain.taint import EVERYTHING, TAINTED_MAX, UNDER_WAY
from ostinato.store.money_port import Budgets
from ostinato.testing.contract.scene import Scene, case, refuses

NEW = NewPermission(
    agent="billing",
    tool="message.send",
    gate="irreversible",
    exact={"to": "mail:ann@example.com", "count": 3},
    like={"text": "Reminder *"},
    bound={"sha256": "ab"},
    by="ann",
    question=7,
)


@case
async def a_permission_holds_until_it_is_revoked(scene: Scene) -> None:
    assert await scene.see(lambda reads: reads.permissions()) == []
    kept = await scene.do(lambda tx: tx.add_permission(NEW, now=scene.now))
    assert (kept.name, kept.exact, kept.like, kept.bound) == (f"P{kept.id}", NEW.exact, NEW.like, NEW.bound)
    assert await scene.see(lambda reads: reads.permissions("billing")) == [kept]
    assert await scene.see(lambda reads: reads.permissions("triage")) == []
    (event,) = await scene.told(EventName.PERMISSION_ADDED)
    assert (event.agent, event.actor) == ("billing", "ann")
    revoked = await scene.do(lambda tx: tx.revoke_permission(kept.id, actor="bob", now=scene.now))
    assert (revoked.revoked_at, revoked.revoked_by) == (scene.now, "bob")
    assert await scene.see(lambda reads: reads.permissions("billing")) == []
    assert await scene.see(lambda reads: reads.permissions()) == [revoked]
    assert len(await scene.told(EventName.PERMISSION_REVOKED)) == 1
    with refuses(Conflict, "revoked already"):
        await scene.change("revoke_permission", kept.id, actor="bob", now=scene.now)
    with refuses(NotFound, "P99"):
        await scene.change("revoke_permission", 99, actor="bob", now=scene.now)


@case
async def files_are_tainted_once_and_until_a_person_has_looked(scene: Scene) -> None:
    assert await scene.see(lambda reads: reads.tainted_files("a")) == ()
    await scene.do(lambda tx: tx.taint_files("a", ["out/x.md", "notes/"], task=1, now=scene.now))
    await scene.do(lambda tx: tx.taint_files("a", ["out/x.md"], task=2, now=scene.now))
    assert await scene.see(lambda reads: reads.tainted_files("a")) == ("notes/", "out/x.md")
    assert await scene.see(lambda reads: reads.tainted_files("b")) == ()
    for task in (3, 4):
        await scene.do(lambda tx, task=task: tx.taint_files("c", ["inbox/x.md"], task=task, now=scene.now))  # type: ignore[misc]  # bound at once
    assert await scene.see(lambda reads: reads.tainted_by("c", "inbox/x.md")) == 4
    assert await scene.see(lambda reads: reads.tainted_by("c", "inbox/y.md")) is None
    assert await scene.do(lambda tx: tx.clear_taint("a", actor="ann", now=scene.now)) == ("notes/", "out/x.md")
    assert await scene.see(lambda reads: reads.tainted_files("a")) == ()
    assert await scene.do(lambda tx: tx.clear_taint("a", actor="ann", now=scene.now)) == ()
    (event,) = await scene.told(EventName.TAINT_CLEARED)
    assert (event.agent, event.actor, event.data["files"]) == ("a", "ann", 2)


@case
async def a_person_may_look_at_one_file_and_leave_the_others_marked(scene: Scene) -> None:
    await scene.do(lambda tx: tx.taint_files("a", ["./out//x.md", "notes/"], task=1, now=scene.now))
    await scene.do(lambda tx: tx.taint_files("b", ["out/x.md"], task=1, now=scene.now))
    with refuses(NotFound, "SOUL.md"):
        await scene.change("clear_taint", "a", ["out/x.md", "SOUL.md"], actor="ann", now=scene.now)
    assert await scene.do(lambda tx: tx.clear_taint("a", ["out/x.md"], actor="ann", now=scene.now)) == ("out/x.md",)
    assert await scene.see(lambda reads: reads.tainted_files("a")) == ("notes/",)
    assert await scene.see(lambda reads: reads.tainted_files("b")) == ("out/x.md",)
    (event,) = await scene.told(EventName.TAINT_CLEARED)
    assert event.data == {"files": 1, "paths": ["out/x.md"]}
    (row,) = await scene.see(lambda reads: reads.audit(limit=10))
    assert "taint.cleared" in row.body


@case
async def a_call_that_tells_what_it_has_changed_marks_all_until_then_and_only_that_from_then_on(scene: Scene) -> None:
    mine, other = f"{UNDER_WAY}T1 1.0", f"{UNDER_WAY}T2 1.0"
    await scene.do(lambda tx: tx.taint_files("a", [mine, "out/before.md"], task=1, now=scene.now))
    await scene.do(lambda tx: tx.taint_files("a", [other], task=2, now=scene.now))
    await scene.do(lambda tx: tx.taint_files("a", ["out/new.md", "inbox/n.md"], task=1, now=scene.now, settled=mine))
    assert await scene.see(lambda reads: reads.tainted_files("a")) == (
        *(other, "inbox/n.md", "out/before.md", "out/new.md"),
    ), "another call is still under way"
    assert await scene.see(lambda reads: reads.tainted_by("a", "inbox/n.md")) == 1
    await scene.do(lambda tx: tx.taint_files("a", [], task=2, now=scene.now, settled=other))
    assert other not in await scene.see(lambda reads: reads.tainted_files("a"))


@case
async def what_a_day_and_a_task_leave_is_the_least_of_their_budgets(scene: Scene) -> None:
    task = await scene.add()

    async def left(agent: int | None, fleet: int | None) -> int | None:
        return await scene.do(
            lambda tx: tx.budget_left(
                agent="a", limit_usd_micros=agent, fleet_limit_usd_micros=fleet, task=task.id, now=scene.now
            )
        )

    assert await left(None, None) is None
    assert await left(100, None) == 100
    await scene.do(
        lambda tx: tx.reserve(
            agent="a", usd_micros=30, limit_usd_micros=100, fleet_limit_usd_micros=None, now=scene.now, task=task.id,
            budgets=Budgets(task=Ceiling(usd_micros=50)),
        )
    )  # fmt: skip
    assert (await left(None, None), await left(100, None)) == (20, 20), "the task's own"
    assert (await left(40, None), await left(None, 35), await left(10, None)) == (10, 5, 0)


@case
async def too_many_tainted_files_are_all_files(scene: Scene) -> None:
    paths = [f"out/{number}" for number in range(TAINTED_MAX + 2)]
    await scene.do(lambda tx: tx.taint_files("a", paths, task=1, now=scene.now))
    found = await scene.see(lambda reads: reads.tainted_files("a"))
    assert len(found) == TAINTED_MAX + 1
    assert EVERYTHING in found
    await scene.do(lambda tx: tx.taint_files("a", ["more"], task=1, now=scene.now))
    assert "more" not in await scene.see(lambda reads: reads.tainted_files("a"))
