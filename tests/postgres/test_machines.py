"""The machines of queue, plans, questions and outbox, over PostgreSQL: short histories, the long ones run on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ostinato.store.postgres import open_postgres
from tests.machines.machine import Machine, Opener, play
from tests.machines.outbox import OutboxMachine
from tests.machines.plans import PlanMachine
from tests.machines.questions import QuestionMachine
from tests.machines.queue import QueueMachine
from tests.postgres.server import empty


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine", [QueueMachine, PlanMachine, QuestionMachine, OutboxMachine], ids=lambda each: each.__name__
)
def test_a_store_in_postgresql_does_what_a_plain_list_says(
    machine: type[Machine], database: str, count: Callable[[Mapping[str, int]], None]
) -> None:
    def fresh() -> Opener:
        empty(database)
        return lambda: open_postgres(database)

    count(play(machine, fresh, examples=2, steps=20))
