"""What is known of a process is kept until its end has been told, however many others have ended since."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.task import Done, NewTask, Park, Task, TaskKind, TaskResult, TaskSpec, TaskState, Wait, WaitKind
from ostinato.domain.values import to_json
from ostinato.store.port import Claim, ClaimRequest, Store
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from ostinato.tools.processes import handle as handles
from ostinato.tools.processes.handler import about_of, handle_for
from ostinato.tools.processes.shim import BEGAN, EXIT
from ostinato.tools.processes.warden import Warden
from tests.conftest import run

PROCESS = NewTask(kind=TaskKind.PROCESS, title="true", spec=TaskSpec(input={"arguments": {"argv": ["true"]}}))


async def claimed(store: Store) -> Claim:
    (task,) = await store.run(lambda tx: tx.claim(ClaimRequest(node=1, most=1), now=1))
    return Claim(task=task.id, token=task.token)


async def parked(store: Store, state_dir: Path) -> Task:
    """A process task that waits, of a process that has ended."""
    task = await store.run(lambda tx: tx.add_task(PROCESS, now=1))
    made = handle_for(state_dir, task)
    made.prepare(about_of(task))
    (made.folder / BEGAN).touch()
    (made.folder / EXIT).write_bytes(to_json(handles.Exit(ended="exit", returncode=0)))
    claim, wait = await claimed(store), Park(wait=Wait(kind=WaitKind.PROCESS, refs=(made.name,)), reason="it runs")
    return await store.run(lambda tx: tx.finish(claim, wait, now=1))


def test_it_is_forgotten_only_once_nobody_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "KEPT_MAX", 0)

    async def story() -> None:
        store, clock = open_store(None), ManualClock()
        warden = Warden(tmp_path, store=store, clock=clock)
        task = await parked(store, tmp_path)
        await warden.poll()
        assert (await store.read(lambda reads: reads.task(task.id))).state is TaskState.READY
        assert handle_for(tmp_path, task).about().task == task.id
        claim = await claimed(store)
        await store.run(lambda tx: tx.finish(claim, Done(result=TaskResult()), now=2))
        await warden.poll()
        assert not handle_for(tmp_path, task).folder.exists()
        await warden.close()
        await store.close()

    run(story())
