"""Graphs of tasks against plain rows, in random histories; and seeded bugs, which such a history must meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ostinato.domain.dependency import Standing
from ostinato.domain.task import Condition, Join
from ostinato.store.verbs import endings
from ostinato.store.verbs.accounts import AccountVerbs
from tests.conftest import FULL
from tests.machines.machine import in_sqlite, meet, play
from tests.machines.plans import PlanMachine


@pytest.mark.slow
def test_graphs_go_on_as_plain_rows_say(count: Callable[[Mapping[str, int]], None]) -> None:
    count(play(PlanMachine, in_sqlite(), examples=15 if FULL else 8, steps=50 if FULL else 25))


def test_what_was_given_up_before_it_began_waits_again() -> None:
    def history(plan: PlanMachine) -> None:
        plan.begin_with_a_plan([([], Join.ALL, False), ([(0, Condition.SUCCESS)], Join.ALL, False)])
        plan.stop(1, fails=True)
        plan.replay(0)
        plan.claim(2)
        plan.finish(0, "done")

    meet(PlanMachine, in_sqlite(), history)


def test_what_began_before_its_node_died_goes_on_when_it_is_sent_on_again() -> None:
    def history(plan: PlanMachine) -> None:
        plan.begin_with_a_plan([([], Join.ALL, False), ([(0, Condition.SUCCESS)], Join.ALL, False)])
        plan.stop(0, fails=False)
        plan.go_on_without(0)
        plan.lose_the_node()
        plan.stop(1, fails=True)
        plan.replay(0)
        plan.claim(2)

    meet(PlanMachine, in_sqlite(), history)


def test_a_task_that_begins_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "standing", lambda condition, **_: Standing.MET)

    def history(plan: PlanMachine) -> None:
        plan.add([], Join.ALL, draft=False, agent="a", high=False)
        plan.add([(0, Condition.SUCCESS)], Join.ALL, draft=False, agent="a", high=True)
        plan.claim(1)
        plan.finish(0, "fail")
        plan.claim(1)

    with pytest.raises(AssertionError):
        meet(PlanMachine, in_sqlite(), history)


def test_a_yield_that_loses_a_step_or_what_it_cost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AccountVerbs, "charge", lambda *_, **__: None)

    def history(plan: PlanMachine) -> None:
        plan.add([], Join.ALL, draft=False, agent="a", high=False)
        plan.claim(1)
        plan.take_a_step(0, 3)
        plan.finish(0, "yield")

    with pytest.raises(AssertionError, match="has lost something"):
        meet(PlanMachine, in_sqlite(), history)
