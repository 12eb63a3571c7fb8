"""Graphs are performed as they say: every task once, none before its parents, whatever order a store would prefer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostinato.domain.errors import Conflict
from ostinato.store.sqlite import open_store
from ostinato.testing.graphs import GraphTask, TaskGraph, perform_graph, read_wfformat
from ostinato.testing.graphs.__main__ import main
from ostinato.testing.graphs.trial import judge
from tests.conftest import run

FILES = sorted((Path(__file__).parent / "files").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_graph_is_performed_once_and_in_order(file: Path) -> None:
    graph = read_wfformat(file.read_bytes(), place=file.name)
    said: list[str] = []

    async def perform() -> None:
        store = open_store(None)
        try:
            trial = await perform_graph(store, graph, say=lambda what, task: said.append(f"{what} {task}"))
            with pytest.raises(Conflict, match="has tasks already"):
                await perform_graph(store, graph)
        finally:
            await store.close()
        assert trial.kept, trial
        assert (trial.performed, trial.edges) == (len(graph.tasks), graph.edges)

    run(perform())
    for task in graph.tasks:
        assert said.count(f"begin {task.id}") == 1
        for parent in task.parents:
            assert said.index(f"end {parent}") < said.index(f"begin {task.id}")


def test_what_is_early_twice_or_never_is_noticed() -> None:
    tasks = [GraphTask(id=name, name=name, parents=parents, level=1) for name, parents in (("a", ()), ("b", ("a",)))]
    graph = TaskGraph(name="x", tasks=(*tasks, GraphTask(id="c", name="c", parents=(), level=1)))
    found = judge(graph, [("begin", "b"), ("end", "b"), ("begin", "a"), ("end", "a"), ("begin", "a")])
    assert (found.performed, found.early, found.twice, found.never) == (3, ("b",), ("a",), ("c",))


def test_the_command_tells_of_each_file_and_keeps_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.json").write_text("{}")
    log = tmp_path / "log"
    assert main([str(FILES[0]), str(tmp_path / "wrong.json"), str(tmp_path / "missing"), "--log", str(log)]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["tasks"] * 2 == len(log.read_text().splitlines())
    assert [line.split(": ")[-1] for line in said.err.splitlines()] == [
        "This is no WfFormat. It needs an object `workflow`.",
        "No such file or directory",
    ]
    assert main([str(FILES[0]), "--state", str(tmp_path / "state")]) == 0
    assert main([str(FILES[0]), "--state", str(tmp_path / "state")]) == 2, "not into a store that has tasks"
