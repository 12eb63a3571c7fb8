"""What routing asks of a store: how an agent did its last tasks of a type, an account, settings that begin alike."""

from __future__ import annotations

from ostinato.domain.budget import Spend
from ostinato.domain.ledger import Charge
from ostinato.domain.routing import RECORD_REACH, Record
from ostinato.domain.task import Fail, TaskKind
from ostinato.testing.contract.scene import Scene, case

_GOAL = TaskKind.GOAL


@case
async def an_agent_is_known_by_its_last_tasks_of_a_type(scene: Scene) -> None:
    assert await scene.look_up("agent_record", "ann", "refund") == Record()
    for number, (kind, fails) in enumerate([("refund", False), ("refund", True), ("report", True), ("refund", False)]):
        await scene.add(agent="ann", kind=_GOAL, type=kind)
        running = await scene.claim_one()
        scene.wait(10.0 * (number + 1))
        charge = Charge(
            task=running.id, agent="ann", session="", trigger="operator", call=1, provider="", model="m", status=200,
            usd_micros=100 * (number + 1),
        )  # fmt: skip
        await scene.change("charge", charge, now=scene.now)
        await scene.finish(running, Fail(error="no") if fails else None)
    await scene.add(agent="ann", kind=_GOAL, type="refund")  # has not ended
    found = await scene.look_up("agent_record", "ann", "refund")
    assert (found.done, found.failed, found.usd_micros) == (2, 1, 350)
    assert abs(found.seconds - (10 + 20 + 40) / 2) < 1e-6
    assert await scene.look_up("agent_record", "ann", "report") == Record(failed=1)
    assert await scene.look_up("agent_record", "bob", "refund") == Record()


@case
async def what_lies_far_back_says_nothing_of_an_agent(scene: Scene) -> None:
    await scene.add(agent="ann", kind=_GOAL, type="refund")
    await scene.finish(await scene.claim_one())
    for _ in range(RECORD_REACH):
        await scene.add(agent="ann", kind=_GOAL, type="report")
    assert await scene.look_up("agent_record", "ann", "refund") == Record()


@case
async def an_account_tells_what_is_used(scene: Scene) -> None:
    assert (await scene.look_up("account", "agent:ann", 7)).used == Spend()
    task = await scene.add(agent="ann", kind=_GOAL)
    await scene.change(
        "reserve", agent="ann", usd_micros=40, limit_usd_micros=100, fleet_limit_usd_micros=None, task=task.id,
        now=scene.now,
    )  # fmt: skip
    day = scene.now // (86_400 * 1_000_000)
    assert (await scene.look_up("account", "agent:ann", day)).used.usd_micros == 40


@case
async def settings_are_found_by_how_their_names_begin(scene: Scene) -> None:
    for name, value in [("scale.ann", "3"), ("scale.bob", "1"), ("scalf", "9"), ("scale", "8"), ("scale.gone", "")]:
        await scene.change("set_setting", name, value)
    assert await scene.look_up("settings", "scale.") == {"ann": "3", "bob": "1"}
