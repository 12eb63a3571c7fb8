"""A model of a provider: one `ask`, with its attempts and waits.

Retries live here and nowhere else, so that each attempt is one row of the ledger. They are few and within seconds; a
provider that wants more time than that is left to whoever schedules the task. Knows nothing of tasks or sessions, and
leaves words to a dialect and the way to the server to a transport.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from ostinato.domain.budget import Price
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest, Usage
from ostinato.domain.values import Value
from ostinato.engine.port import Clock
from ostinato.models.dialect import Dialect, Options, names_of
from ostinato.models.failures import PERMANENT, RATE_LIMITED, Failure
from ostinato.models.keys import KeyMissing, read_key
from ostinato.models.openai.dialect import OPENAI
from ostinato.models.reply import Whole, reply_of
from ostinato.models.settings import ModelSettings
from ostinato.models.tool_names import ToolNames

ATTEMPTS_MAX = 3
"""HTTP attempts of one call."""

BACKOFF_S = 0.5
"""Wait before the second attempt; doubles, with up to half of it random."""

RETRY_WAIT_MAX_S = 5.0
"""Longest `Retry-After` that is waited for here: beyond it a task should give its place to another. For so long, too,
all calls of this model keep to what one was told; by then it stands in the store, for tasks to go by."""

SPREAD_S = 1.0
"""Calls that waited for the same moment begin again over as much as they waited for, and at most so much."""

PROBLEM_TEXT_MAX = 16_384
"""Characters of text that are kept of a reply that is no use."""


class Provider(Value):
    """Where a provider is, and how it differs from the others that speak its dialect."""

    base_url: str = ""
    api_key_env: str = ""
    completion_limit: bool = False
    """The output limit is called `max_completion_tokens`."""
    dialect: Dialect = OPENAI


class Question(Value):
    """What stays the same over the attempts of one call."""

    request: ModelRequest
    names: ToolNames
    body: bytes
    dialect: Dialect
    stream: bool
    key: str
    """The API key; in no message."""
    key_name: str
    on_text: Callable[[str], None] | None


class Trace:
    """One attempt as it goes: what the ledger wants to know even when it fails."""

    __slots__ = ("request_id", "status", "told", "usage")

    def __init__(self) -> None:
        self.status = 0
        self.request_id = ""
        self.usage = Usage()
        self.told = False
        """Somebody has read a part of the text already: another attempt would tell it again."""


class Transport(Protocol):
    """The way to a server and back, once."""

    async def exchange(self, question: Question, trace: Trace) -> ModelReply | Failure:
        """One attempt; every failure of the way is a value. `trace` is filled as soon as something is known."""


def _host_of(url: str) -> str:
    """Host and port, without a name and password that may stand before them; empty where it has none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


class ChatModel:
    """One model of one provider (see `Model`). Built from settings; connects with the first call."""

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        transport: Transport,
        *,
        clock: Clock,
        access: Provider = Provider(),  # noqa: B008 - frozen
        price: Price | None = None,
        environment: Mapping[str, str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.provider = settings.provider
        self.model = settings.model
        self.host = _host_of(access.base_url)
        self.context_tokens = settings.context_tokens
        self.output_tokens_max = settings.output_tokens_max
        self.price = price
        self._settings = settings
        self._transport = transport
        self._access = access
        self._clock = clock
        self._environment = environment
        self._jitter = jitter
        self._asked_until_s = self._heeded_until_s = float("-inf")
        """Until when the server wants to be left alone, and until when calls know it by this; on the steady clock."""

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_attempt: Callable[[HttpAttempt], None],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """One complete reply (see `Model.ask`). Raises ModelFailed, and nothing else but cancellation."""
        question = self._question(request, on_text)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            await self._let_alone()
            outcome = await self._attempt(question, on_attempt)
            if isinstance(outcome, ModelReply):
                return outcome
            if outcome.after_s is not None:
                self._heed(outcome.after_s)
            wait_s = self._wait_s(outcome, attempt)
            if outcome.again and wait_s > RETRY_WAIT_MAX_S:
                outcome = msgspec.structs.replace(outcome, error_class=RATE_LIMITED, again=False)
            if not outcome.again or attempt == ATTEMPTS_MAX:
                raise outcome.as_error(self.name)
            spread_s = 0.0 if outcome.after_s is None else min(wait_s, SPREAD_S) * self._jitter()
            await self._clock.sleep(wait_s + spread_s)
        raise AssertionError("the last attempt returns or raises")

    def _heed(self, after_s: float) -> None:
        now_s = self._clock.elapsed_s()
        if now_s + after_s > self._asked_until_s:
            self._asked_until_s = now_s + after_s
            self._heeded_until_s = now_s + min(after_s, RETRY_WAIT_MAX_S)

    async def _let_alone(self) -> None:
        """Waits, where another call was told to come later; raises ModelFailed where that is too long, and nothing was
        sent."""
        for _ in range(ATTEMPTS_MAX):
            now_s = self._clock.elapsed_s()
            if now_s >= self._heeded_until_s:
                return
            wait_s = self._asked_until_s - now_s
            if wait_s > RETRY_WAIT_MAX_S:
                break
            await self._clock.sleep(wait_s + min(wait_s, SPREAD_S) * self._jitter())
        else:
            wait_s = max(self._asked_until_s - self._clock.elapsed_s(), SPREAD_S)
        text = "not asked: another call was told to come later"
        raise Failure(error_class=RATE_LIMITED, text=text, after_s=wait_s).as_error(self.name)

    async def close(self) -> None:
        """Nothing of its own is open: connections belong to the catalogue."""

    def _question(self, request: ModelRequest, on_text: Callable[[str], None] | None) -> Question:
        settings, access = self._settings, self._access
        if request.temperature is None and settings.temperature is not None:
            request = msgspec.structs.replace(request, temperature=settings.temperature)
        if request.effort is None and settings.effort is not None:
            request = msgspec.structs.replace(request, effort=settings.effort)
        try:
            key = read_key(access.api_key_env, self._environment)
        except KeyMissing as error:
            cure = f"Set {access.api_key_env} in the environment of the node, and start it anew."
            raise Failure(error_class=PERMANENT, text=str(error), cure=cure).as_error(self.name) from None
        names = names_of(request)
        options = Options(stream=settings.stream, completion_limit=access.completion_limit, thinking=settings.thinking)
        return Question(
            request=request,
            names=names,
            body=access.dialect.encode(request, names, options),
            dialect=access.dialect,
            stream=settings.stream,
            key=key,
            key_name=access.api_key_env,
            on_text=on_text,
        )

    def _wait_s(self, failure: Failure, attempt: int) -> float:
        if failure.after_s is not None:
            return failure.after_s
        if failure.at_once and attempt == 1:
            return 0.0
        base = BACKOFF_S * 2 ** (attempt - 1)
        return float(base + base / 2 * self._jitter())

    async def _attempt(self, question: Question, on_attempt: Callable[[HttpAttempt], None]) -> ModelReply | Failure:
        """One try, told to `on_attempt` however it ends, cancellation included."""
        started_s = self._clock.elapsed_s()
        trace = Trace()
        error = "cancelled"
        try:
            outcome = await self._transport.exchange(question, trace)
            error = outcome.text if isinstance(outcome, Failure) else outcome.problem
            if isinstance(outcome, Failure) and trace.told:
                return msgspec.structs.replace(outcome, again=False)
            return outcome
        finally:
            on_attempt(
                HttpAttempt(
                    provider=self.provider,
                    model=self.model,
                    status=trace.status,
                    duration_ms=(self._clock.elapsed_s() - started_s) * 1000,
                    usage=trace.usage,
                    error=error,
                    request_id=trace.request_id,
                )
            )


def finished(whole: Whole, question: Question, trace: Trace) -> ModelReply:
    """The reply with its usage; estimated where the provider named none, as nothing is free by silence."""
    if whole.usage is None:
        whole = msgspec.structs.replace(whole, usage=estimated(question, whole))
    reply = reply_of(whole, question.request, question.names)
    if reply.problem and len(reply.text) > PROBLEM_TEXT_MAX:
        reply = msgspec.structs.replace(reply, text=reply.text[:PROBLEM_TEXT_MAX])
    trace.usage = reply.usage
    return reply


def estimated(question: Question, whole: Whole) -> Usage:
    """Tokens by bytes, 4 of them a token."""
    said = len(whole.text) + sum(len(call.name) + len(call.arguments) for call in whole.calls)
    return Usage(input_tokens=(len(question.body) + 3) // 4, output_tokens=(said + 3) // 4)
