"""The scripted model of a scenario: answers from rules, notes each request outside, and fails where it is told to.

It is another party: a death of the node takes nothing from its memory, as it would take nothing from a provider's.
Knows nothing of tasks or stores.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ostinato.domain.budget import Price
from ostinato.domain.chat import ModelReply, ModelRequest, SystemPart, UserPart
from ostinato.domain.values import digest_of, to_json
from ostinato.engine.port import Clock
from ostinato.models.chat_model import ChatModel, Question, Trace
from ostinato.models.failures import TRANSIENT, Failure
from ostinato.models.port import Model
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.provider import ScriptTransport
from ostinato.models.scripted.script import Script
from ostinato.models.settings import ModelSettings
from tests.crash.outside import Line, Outside, What
from tests.crash.scenario import Fault

PRICE = Price(input_usd_micros=1_000_000, cached_usd_micros=100_000, output_usd_micros=2_000_000)
"""A dollar for a million tokens of input: so that reservations and sums are no zeros."""


class Voice:
    """One model for all agents (see `Models`)."""

    def __init__(self, script: Script, *, outside: Outside, clock: Clock, faults: Sequence[Fault]) -> None:
        player = ScriptTransport(Player(script), clock=clock)
        settings = ModelSettings(provider="scripted", model="voice", script="none", stream=False)
        self._model = ChatModel(
            "voice",
            settings,
            _Heard(player, outside=outside, faults=faults),
            clock=clock,
            price=PRICE,
            jitter=lambda: 0.5,
        )

    def resolve(self, wanted: str | None) -> Model:
        """The one model, whatever is wanted."""
        return self._model

    def chain(self, wanted: str | None) -> tuple[str, ...]:
        """Nobody else can be asked."""
        return (self._model.name,)

    def strongest(self) -> str | None:
        """Nobody takes over."""
        return None

    async def prepare(self) -> None:
        """Nothing is looked up."""

    async def close(self) -> None:
        """Nothing is open."""


class _Heard:
    """A transport that notes each exchange outside before it happens."""

    def __init__(self, inner: ScriptTransport, *, outside: Outside, faults: Sequence[Fault]) -> None:
        self._inner = inner
        self._outside = outside
        self._faults = faults

    async def exchange(self, question: Question, trace: Trace) -> ModelReply | Failure:
        """One attempt, unless a fault says that the model cannot be had yet."""
        task, call = question.request.user, question.request.call
        asked = self._outside.count(What.ASKED, task, str(call))
        self._outside.say(Line(what=What.ASKED, task=task, call=str(call), key=_conversation(question.request)))
        if any(asked < fault.times for fault in self._faults if _concerns(fault, question.request)):
            trace.status = 503
            return Failure(error_class=TRANSIENT, text="the model is overloaded")
        return await self._inner.exchange(question, trace)


def _concerns(fault: Fault, request: ModelRequest) -> bool:
    if request.call != fault.call:
        return False
    return any(fault.text in part.text for part in request.parts if isinstance(part, UserPart))


def _conversation(request: ModelRequest) -> str:
    """A digest of what the model is shown beside its instructions, which hold daily notes and with them times."""
    said = [part for part in request.parts if not isinstance(part, SystemPart)]
    text = to_json([said, request.tools]).decode()
    return digest_of(re.sub(r'"provider_id":"[^"]*",?', "", text).encode())[:16]
