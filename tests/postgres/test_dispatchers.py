"""The dispatcher of several nodes on PostgreSQL, under the shipped contract: hints travel with the commits."""

from __future__ import annotations

import pytest

from ostinato.engine.dispatcher import LocalDispatcher
from ostinato.store.postgres import open_postgres
from ostinato.testing.dispatch import CASES, Case, LossyDispatcher, check
from ostinato.testing.dispatch.suite import MakeDispatcher


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda _: LocalDispatcher(), LossyDispatcher], ids=["by commits", "lossy"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_dispatcher_of_several_nodes_keeps_the_contract(case: Case, make: MakeDispatcher, database: str) -> None:
    check(case, make, lambda: (open_postgres(database), open_postgres(database)))
