"""Handlers and models that are counted while they work: each is wrapped by whoever puts the rooms together.

What is wrapped behaves as before; nothing here decides. Knows nothing of how figures are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from ostinato.domain.budget import cost_of
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest
from ostinato.domain.task import Outcome, Task, TaskState
from ostinato.domain.values import Instant
from ostinato.engine.port import AttemptPort, Clock, Ending, Handler, Settled
from ostinato.gateway.metrics import Meter
from ostinato.models.port import Model, ModelFailed, Models
from ostinato.store.port import Tx

_SETTLED = {
    TaskState.WAITING: "park",
    TaskState.READY: "retry",
    TaskState.FAILED: "fail",
    TaskState.REVIEW: "review",
    TaskState.CANCELLED: "cancelled",
    TaskState.BLOCKED: "blocked",
}


class MeteredHandler:
    """A handler whose attempts are counted and timed."""

    def __init__(self, handler: Handler, meter: Meter) -> None:
        self.kind = handler.kind
        self.timeout_s = handler.timeout_s
        self._handler = handler
        self._meter = meter
        meter.begin("ostinato_attempts_total", kind=self.kind.value, outcome="done")

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """As the handler does."""
        self._handler.open(tx, task, now=now)

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """As the handler does."""
        began_s, outcome = attempt.clock.elapsed_s(), "error"
        try:
            done = await self._handler.perform(attempt)
            outcome = _outcome(done)
            return done
        except asyncio.CancelledError:
            outcome = "stopped"
            raise
        finally:
            kind = self.kind.value
            self._meter.count("ostinato_attempts_total", kind=kind, outcome=outcome)
            self._meter.observe("ostinato_attempt_seconds", attempt.clock.elapsed_s() - began_s, kind=kind)


def _outcome(done: Outcome | Ending | Settled) -> str:
    if isinstance(done, Settled):
        return _SETTLED.get(done.task.state, "done")
    return type(done.outcome if isinstance(done, Ending) else done).__name__.lower()


def metered_models(models: Models, meter: Meter, clock: Clock, *, names: Sequence[str]) -> Models:
    """The same models; their calls are counted, timed and priced. `names` are those of all of them."""
    for name in names:
        meter.begin("ostinato_model_calls_total", model=name, outcome="ok")
        meter.begin("ostinato_model_cost_usd_total", model=name)
    return cast("Models", _MeteredModels(models, meter, clock))


class _MeteredModels:
    """All that the models are, and each one metered."""

    def __init__(self, models: Models, meter: Meter, clock: Clock) -> None:
        self._models = models
        self._meter = meter
        self._clock = clock
        self._known: dict[int, tuple[Model, Model]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)

    def resolve(self, wanted: str | None) -> Model:
        """As the models do."""
        model = self._models.resolve(wanted)
        if id(model) not in self._known:  # with the model itself, so that no other can get its id
            self._known[id(model)] = (model, cast("Model", _MeteredModel(model, self._meter, self._clock)))
        return self._known[id(model)][1]


class _MeteredModel:
    """All that a model is, and its calls counted."""

    def __init__(self, model: Model, meter: Meter, clock: Clock) -> None:
        self._model = model
        self._meter = meter
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_attempt: Callable[[HttpAttempt], None],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """As the model does."""
        name, began_s, outcome = self._model.name, self._clock.elapsed_s(), "error"
        try:
            reply = await self._model.ask(request, on_attempt=on_attempt, on_text=on_text)
            outcome = "malformed" if reply.problem else "ok"
            self._spent(name, reply)
            return reply
        except ModelFailed as failure:
            outcome = failure.error_class
            raise
        except asyncio.CancelledError:
            outcome = "stopped"
            raise
        finally:
            self._meter.count("ostinato_model_calls_total", model=name, outcome=outcome)
            self._meter.observe("ostinato_model_call_seconds", self._clock.elapsed_s() - began_s, model=name)

    def _spent(self, name: str, reply: ModelReply) -> None:
        usage, price = reply.usage, self._model.price
        kinds = (
            ("input", usage.input_tokens - usage.cached_tokens),
            ("cached", usage.cached_tokens),
            ("output", usage.output_tokens),
        )
        for kind, tokens in kinds:
            if tokens > 0:
                self._meter.count("ostinato_model_tokens_total", tokens, model=name, type=kind)
        if price is None:
            self._meter.count("ostinato_model_unpriced_calls_total", model=name)
            return
        micros = cost_of(price, usage)
        if micros:
            self._meter.count("ostinato_model_cost_usd_total", micros / 1_000_000, model=name)
