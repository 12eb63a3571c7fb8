"""A script as a model inside the process, without HTTP: for simulations, whose time is not the clock's.

The request is encoded and the reply decoded as over the wire; only the wire is missing, and so faults of connections
are stated instead of felt. Knows nothing of sockets.
"""

from __future__ import annotations

import msgspec

from ostinato.domain.chat import ModelReply
from ostinato.engine.port import Clock
from ostinato.models.chat_model import Question, Trace, finished
from ostinato.models.dialect import Refused
from ostinato.models.failures import TRANSIENT, Failure, failure_of_status, retry_after_s
from ostinato.models.http_transport import TOO_LONG, no_json
from ostinato.models.reply import Whole
from ostinato.models.scripted.faces import face_of
from ostinato.models.scripted.player import Player, Scene
from ostinato.models.scripted.script import Fault, FaultKind
from ostinato.models.scripted.wire import BadRequest
from ostinato.models.settings import Timeouts


class ScriptTransport:
    """Exchanges with a player (see `Transport`). Delays pass on the clock that is given."""

    def __init__(self, player: Player, *, clock: Clock, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 - frozen
        self._player = player
        self._clock = clock
        self._timeouts = timeouts

    async def exchange(self, question: Question, trace: Trace) -> ModelReply | Failure:
        """One attempt; never raises."""
        try:
            face = face_of(question.dialect.name)
            scene = self._player.answer(question.body, created=self._clock.now() // 1_000_000, face=face)
        except BadRequest as error:
            trace.status = 400
            return failure_of_status(400, str(error).encode())
        if scene.plan.delay_s:
            await self._clock.sleep(scene.plan.delay_s)
        trace.status = 200
        if scene.plan.fault is not None:
            failure = await self._fault(scene.plan.fault, trace)
            if failure is not None:
                return failure
        return self._reply(scene, question, trace)

    async def _fault(self, fault: Fault, trace: Trace) -> Failure | None:
        """The failure that this fault is; None where it is in the bytes of the reply."""
        match fault.kind:
            case FaultKind.STATUS:
                trace.status = fault.status
                after_s = retry_after_s({"retry-after": fault.retry_after}, self._clock.now())
                return failure_of_status(fault.status, fault.body.encode(), after_s=after_s)
            case FaultKind.DROP:
                trace.status = 0
                return Failure(error_class=TRANSIENT, text="the server hung up without an answer", again=True)
            case FaultKind.TRUNCATE:
                return Failure(error_class=TRANSIENT, text="the stream ended in the middle of the answer", again=True)
            case FaultKind.HANG:
                trace.status = 0
                await self._clock.sleep(self._timeouts.connect_s + self._timeouts.first_byte_s)
                return Failure(error_class=TRANSIENT, text="given up after no answer")
            case _:
                return None

    def _reply(self, scene: Scene, question: Question, trace: Trace) -> ModelReply | Failure:
        fault = scene.plan.fault
        if fault is not None and fault.kind in (FaultKind.ENDLESS, FaultKind.HUGE):
            return finished(Whole(problem=TOO_LONG, usage=scene.plan.usage), question, trace)
        body = scene.face.whole(scene.plan, scene.identity)
        whole = question.dialect.read(body, asked=question.request.model)
        if whole is None or isinstance(whole, Refused):
            is_page = fault is not None and fault.kind is FaultKind.HTML
            return no_json("text/html" if is_page else "application/json", body)
        if whole.usage is None:
            whole = msgspec.structs.replace(whole, usage=scene.plan.usage)
        if whole.text and question.on_text is not None and not whole.problem:
            question.on_text(whole.text)
        return finished(whole, question, trace)
