"""The model of a run: what it answers follows from the seed, the task and the call alone, and how it fails from chance.

Knows nothing of stores; a provider, too, knows a turn only by what it is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from ostinato.domain.budget import Price, cost
from ostinato.domain.chat import (
    HttpAttempt,
    ModelReply,
    ModelRequest,
    StopReason,
    ToolCall,
    Usage,
    UserPart,
    estimate_tokens,
)
from ostinato.domain.values import to_json
from ostinato.engine.port import Clock
from ostinato.models.port import Model, ModelFailed
from ostinato.testing.simulation.outside import Outside, What

PRICE = Price(input_usd_micros=2_000_000, cached_usd_micros=200_000, output_usd_micros=8_000_000)
"""Micro-dollars for a million tokens: so that a few dozen calls of a run can use up a day's budget."""

CALLS_MAX = 4
"""Replies of one turn with calls in them; the next one ends it."""


class Voice:
    """The one model of a fleet (see `Models`), and how it answers."""

    name = "voice"
    provider = "simulated"
    host = "simulated"
    model = "voice"
    context_tokens = 128_000
    output_tokens_max = 400
    price: Price | None = PRICE

    def __init__(self, seed: int, *, outside: Outside, clock: Clock, chance: Random, calm: Callable[[], bool]) -> None:
        self._seed = seed
        self._outside = outside
        self._clock = clock
        self._chance = chance
        self._calm = calm

    def resolve(self, wanted: str | None) -> Model:
        """The one model, whatever is wanted."""
        return self

    def chain(self, wanted: str | None) -> tuple[str, ...]:
        """Nobody else can be asked."""
        return (self.resolve(wanted).name,)

    def strongest(self) -> str | None:
        """Nobody takes over."""
        return None

    async def prepare(self) -> None:
        """Nothing is looked up."""

    async def close(self) -> None:
        """Nothing is open."""

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_attempt: Callable[[HttpAttempt], None],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """One attempt: a reply, or one of the ways in which a provider fails."""
        began_s, how, usage = self._clock.elapsed_s(), "cancelled", Usage()
        facts = {"task": request.user, "call": str(request.call)}
        self._outside.say(What.ASKED, **facts)
        try:
            how, reply = await self._reply(request)
            usage = reply.usage
            return reply
        except ModelFailed as failure:
            how = failure.error_class
            raise
        except asyncio.CancelledError:
            raise
        finally:
            price = cost(PRICE, input_tokens=usage.input_tokens, cached_tokens=0, output_tokens=usage.output_tokens)
            self._outside.say(What.REPLIED, how, key=str(price), **facts)
            on_attempt(
                HttpAttempt(
                    provider=self.provider,
                    model=self.model,
                    status=200 if how == "reply" else 0,
                    duration_ms=(self._clock.elapsed_s() - began_s) * 1_000,
                    usage=usage,
                    error="" if how == "reply" else how,
                )
            )

    async def _reply(self, request: ModelRequest) -> tuple[str, ModelReply]:
        chance = self._chance
        await self._clock.sleep(chance.choice((0.001, 0.01, 0.2, 1.0, 4.0)))
        fate = 1.0 if self._calm() else chance.random()
        if fate < 0.05:
            raise ModelFailed("the model is overloaded", error_class="transient")
        if fate < 0.07:
            raise ModelFailed("too many requests", error_class="rate_limited", after_s=chance.uniform(1.0, 20.0))
        if fate < 0.09:
            await self._clock.sleep(chance.uniform(20.0, 90.0))
            raise ModelFailed("given up after no answer", error_class="transient")
        if fate < 0.095:
            raise ModelFailed("the key is wrong", error_class="permanent")
        if fate < 0.11:
            return "malformed", self._priced(request, ModelReply(problem="it was cut off in the middle"))
        return "reply", self._priced(request, script(self._seed, request))

    def _priced(self, request: ModelRequest, reply: ModelReply) -> ModelReply:
        said = estimate_tokens(reply.text + to_json(reply.calls).decode())
        asked = sum(len(to_json(part)) for part in request.parts) // 4
        return ModelReply(
            text=reply.text,
            calls=reply.calls,
            problem=reply.problem,
            stop=StopReason.TOOLS if reply.calls else StopReason.END,
            usage=Usage(input_tokens=asked, output_tokens=min(said, self.output_tokens_max)),
            model=self.model,
        )


def script(seed: int, request: ModelRequest) -> ModelReply:
    """What the model says. A turn begun anew is answered as the one before it, but for the names of its deeds."""
    chance = Random(f"{seed} {request.user} {request.call} {_last_user(request)}")
    if request.call > CALLS_MAX or chance.random() < (0.15 if request.call == 1 else 0.5):
        return ModelReply(text=f"all done, {request.user}")
    calls = tuple(_call(chance, request, number) for number in range(chance.choice((1, 1, 2, 3))))
    return ModelReply(text="", calls=calls)


def _last_user(request: ModelRequest) -> str:
    said = [part.text for part in request.parts if isinstance(part, UserPart)]
    return str(len(said))


def _call(chance: Random, request: ModelRequest, number: int) -> ToolCall:
    name, arguments = _wish(chance, f"{request.user}.{request.call}.{number}")
    return ToolCall(id=f"{request.call}.{number}", name=name, arguments=arguments)


def _wish(chance: Random, what: str) -> tuple[str, dict[str, Any]]:
    """A tool and its arguments."""
    kind = chance.random()
    if kind < 0.66:
        tool = chance.choice(("world.look", "world.put", "world.swap", "world.fire", "world.fire"))
        slow = chance.choice((0.0, 0.0, 0.05, 0.5, 3.0, 70.0 if chance.random() < 0.1 else 1.0))
        return tool, {"what": what, chance.choice(("before", "after")): slow}
    if kind < 0.76:
        arguments = {"title": f"part of {what}", "goal": f"do {what}", "agent": chance.choice(("smith", "clerk"))}
        return "tasks.create", {**arguments, "deliver": chance.random() < 0.7}
    if kind < 0.82:
        return "message.send", {"to": "operator", "text": f"about {what}"}
    if kind < 0.88:
        return "message.send", {"to": "mail:customer@example.com", "subject": what, "text": f"about {what}"}
    if kind < 0.93:
        return "ask", {"question": f"What about {what}?"}
    if kind < 0.96:
        return "tasks.propose", {"title": f"perhaps {what}", "goal": f"perhaps {what}", "agent": "smith"}
    if kind < 0.98:
        return "world.unknown", {"what": what}
    return "finish", {"result": f"finished by {what}"}
