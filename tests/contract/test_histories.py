"""Random histories over the store, and over the part of it that decides what is claimed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ostinato.store.sqlite import open_store
from ostinato.testing.contract.histories import history_of
from tests.conftest import FULL


@pytest.mark.slow
def test_the_laws_hold_in_every_random_history() -> None:
    machine = history_of(lambda: open_store(None))
    run_state_machine_as_test(
        machine, settings=settings(max_examples=600 if FULL else 20, stateful_step_count=50, deadline=None)
    )
