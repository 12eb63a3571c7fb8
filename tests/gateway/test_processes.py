"""What people do to processes is on record."""

from __future__ import annotations

from pathlib import Path

from ostinato.domain.event import EventName
from ostinato.domain.task import NewTask, TaskKind, TaskSpec
from ostinato.gateway import processes_api
from ostinato.tools.processes.handler import about_of, handle_for
from tests.conftest import run
from tests.gateway.ground import NOW, ground


def test_whoever_ends_a_process_stands_in_the_audit(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path) as made:
            spec = TaskSpec(input={"arguments": {"argv": ["sleep", "9"]}})
            new = NewTask(kind=TaskKind.PROCESS, title="sleep 9", agent="clerk", spec=spec)
            task = await made.store.run(lambda tx: tx.add_task(new, now=NOW))
            handle_for(made.context.state_dir, task).prepare(about_of(task))
            await made.call(processes_api.kill, {"process": task.name, "reason": "it hangs"})
            name = EventName.PROCESS_DIRECTED.value
            (row,) = [each for each in await made.store.read(lambda tx: tx.audit()) if name in each.body]
            assert '"actor":"ann"' in row.body
            assert "it had ended (by ann: it hangs)" in row.body

    run(story())
