"""A graph in WfFormat is performed once and in order on PostgreSQL, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.store.postgres import open_postgres
from ostinato.testing.graphs import perform_graph, read_wfformat
from tests.conftest import run

FILE = Path(__file__).parents[1] / "graphs/files/field-1.6.json"


@pytest.mark.slow
def test_a_graph_is_performed_once_and_in_order(database: str) -> None:
    graph = read_wfformat(FILE.read_bytes(), place=FILE.name)

    async def perform() -> None:
        store = open_postgres(database)
        try:
            trial = await perform_graph(store, graph)
        finally:
            await store.close()
        assert trial.kept, trial
        assert trial.performed == len(graph.tasks)

    run(perform())
