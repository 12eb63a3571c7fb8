"""A connection is cut at any statement of a scripted day, before the server has it or before it is answered.

Whatever is cut: nothing is lost, nothing is done twice, no irreversible deed is repeated. A few days, with a cut at
every so many statements; `test_every_cut.py` cuts each statement alone.
"""

from __future__ import annotations

import pytest

from ostinato.store.postgres.writer import Writer
from tests.postgres import day as day_room
from tests.postgres.conftest import Day
from tests.postgres.proxy import Cut, Plan, Proxy

EVERY = 150
"""More statements than any commit of the day has, so that one that is done anew comes to its end."""
DAYS = (3, 40, 77, 114)
"""Where the first cut is."""


def cut_every(first: int, side: Cut) -> Plan:
    return lambda number, _statement: side if number % EVERY == first else None


@pytest.mark.slow
def test_a_connection_cut_at_any_statement_loses_and_doubles_nothing(proxy: Proxy, day: Day) -> None:
    for first in DAYS:
        for side in ("before", "after"):
            assert day(cut_every(first, side)) == [], proxy.cuts  # type: ignore[arg-type]  # mypy: a tuple of literals
    assert len(proxy.cuts) >= 2 * len(DAYS)


@pytest.mark.slow
@pytest.mark.parametrize("committed", [True, False], ids=["always", "never"])
def test_the_harness_notices_a_lost_answer_that_is_guessed(
    day: Day, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(Writer, "_was_committed", lambda self, number: committed)
    monkeypatch.setattr(day_room, "DAY_S", 1.5)
    side: Cut = "before" if committed else "after"
    added: set[str] = set()

    def cut_an_addition(_number: int, statement: str) -> Cut:
        """Writers take turns, so the next commit after a new task is the one that holds it."""
        if statement == "add_task":
            added.add(statement)
        elif statement == "commit" and added and "cut" not in added:
            added.add("cut")
            return side
        return None

    assert day(cut_an_addition) != []
