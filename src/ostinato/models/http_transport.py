"""The way to a model server: one HTTP exchange, with timeouts by phase and limits on everything.

Knows nothing of retries. Whatever a network or a server does ends as a reply, a reply with a problem, or a failure.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ostinato.domain.chat import ModelReply
from ostinato.domain.errors import OstinatoError
from ostinato.domain.values import Instant
from ostinato.models.chat_model import Question, Trace, estimated, finished
from ostinato.models.connections import Connections
from ostinato.models.dialect import Refused, StreamedReply
from ostinato.models.failures import (
    PERMANENT,
    TRANSIENT,
    Failure,
    failure_of_error,
    failure_of_status,
    plain,
    retry_after_s,
)
from ostinato.models.reply import Whole
from ostinato.models.server_events import EventReader
from ostinato.models.settings import Timeouts

if TYPE_CHECKING:
    import aiohttp

REPLY_MAX_BYTES = 8 * 1024 * 1024
"""Longest reply, streamed or not: 2 million tokens, more than any model writes."""

ERROR_MAX_BYTES = 64 * 1024
"""How much of an error's body is read."""

LARGE_BODY_BYTES = 1024 * 1024
"""From here on a request is handed over in pieces, so that the loop is not held up."""

LINGER_S = 0.25
"""How long the end of a stream's transport is waited for after its last event, so that the connection can be kept."""

TOO_LONG = f"the reply is longer than {REPLY_MAX_BYTES // (1024 * 1024)} MiB"


class Patience:
    """How long an exchange may still take. Each piece that comes in begins the time for the next one."""

    __slots__ = ("_limit", "_silence_s", "_total_at", "phase")

    def __init__(self, limit: asyncio.Timeout, timeouts: Timeouts) -> None:
        self._limit = limit
        self._silence_s = timeouts.silence_s
        self._total_at = asyncio.get_running_loop().time() + timeouts.total_s
        self.phase = "no answer"

    def heard(self) -> None:
        """Something came in."""
        self.phase = "silence in the middle of the answer"
        at = asyncio.get_running_loop().time() + self._silence_s
        if at > self._total_at:
            at, self.phase = self._total_at, "an answer without an end"
        self._limit.reschedule(at)


class HttpTransport:
    """Exchanges with one server. `base_url` is up to `/v1`, or finds it when it is first needed."""

    def __init__(
        self,
        base_url: str | Callable[[], Awaitable[str]],
        *,
        connections: Connections,
        now: Callable[[], Instant],
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._base_url = base_url
        self._connections = connections
        self._now = now
        self._timeouts = timeouts
        self._client_timeout: aiohttp.ClientTimeout | None = None

    async def exchange(self, question: Question, trace: Trace) -> ModelReply | Failure:
        """One attempt (see `Transport`): everything that a network can do is turned into a failure."""
        import aiohttp  # heavy, see connections.py

        timeouts = self._timeouts
        if self._client_timeout is None:
            self._client_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s)
        try:
            url = self._base_url if isinstance(self._base_url, str) else await self._base_url()
        except OstinatoError as error:
            return Failure(error_class=PERMANENT, text=error.message, cure=error.cure)
        limit = asyncio.timeout(min(timeouts.connect_s + timeouts.first_byte_s, timeouts.total_s))
        patience = Patience(limit, timeouts)
        try:
            async with limit:
                return await self._post(
                    f"{url.rstrip('/')}/{question.dialect.path}", question, _Attempt(trace, patience)
                )
        except aiohttp.ConnectionTimeoutError:
            return Failure(error_class=TRANSIENT, text=f"no connection within {timeouts.connect_s:g} s", again=True)
        except TimeoutError:
            return Failure(error_class=TRANSIENT, text=f"given up after {patience.phase}")
        except (aiohttp.InvalidURL, aiohttp.ClientSSLError) as error:
            text = plain(str(error) or type(error).__name__)
            return Failure(error_class=PERMANENT, text=f"no way to the server: {text}", cure="Check `base_url`.")
        except aiohttp.ServerDisconnectedError:
            # Most often a kept connection that the server has closed just now.
            text = "the server hung up without an answer"
            return Failure(error_class=TRANSIENT, text=text, again=True, at_once=True)
        except aiohttp.ClientPayloadError:
            return Failure(error_class=TRANSIENT, text="the answer broke off", again=True)
        except aiohttp.ClientResponseError as error:
            text = plain(error.message.splitlines()[0] if error.message else "")
            return Failure(error_class=TRANSIENT, text=f"the answer is no HTTP: {text}", again=True)
        except (aiohttp.ClientError, OSError, EOFError) as error:
            text = plain(str(error) or type(error).__name__)
            return Failure(error_class=TRANSIENT, text=f"the connection failed: {text}", again=True)

    async def _post(self, url: str, question: Question, attempt: _Attempt) -> ModelReply | Failure:
        body = question.body if len(question.body) < LARGE_BODY_BYTES else io.BytesIO(question.body)
        async with self._connections.session().post(
            url, data=body, headers=_headers(question), allow_redirects=False, timeout=self._client_timeout
        ) as response:
            trace = attempt.trace
            trace.status = response.status
            trace.request_id = plain(request_id(response.headers))
            if not 200 <= response.status < 300:
                return await self._refusal(response, question, attempt)
            if response.content_type == "text/event-stream":
                return await _streamed(response, question, attempt)
            return await _in_one_piece(response, question, attempt)

    async def _refusal(self, response: aiohttp.ClientResponse, question: Question, attempt: _Attempt) -> Failure:
        body, _ = await _read(response, attempt.patience, most=ERROR_MAX_BYTES)
        return failure_of_status(
            response.status,
            body,
            after_s=retry_after_s(response.headers, self._now()),
            key_name=question.key_name,
        )


class _Attempt:
    """What goes along with one exchange."""

    __slots__ = ("patience", "trace")

    def __init__(self, trace: Trace, patience: Patience) -> None:
        self.trace = trace
        self.patience = patience


def request_id(headers: Mapping[str, str]) -> str:
    """What the provider calls this exchange, for questions to its people."""
    return str(headers.get("x-request-id") or headers.get("request-id") or "")


def _headers(question: Question) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if question.stream else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "ostinato",
    }
    headers.update(question.dialect.headers(question.key))
    return headers


async def _in_one_piece(
    response: aiohttp.ClientResponse, question: Question, attempt: _Attempt
) -> ModelReply | Failure:
    body, complete = await _read(response, attempt.patience, most=REPLY_MAX_BYTES)
    if not complete:
        return finished(Whole(problem=TOO_LONG, text=body[:1000].decode(errors="replace")), question, attempt.trace)
    whole = question.dialect.read(body, asked=question.request.model)
    if whole is None:
        return no_json(response.content_type, body)
    if isinstance(whole, Refused):
        return failure_of_error(whole.error, key_name=question.key_name)
    if whole.text and question.on_text is not None and not whole.problem:
        question.on_text(whole.text)
    return finished(whole, question, attempt.trace)


async def _streamed(response: aiohttp.ClientResponse, question: Question, attempt: _Attempt) -> ModelReply | Failure:
    reply = question.dialect.stream(question.on_text, asked=question.request.model)
    ended = False
    try:
        problem = await _read_events(response, attempt.patience, reply)
        whole = reply.whole()
        if problem:
            whole = msgspec.structs.replace(whole, problem=problem)
        ended = bool(reply.ended or whole.problem) and reply.error is None
    finally:
        if not ended:  # what was said before it broke off is paid for, and may have been read
            whole = reply.whole()
            attempt.trace.usage = reply.usage or estimated(question, whole)
            attempt.trace.told = question.on_text is not None and bool(whole.text)
    if ended:
        return finished(whole, question, attempt.trace)
    if reply.error is not None:
        return failure_of_error(reply.error, key_name=question.key_name)
    return Failure(error_class=TRANSIENT, text="the stream ended in the middle of the answer", again=True)


async def _read(response: aiohttp.ClientResponse, patience: Patience, *, most: int) -> tuple[bytes, bool]:
    """The body, and whether that was all of it: no more than `most` bytes are kept."""
    content = response.content
    blocks: list[bytes] = []
    size = 0
    while block := await content.readany():
        blocks.append(block)
        size += len(block)
        if size > most:
            return b"".join(blocks)[:most], False
        if not content.is_eof():
            patience.heard()
    return b"".join(blocks), True


async def _read_events(response: aiohttp.ClientResponse, patience: Patience, reply: StreamedReply) -> str:
    """Feed the stream into `reply`; returns what is wrong with the stream as a whole, or nothing."""
    reader, content, size = EventReader(), response.content, 0
    while block := await content.readany():
        size += len(block)
        if size > REPLY_MAX_BYTES:
            return TOO_LONG
        for data in reader.feed(block):
            reply.add(data)
        if reply.done:
            await _linger(content)
            return ""
        patience.heard()
    for data in reader.rest():
        reply.add(data)
    return ""


async def _linger(content: aiohttp.StreamReader) -> None:
    """Read to the end, so that the connection can be used again; a server that keeps it open loses it."""
    if content.at_eof():
        return
    try:
        async with asyncio.timeout(LINGER_S):
            if await content.readany():
                return  # more after the last event: such a connection is not worth keeping
    except TimeoutError:
        pass


def no_json(kind: str, body: bytes) -> Failure:
    """The failure of a page of a proxy, or of half a reply. `kind`: its content type."""
    said = plain(body[:2000].decode("utf-8", "replace"))[:100]
    text = f"the answer is no JSON object ({plain(kind)}): {said!r}" if body else f"the answer is empty ({plain(kind)})"
    return Failure(error_class=TRANSIENT, text=text, cure="If it stays so, check `base_url`.", again=True)
