"""Every case of the shipped contract, over PostgreSQL."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ostinato.store.port import Store
from ostinato.store.postgres import open_postgres
from ostinato.testing.contract import Case, cases, check
from ostinato.testing.contract.histories import history_of
from tests.conftest import run
from tests.contract.commits import Commits, Keep
from tests.postgres.server import empty


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.__name__)
def test_a_store_in_postgresql_keeps_the_contract(case: Case, database: str, record_property: Keep) -> None:
    commits = Commits()
    run(check(case, lambda: open_postgres(database, hook=commits)))
    commits.keep(case, "commits in PostgreSQL", record_property)


@pytest.mark.slow
def test_the_laws_hold_in_every_random_history(database: str) -> None:
    def fresh() -> Store:
        empty(database)
        return open_postgres(database)

    machine = history_of(fresh)
    run_state_machine_as_test(machine, settings=settings(max_examples=10, stateful_step_count=30, deadline=None))
