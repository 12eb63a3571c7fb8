"""A fleet whose file names a database: two folders of it, as on two machines, share one truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.app import FleetApp, call_here, restore_here
from ostinato.domain.errors import Invalid
from ostinato.domain.task import NewTask, TaskKind
from ostinato.gateway import fleet_api, status_api, tasks_api
from ostinato.gateway.operation import Nothing
from tests.conftest import run
from tests.gateway.ground import make_fleet


def fleet_on(folder: Path, url: str) -> Path:
    """A fleet's folder with a store in this database."""
    made = make_fleet(folder)
    file = made / "ostinato.toml"
    file.write_text(file.read_text() + f'\n[store]\nurl = "{url}"\nlease = "3s"\n')
    return made


@pytest.mark.slow
def test_a_broken_file_never_leads_to_another_store(own_database: str, tmp_path: Path) -> None:
    fleet = fleet_on(tmp_path, own_database)
    file = fleet / "ostinato.toml"
    call_here(fleet, tasks_api.add, tasks_api.AddTask(title="In the database"))
    text = file.read_text()
    file.write_text(f"{text}\n[nonsense]\n")
    (seen,) = call_here(fleet, tasks_api.list_tasks, tasks_api.WhichTasks()).tasks
    assert seen.title == "In the database", "what is wrong elsewhere in the file keeps nobody from it"
    for broken in (f"{text}\n[", text.replace("postgresql://", "mysql://"), text.replace("lease", "leese")):
        file.write_text(broken)
        with pytest.raises(Invalid, match=r"ostinato\.toml"):
            call_here(fleet, tasks_api.list_tasks, tasks_api.WhichTasks())
        with pytest.raises(Invalid):
            restore_here(fleet, tmp_path / "x", replace=True)
    assert not (fleet / ".ostinato" / "ostinato.db").exists()


@pytest.mark.slow
def test_doctor_looks_behind_the_database(own_database: str, tmp_path: Path) -> None:
    seen = call_here(fleet_on(tmp_path, own_database), fleet_api.doctor, Nothing()).lines
    (copies,) = [each for each in seen if each.name == "database copies"]
    assert (copies.level, copies.text) == ("ok", "none: what this server has is all there is")


@pytest.mark.slow
def test_two_folders_of_a_fleet_share_its_tasks_with_and_without_nodes(own_database: str, tmp_path: Path) -> None:
    one, other = (fleet_on(tmp_path / name, own_database) for name in ("one", "other"))
    call_here(one, tasks_api.add, tasks_api.AddTask(title="From the first"))
    (seen,) = call_here(other, tasks_api.list_tasks, tasks_api.WhichTasks()).tasks
    assert seen.title == "From the first"
    assert not (one / ".ostinato" / "ostinato.db").exists()

    async def both() -> None:
        first, second = FleetApp(one), FleetApp(other)
        await first.start()
        await second.start()
        assert first.store is not None
        nodes = await first.store.read(lambda reads: reads.nodes())
        assert [node.ended_at for node in nodes] == [None, None], "neither has ended the other"
        new = NewTask(kind=TaskKind.RUN, title="x", blocked="not yet")
        await first.store.run(lambda tx: tx.add_task(new, now=first.clock.now()))
        await second.stop()
        await first.stop()

    run(both())
    assert call_here(other, status_api.status, Nothing()).fleet == "test"
    with pytest.raises(Invalid, match="PostgreSQL"):
        restore_here(one, tmp_path / "x", replace=True)
