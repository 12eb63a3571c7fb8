"""Every dispatcher of one process, under the shipped contract; and that the contract notices a worker who trusts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ostinato.domain.task import Task, TaskState
from ostinato.engine import worker
from ostinato.engine.dispatcher import LocalDispatcher
from ostinato.engine.port import Dispatcher
from ostinato.store.port import Store, TaskFilter, Tx
from ostinato.store.sqlite import open_store
from ostinato.testing.dispatch import CASES, Case, LossyDispatcher, check, suite
from ostinato.testing.dispatch.suite import MakeDispatcher, every_task_ends_exactly_once


def two_nodes() -> Sequence[Store]:
    store = open_store(None)
    return (store, store)


def local(_number: int) -> Dispatcher:
    return LocalDispatcher()


def lossy(seed: int) -> MakeDispatcher:
    return lambda number: LossyDispatcher(1_000 * seed + number)


@pytest.mark.parametrize("make", [local, *map(lossy, range(5))], ids=["local", *(f"lossy {n}" for n in range(5))])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_dispatcher_keeps_the_contract(case: Case, make: MakeDispatcher) -> None:
    check(case, make, two_nodes)


def test_the_contract_notices_a_worker_that_trusts_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(self: Any, request: Any, now: int, tx: Tx) -> Any:
        """What is ready is taken for what was claimed."""
        ready = tx.tasks(TaskFilter(states=frozenset({TaskState.READY})))
        mine = [task for task in ready if task.id not in self._running and task.not_before_at <= now]
        taken: Sequence[Task] = mine[: request.most]
        return worker._Claimed(tasks=tuple(taken), taken=len(taken), due_at=None, failures=())

    monkeypatch.setattr(worker.Worker, "_claim", believe)
    monkeypatch.setattr(suite, "PATIENCE_S", 60.0)
    with pytest.raises(AssertionError, match=r"never ended|not what was claimed"):
        check(every_task_ends_exactly_once, lossy(1), two_nodes)
