"""What people allow for good, and which files hold text from strangers."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.permission import NewPermission
from ostinato.domain.taint import EVERYTHING, TAINTED_MAX
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
    assert await scene.do(lambda tx: tx.clear_taint("a", actor="ann", now=scene.now)) == 2
    assert await scene.see(lambda reads: reads.tainted_files("a")) == ()
    assert await scene.do(lambda tx: tx.clear_taint("a", actor="ann", now=scene.now)) == 0
    (event,) = await scene.told(EventName.TAINT_CLEARED)
    assert (event.agent, event.actor, event.data) == ("a", "ann", {"files": 2})


@case
async def too_many_tainted_files_are_all_files(scene: Scene) -> None:
    paths = [f"out/{number}" for number in range(TAINTED_MAX + 2)]
    await scene.do(lambda tx: tx.taint_files("a", paths, task=1, now=scene.now))
    found = await scene.see(lambda reads: reads.tainted_files("a"))
    assert len(found) == TAINTED_MAX + 1
    assert EVERYTHING in found
    await scene.do(lambda tx: tx.taint_files("a", ["more"], task=1, now=scene.now))
    assert "more" not in await scene.see(lambda reads: reads.tainted_files("a"))
