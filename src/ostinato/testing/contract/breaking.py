"""Circuit breakers: kept as they stand, forgotten when closed, told once when they open and once when they close."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.event import EventName
from ostinato.domain.values import SECOND
from ostinato.store.port import Retention, Tx
from ostinato.testing.contract.scene import Scene, case

NAME = "model:small"
OPEN = Breaker(
    name=NAME,
    state=BreakerState.OPEN,
    failures=5,
    since_at=1_800_000_000_000_000,
    until_at=1_800_000_015_000_000,
    opened=1,
    reason="the server answered 503",
)
HALF_OPEN = replace(OPEN, state=BreakerState.HALF_OPEN, probe="T7")


async def _put(scene: Scene, breaker: Breaker | None, name: str = NAME) -> None:
    await scene.do(lambda tx: tx.put_breaker(name, breaker, now=scene.now))


async def _told(scene: Scene) -> list[tuple[str, object]]:
    told = await scene.told(EventName.BREAKER_OPENED, EventName.BREAKER_CLOSED)
    return [(event.name.value, event.data["breaker"]) for event in told]


@case
async def a_breaker_is_kept_as_it_stands(scene: Scene) -> None:
    assert await scene.look_up("breaker", NAME) is None
    for breaker in (replace(OPEN, state=BreakerState.CLOSED, failures=1), OPEN, HALF_OPEN, OPEN):
        await _put(scene, breaker)
        assert await scene.look_up("breaker", NAME) == breaker
    await _put(scene, replace(OPEN, name="host:a"), name="host:a")
    assert [each.name for each in await scene.look_up("breakers")] == ["host:a", NAME]
    await _put(scene, None)
    assert [each.name for each in await scene.look_up("breakers")] == ["host:a"]


@case
async def it_is_told_when_calls_begin_and_when_they_cease_to_be_refused(scene: Scene) -> None:
    await _put(scene, replace(OPEN, state=BreakerState.CLOSED, failures=4))
    assert await _told(scene) == []
    await _put(scene, OPEN)
    await _put(scene, HALF_OPEN)
    await _put(scene, replace(OPEN, opened=2))
    assert await _told(scene) == [("breaker.opened", NAME)]
    await _put(scene, HALF_OPEN)
    await _put(scene, None)
    await _put(scene, None)
    assert await _told(scene) == [("breaker.opened", NAME), ("breaker.closed", NAME)]
    (opened,) = await scene.told(EventName.BREAKER_OPENED)
    assert (opened.reason, opened.data["failures"]) == ("the server answered 503", 5)


@case
async def a_breaker_that_moves_in_a_transaction_that_fails_has_not_moved(scene: Scene) -> None:
    def fails(tx: Tx) -> None:
        tx.put_breaker(NAME, OPEN, now=scene.now)
        raise ZeroDivisionError

    try:
        await scene.do(fails)
    except ZeroDivisionError:
        pass
    assert await scene.look_up("breaker", NAME) is None
    assert await _told(scene) == []


@case
async def what_nobody_has_asked_about_for_long_is_closed_and_forgotten(scene: Scene) -> None:
    day, keep = 86_400 * SECOND, Retention()
    failed = Breaker(name=NAME, failures=1, since_at=scene.now)
    await _put(scene, failed)
    await _put(scene, replace(failed, name="host:open", state=BreakerState.OPEN, until_at=scene.now), name="host:open")
    late = replace(failed, name="host:shut", state=BreakerState.OPEN, until_at=scene.now + 5 * day)
    await _put(scene, late, name="host:shut")
    scene.wait(6 * 86_400.0)
    assert await scene.do(lambda tx: tx.prune(keep, now=scene.now)) == 0
    scene.wait(2 * 86_400.0)
    assert [await scene.do(lambda tx: tx.prune(keep, now=scene.now, limit=1)) for _ in range(3)] == [1, 1, 0]
    assert [each.name for each in await scene.look_up("breakers")] == ["host:shut"]
    assert (await _told(scene))[2:] == [("breaker.closed", "host:open")]
