"""A model behind the OpenAI chat dialect: one `ask`, with its attempts, timeouts and limits.

Retries live here and nowhere else, so that each attempt is one row of the ledger. They are few and within seconds; a
provider that wants more time than that is left to whoever schedules the task. Knows nothing of tasks or sessions.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ostinato.domain.budget import Price
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest, Usage
from ostinato.domain.values import Value
from ostinato.engine.port import Clock
from ostinato.models.connections import Connections
from ostinato.models.failures import (
    PERMANENT,
    RATE_LIMITED,
    TRANSIENT,
    Failure,
    failure_of_error,
    failure_of_status,
    plain,
    retry_after_s,
)
from ostinato.models.keys import KeyMissing, read_key
from ostinato.models.openai_reply import Whole, decode_reply, reply_of, whole_of
from ostinato.models.openai_request import encode_request, names_of
from ostinato.models.openai_stream import EventReader, StreamedReply
from ostinato.models.settings import ModelSettings
from ostinato.models.tool_names import ToolNames

if TYPE_CHECKING:
    import aiohttp

ATTEMPTS_MAX = 3
"""HTTP attempts of one call."""

BACKOFF_S = 0.5
"""Wait before the second attempt; doubles, with up to half of it random."""

RETRY_WAIT_MAX_S = 5.0
"""Longest `Retry-After` that is waited for here: beyond it a task should give its place to another."""

REPLY_MAX_BYTES = 8 * 1024 * 1024
"""Longest reply, streamed or not: 2 million tokens, more than any model writes."""

ERROR_MAX_BYTES = 64 * 1024
"""How much of an error's body is read."""

PROBLEM_TEXT_MAX = 16_384
"""Characters of text that are kept of a reply that is no use."""

LARGE_BODY_BYTES = 1024 * 1024
"""From here on a request is handed over in pieces, so that the loop is not held up."""

LINGER_S = 0.25
"""How long the end of a stream's transport is waited for after its last event, so that the connection can be kept."""


class Dialect(Value):
    """Where a provider's dialect differs from the others'."""

    base_url: str
    api_key_env: str = ""
    completion_limit: bool = False
    """The output limit is called `max_completion_tokens`."""


class _Exchange:
    """One attempt as it goes: what the ledger wants to know even when it fails."""

    __slots__ = ("body_bytes", "limit", "phase", "request_id", "silence_s", "status", "told", "total_at", "usage")

    def __init__(self, body_bytes: int) -> None:
        self.body_bytes = body_bytes
        self.status = 0
        self.request_id = ""
        self.usage = Usage()
        self.told = False
        """Somebody has read a part of the text already: another attempt would tell it again."""
        self.phase = "no answer"
        self.limit: asyncio.Timeout
        self.silence_s = 0.0
        self.total_at = 0.0

    def heard(self) -> None:
        """Something came in: the time for the next piece begins."""
        self.phase = "silence in the middle of the answer"
        at = asyncio.get_running_loop().time() + self.silence_s
        if at > self.total_at:
            at, self.phase = self.total_at, "an unfinished answer"
        self.limit.reschedule(at)


class _Question(Value):
    """What stays the same over the attempts of one call."""

    request: ModelRequest
    names: ToolNames
    body: bytes
    headers: dict[str, str]
    key: str
    on_text: Callable[[str], None] | None


class OpenAIChat:
    """One model of one provider. Built from settings; connects with the first call."""

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        dialect: Dialect,
        *,
        connections: Connections,
        clock: Clock,
        price: Price | None = None,
        environment: Mapping[str, str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.provider = settings.provider
        self.model = settings.model
        self.context_tokens = settings.context_tokens
        self.output_tokens_max = settings.output_tokens_max
        self.price = price
        self._settings = settings
        self._dialect = dialect
        self._url = f"{dialect.base_url.rstrip('/')}/chat/completions"
        self._connections = connections
        self._clock = clock
        self._environment = environment
        self._jitter = jitter

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
            outcome = await self._attempt(question, on_attempt)
            if isinstance(outcome, ModelReply):
                return outcome
            wait_s = self._wait_s(attempt) if outcome.after_s is None else outcome.after_s
            if outcome.again and wait_s > RETRY_WAIT_MAX_S:
                outcome = msgspec.structs.replace(outcome, error_class=RATE_LIMITED, again=False)
            if not outcome.again or attempt == ATTEMPTS_MAX:
                raise outcome.as_error(self.name)
            await self._clock.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Nothing of its own is open: the connections belong to the catalogue."""

    def _question(self, request: ModelRequest, on_text: Callable[[str], None] | None) -> _Question:
        settings = self._settings
        if request.temperature is None and settings.temperature is not None:
            request = msgspec.structs.replace(request, temperature=settings.temperature)
        if request.effort is None and settings.effort is not None:
            request = msgspec.structs.replace(request, effort=settings.effort)
        names = names_of(request)
        body = encode_request(request, names, stream=settings.stream, completion_limit=self._dialect.completion_limit)
        try:
            key = read_key(self._dialect.api_key_env, self._environment)
        except KeyMissing as error:
            cure = f"Set {self._dialect.api_key_env} in the environment of the node, and start it anew."
            raise Failure(error_class=PERMANENT, text=str(error), cure=cure).as_error(self.name) from None
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if settings.stream else "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "ostinato",
        }
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return _Question(request=request, names=names, body=body, headers=headers, key=key, on_text=on_text)

    def _wait_s(self, attempt: int) -> float:
        base = BACKOFF_S * 2 ** (attempt - 1)
        return float(base + base / 2 * self._jitter())

    async def _attempt(self, question: _Question, on_attempt: Callable[[HttpAttempt], None]) -> ModelReply | Failure:
        """One try, told to `on_attempt` however it ends, cancellation included."""
        started_s = self._clock.elapsed_s()
        exchange = _Exchange(len(question.body))
        error = "cancelled"
        try:
            outcome = await self._guarded(question, exchange)
            error = outcome.text if isinstance(outcome, Failure) else outcome.problem
            if isinstance(outcome, Failure) and exchange.told:
                return msgspec.structs.replace(outcome, again=False)
            return outcome
        finally:
            on_attempt(
                HttpAttempt(
                    provider=self.provider,
                    model=self.model,
                    status=exchange.status,
                    duration_ms=(self._clock.elapsed_s() - started_s) * 1000,
                    usage=exchange.usage,
                    error=error,
                    request_id=exchange.request_id,
                )
            )

    async def _guarded(self, question: _Question, exchange: _Exchange) -> ModelReply | Failure:
        """The exchange, with everything that a network can do turned into a failure."""
        import aiohttp  # heavy, see connections.py

        try:
            return await self._exchange(question, exchange)
        except aiohttp.ConnectionTimeoutError:
            text = f"no connection within {self._settings.timeouts.connect_s:g} s"
            return Failure(error_class=TRANSIENT, text=text, again=True)
        except TimeoutError:
            return Failure(error_class=TRANSIENT, text=f"given up after {exchange.phase}")
        except (aiohttp.InvalidURL, aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            text = plain(str(error) or type(error).__name__, secret=question.key)
            return Failure(error_class=PERMANENT, text=text, cure="Check `base_url`.")
        except (aiohttp.ClientError, OSError, EOFError) as error:
            text = plain(str(error) or type(error).__name__, secret=question.key)
            return Failure(error_class=TRANSIENT, text=f"the connection failed: {text}", again=True)

    async def _exchange(self, question: _Question, exchange: _Exchange) -> ModelReply | Failure:
        timeouts = self._settings.timeouts
        exchange.silence_s = timeouts.silence_s
        exchange.total_at = asyncio.get_running_loop().time() + timeouts.total_s
        body = question.body if len(question.body) < LARGE_BODY_BYTES else io.BytesIO(question.body)
        first_s = min(timeouts.connect_s + timeouts.first_byte_s, timeouts.total_s)
        async with asyncio.timeout(first_s) as limit:
            exchange.limit = limit
            async with self._connections.session().post(
                self._url, data=body, headers=question.headers, allow_redirects=False
            ) as response:
                exchange.status = response.status
                exchange.request_id = plain(response.headers.get("x-request-id", ""))
                if not 200 <= response.status < 300:
                    return await self._refusal(response, question, exchange)
                if response.content_type == "text/event-stream":
                    return await self._streamed(response, question, exchange)
                return await self._whole(response, question, exchange)

    async def _refusal(self, response: aiohttp.ClientResponse, question: _Question, exchange: _Exchange) -> Failure:
        body, _ = await _read(response, exchange, most=ERROR_MAX_BYTES)
        return failure_of_status(
            response.status,
            body,
            after_s=retry_after_s(response.headers, self._clock.now()),
            key_name=self._dialect.api_key_env,
            secret=question.key,
        )

    async def _whole(
        self, response: aiohttp.ClientResponse, question: _Question, exchange: _Exchange
    ) -> ModelReply | Failure:
        """A reply in one piece."""
        body, complete = await _read(response, exchange, most=REPLY_MAX_BYTES)
        if not complete:
            return self._finish(
                question, exchange, Whole(problem=_too_long(), text=body[:1000].decode(errors="replace"))
            )
        found = decode_reply(body)
        if found is None:
            return _no_json(response, body, question.key)
        if found.error is not None and not found.choices:
            return failure_of_error(found.error, key_name=self._dialect.api_key_env, secret=question.key)
        whole = whole_of(found)
        if whole.text and question.on_text is not None and not whole.problem:
            question.on_text(whole.text)
        return self._finish(question, exchange, whole)

    async def _streamed(
        self, response: aiohttp.ClientResponse, question: _Question, exchange: _Exchange
    ) -> ModelReply | Failure:
        """A reply as server-sent events."""
        reader, reply = EventReader(), StreamedReply(question.on_text)
        try:
            problem = await _read_events(response, exchange, reader=reader, reply=reply)
        except BaseException:  # whatever stopped it: what was said so far is paid for
            self._note_unfinished(question, exchange, reply)
            raise
        whole = reply.whole()
        if problem:
            return self._finish(question, exchange, msgspec.structs.replace(whole, problem=problem))
        if reply.error is not None:
            self._note_unfinished(question, exchange, reply)
            return failure_of_error(reply.error, key_name=self._dialect.api_key_env, secret=question.key)
        if not (reply.ended or whole.problem):
            self._note_unfinished(question, exchange, reply)
            return Failure(error_class=TRANSIENT, text="the stream ended in the middle of the answer", again=True)
        return self._finish(question, exchange, whole)

    def _note_unfinished(self, question: _Question, exchange: _Exchange, reply: StreamedReply) -> None:
        """What was said before it broke off is paid for, and may have been read."""
        whole = reply.whole()
        exchange.usage = reply.usage or _estimate(exchange.body_bytes, whole)
        exchange.told = question.on_text is not None and bool(whole.text)

    def _finish(self, question: _Question, exchange: _Exchange, whole: Whole) -> ModelReply:
        """The reply with its usage; estimated where the provider named none, as nothing is free by silence."""
        if whole.usage is None:
            whole = msgspec.structs.replace(whole, usage=_estimate(exchange.body_bytes, whole))
        reply = reply_of(whole, question.request, question.names)
        if reply.problem and len(reply.text) > PROBLEM_TEXT_MAX:
            reply = msgspec.structs.replace(reply, text=reply.text[:PROBLEM_TEXT_MAX])
        exchange.usage = reply.usage
        return reply


async def _read(response: aiohttp.ClientResponse, exchange: _Exchange, *, most: int) -> tuple[bytes, bool]:
    """The body, and whether that was all of it: no more than `most` bytes are read."""
    content = response.content
    blocks: list[bytes] = []
    size = 0
    while block := await content.readany():
        blocks.append(block)
        size += len(block)
        if size > most:
            return b"".join(blocks)[:most], False
        exchange.heard()
    return b"".join(blocks), True


async def _read_events(
    response: aiohttp.ClientResponse, exchange: _Exchange, *, reader: EventReader, reply: StreamedReply
) -> str:
    """Feed the stream into `reply`; returns what is wrong with it as a whole, or nothing."""
    content, size = response.content, 0
    while block := await content.readany():
        size += len(block)
        if size > REPLY_MAX_BYTES:
            return _too_long()
        for data in reader.feed(block):
            reply.add(data)
        if reply.done:
            await _linger(content)
            return ""
        exchange.heard()
    for data in reader.rest():
        reply.add(data)
    return ""


async def _linger(content: aiohttp.StreamReader) -> None:
    """Read to the end, so that the connection can be used again; a server that keeps it open loses it."""
    try:
        async with asyncio.timeout(LINGER_S):
            while not content.at_eof() and await content.readany():
                pass
    except TimeoutError:
        pass


def _too_long() -> str:
    return f"the reply is longer than {REPLY_MAX_BYTES // (1024 * 1024)} MiB"


def _no_json(response: aiohttp.ClientResponse, body: bytes, secret: str) -> Failure:
    """A page of a proxy, or half a reply."""
    said = plain(body[:2000].decode("utf-8", "replace"), secret=secret)[:100]
    kind = response.content_type
    text = f"the answer is no JSON object ({kind}): {said!r}" if body else f"the answer is empty ({kind})"
    return Failure(error_class=TRANSIENT, text=text, cure="If it stays so, check `base_url`.", again=True)


def _estimate(body_bytes: int, whole: Whole) -> Usage:
    """Tokens by bytes: 4 of them a token."""
    said = len(whole.text) + sum(len(call.name) + len(call.arguments) for call in whole.calls)
    return Usage(input_tokens=(body_bytes + 3) // 4, output_tokens=(said + 3) // 4)
