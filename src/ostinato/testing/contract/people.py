"""Tokens of people: kept as digests, never valid again once revoked."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.person import NewToken, Role, token_digest
from ostinato.testing.contract.scene import Scene, case, refuses

NEW = NewToken(person="ann", role=Role.OPERATOR, digest=token_digest("ost_one"))


@case
async def a_token_is_found_by_its_digest(scene: Scene) -> None:
    assert await scene.see(lambda reads: reads.tokens()) == []
    token = await scene.do(lambda tx: tx.add_token(NEW, actor="root", now=scene.now))
    assert (token.person, token.role, token.added_by, token.added_at) == ("ann", Role.OPERATOR, "root", scene.now)
    assert token.revoked_at is None
    assert await scene.see(lambda reads: reads.token_of(NEW.digest)) == token
    assert await scene.see(lambda reads: reads.token_of(token_digest("ost_two"))) is None
    assert await scene.see(lambda reads: reads.tokens()) == [token]
    (event,) = await scene.told(EventName.TOKEN_ADDED)
    assert (event.actor, event.data) == ("root", {"token": token.id, "person": "ann", "role": "operator"})


@case
async def a_token_is_kept_once(scene: Scene) -> None:
    await scene.do(lambda tx: tx.add_token(NEW, actor="root", now=scene.now))
    with refuses(Conflict, "already"):
        await scene.change("add_token", NEW, actor="root", now=scene.now)


@case
async def a_revoked_token_stays_for_the_record(scene: Scene) -> None:
    token = await scene.do(lambda tx: tx.add_token(NEW, actor="root", now=scene.now))
    revoked = await scene.do(lambda tx: tx.revoke_token(token.id, actor="bob", now=scene.now))
    assert (revoked.revoked_at, revoked.revoked_by) == (scene.now, "bob")
    assert await scene.see(lambda reads: reads.token_of(NEW.digest)) == revoked
    assert len(await scene.told(EventName.TOKEN_REVOKED)) == 1
    with refuses(Conflict, "already"):
        await scene.change("revoke_token", token.id, actor="bob", now=scene.now)
    with refuses(NotFound, "K99"):
        await scene.change("revoke_token", 99, actor="bob", now=scene.now)
