"""Pins: taken at first sight, withheld when they change, accepted by a person as that person saw them."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.pin import Pin
from ostinato.testing.contract.scene import Scene, case

NAME = "mcp.github.list_issues"


async def _see(scene: Scene, digest: str, name: str = NAME) -> Pin:
    return await scene.do(lambda tx: tx.see_pin(name, digest=digest, text=f"text of {digest}", now=scene.now))


async def _accept(scene: Scene, digest: str, name: str = NAME) -> Pin:
    return await scene.do(lambda tx: tx.accept_pin(name, digest=digest, actor="ann", now=scene.now))


async def _told(scene: Scene) -> list[tuple[str, object, str]]:
    told = await scene.told(EventName.PIN_CHANGED, EventName.PIN_ACCEPTED)
    return [(event.name.value, event.data["digest"], event.actor) for event in told]


@case
async def what_is_seen_first_is_accepted_and_a_change_is_withheld_until_a_person_accepts_it(scene: Scene) -> None:
    assert await scene.look_up("pin", NAME) is None
    first = await _see(scene, "one")
    assert (first.digest, first.is_withheld, first.accepted_by) == ("one", False, "")
    assert await _see(scene, "one") == first
    assert await _told(scene) == []
    changed = await _see(scene, "two")
    assert (changed.digest, changed.text, changed.seen_digest, changed.seen_text, changed.is_withheld) == (
        *("one", "text of one", "two", "text of two", True),
    )
    accepted = await _accept(scene, "two")
    assert (accepted.digest, accepted.text, accepted.is_withheld, accepted.accepted_by) == (
        *("two", "text of two", False, "ann"),
    )
    assert await _told(scene) == [("pin.changed", "two", "runtime"), ("pin.accepted", "two", "ann")]


@case
async def what_becomes_again_as_it_was_accepted_is_no_longer_withheld(scene: Scene) -> None:
    await _see(scene, "one")
    assert (await _see(scene, "two")).is_withheld
    assert not (await _see(scene, "one")).is_withheld


@case
async def nobody_accepts_what_they_have_not_seen(scene: Scene) -> None:
    await _see(scene, "one")
    await _see(scene, "two")
    await _see(scene, "three")
    for digest, name, error in (("two", NAME, Conflict), ("one", "mcp.github.other", NotFound)):
        try:
            await _accept(scene, digest, name)
        except error:
            continue
        raise AssertionError(f"{digest} of {name} was accepted")
    assert (await scene.look_up("pin", NAME)).digest == "one"
    assert [told[0] for told in await _told(scene)] == ["pin.changed", "pin.changed"]


@case
async def pins_are_listed_by_name(scene: Scene) -> None:
    for name in ("skills.b", "mcp.a.z", "mcp.a.b"):
        await _see(scene, "one", name)
    assert [each.name for each in await scene.look_up("pins")] == ["mcp.a.b", "mcp.a.z", "skills.b"]
