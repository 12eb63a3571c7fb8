"""Stopping a task for good: with all that it has begun, however that hangs together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import NotFound
from ostinato.domain.task import After, Condition, NewTask, TaskEvent, TaskKind, TaskSpec
from ostinato.gateway import agents_api, stop_api, tasks_api
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground


async def begun(made: Ground, **more: Any) -> str:
    new = NewTask(kind=TaskKind.GOAL, title="work", agent="clerk", **more)
    return (await made.store.run(lambda tx: tx.add_task(new, now=NOW))).name


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 500])
def test_a_task_is_cancelled_with_sub_agents_of_sub_agents_and_whatever_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(stop_api, "BATCH", batch)

    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            top = await begun(made)
            child = await begun(made, parent=1, spec=TaskSpec(within=("clerk",)))
            below = await begun(made, parent=2, spec=TaskSpec(within=("clerk", "clerk")))
            repair = await begun(made, parent=1, after=(After(task=2, on=Condition.FAILURE),))
            other = await begun(made)
            view = await made.call(stop_api.stop, {"scope": top, "how": "cancel"})
            assert view["cancelled"] == 4
            shown = [await made.call(tasks_api.show, {"task": each}) for each in (top, child, below, repair, other)]
            assert [each["task"]["state"] for each in shown] == ["cancelled"] * 4 + ["ready"]

    run(look())


@pytest.mark.slow
def test_what_has_ended_stands_in_nobodys_way_to_what_it_has_begun(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            top, middle = await begun(made), await begun(made, parent=1)
            below = await begun(made, parent=2)
            await made.store.run(lambda tx: tx.move_task(2, TaskEvent.CANCEL, actor="ann", now=NOW))
            await made.call(stop_api.stop, {"scope": top})
            scopes = {each.scope for each in await made.store.read(lambda reads: reads.flags())}
            assert scopes == {"task:1", "task:3"}
            await made.call(stop_api.start, {"scope": top})
            assert not await made.store.read(lambda reads: reads.flags())
            assert (await made.call(stop_api.stop, {"scope": top, "how": "cancel"}))["cancelled"] == 2
            shown = [await made.call(tasks_api.show, {"task": each}) for each in (top, middle, below)]
            assert [each["task"]["state"] for each in shown] == ["cancelled"] * 3

    run(look())


def test_an_agent_whose_folder_is_gone_is_stopped_and_let_go_as_long_as_it_has_work(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await begun(made)
            shutil.rmtree(tmp_path / "fleet/agents/clerk")
            for deed in (agents_api.kill, agents_api.resume):
                assert (await made.call(deed, {"agent": "clerk", "reason": "wrong"}))["agent"] == "clerk"
            assert (await made.call(stop_api.stop, {"scope": "agent:clerk", "how": "cancel"}))["cancelled"] == 1
            with pytest.raises(NotFound, match="Unknown agent 'clark'"):
                await made.call(agents_api.kill, {"agent": "clark", "reason": "wrong"})

    run(look())
