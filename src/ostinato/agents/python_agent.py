"""Performs the tasks of agents of kind `python`: turns like any other, in which a function of the fleet's own stands in
the place of the model.

So gates, parking, taint, limits and budgets are those of every turn. Knows nothing of how the function is run.
"""

from __future__ import annotations

from ostinato.agents.bounds import narrowed
from ostinato.agents.function_model import FunctionModel, Functions, Reach, Stopped
from ostinato.agents.leash import LeashMaker
from ostinato.agents.live import LiveText
from ostinato.agents.model_choices import ModelChoices, Pick
from ostinato.agents.turn_handler import TurnHandler
from ostinato.domain.task import Outcome, Task, TaskKind
from ostinato.domain.values import Instant
from ostinato.engine.breakers import Refusal
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.models.port import Model, ModelFailed
from ostinato.store.port import Tx


class PythonHandler:
    """The handler of turns and goals for agents that are functions."""

    def __init__(self, kind: TaskKind, *, leashes: LeashMaker, live: LiveText, functions: Functions) -> None:
        self.kind = kind
        self.timeout_s = 3_600.0
        self._leashes = leashes
        self._live = live
        self._functions = functions

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing: the first step needs the function."""

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """One attempt, with a run of the function that lasts no longer."""
        agent = self._leashes.current(attempt.task.agent or "")
        policy = narrowed(agent, attempt.task, self._leashes.current).policy
        reach = Reach(secrets=agent.tools.secrets, policy=policy)
        model = FunctionModel(agent.settings.function, attempt=attempt, functions=self._functions, leash=reach)
        turn = TurnHandler(
            self.kind,
            leashes=self._leashes.lending(model.tool),
            models=model,
            live=self._live,
            choices=_OneModel(model),
        )
        try:
            return await turn.perform(attempt)
        except Stopped as stopped:
            return stopped.outcome
        finally:
            await model.close()


class _OneModel(ModelChoices):
    """No choice: a function that fails speaks against nothing but itself, and no breaker counts it."""

    def __init__(self, function: FunctionModel) -> None:
        super().__init__(function)
        self._function = function

    def version(self, wanted: str | None) -> str | None:
        """That of the function."""
        return self._function.version

    def first(self, tx: Tx, pick: Pick, *, task: Task, now: Instant, without: object = ()) -> Pick | Refusal:
        """The function."""
        return pick

    def is_admitted(self, tx: Tx, name: str, *, task: Task, now: Instant) -> bool:
        """Always."""
        return True

    def went_well(self, tx: Tx, model: Model, *, task: Task, now: Instant) -> None:
        """Nothing is learned."""

    def went_wrong(self, tx: Tx, model: Model, failure: ModelFailed, *, task: Task, now: Instant, down: bool) -> None:
        """Nothing is learned."""
