"""The HTTP client that the library's providers are given: what a server answers is kept within limits, and told.

So that an answer means the same whoever reads it, it is judged here as it came: its status, what a server says of
itself, and that it is JSON at all. Most of the library's providers take such a client; of the others nothing is seen.
Knows nothing of what the library makes of an answer.
"""

from __future__ import annotations

import contextvars
import inspect
import typing
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.domain.chat import ModelReply
from ostinato.domain.values import Instant
from ostinato.models.chat_model import Question, Trace, finished
from ostinato.models.failures import (
    TRANSIENT,
    Failure,
    failure_of_error,
    failure_of_status,
    plain,
    retry_after_s,
)
from ostinato.models.http_transport import ERROR_MAX_BYTES, REPLY_MAX_BYTES, TOO_LONG, Patience, no_json, request_id
from ostinato.models.reply import DECODE_ERRORS, Whole

if TYPE_CHECKING:
    import httpx2

EVENTS = "text/event-stream"

SAID = ("choices", "content", "output", "candidates")
"""Where a reply has what a model said, by dialect; one with that is no error, whatever else it says."""


class Heard:
    """What has come over the wire in one exchange; of several answers the last."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.status = 0
        self.headers: typing.Mapping[str, str] = {}
        self.body = b""
        self.is_whole = False
        self.is_too_long = False

    @property
    def kind(self) -> str:
        """The content type, without what may stand behind it."""
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()


HEARD: contextvars.ContextVar[Heard] = contextvars.ContextVar("heard")
"""The exchange that is on its way in this task."""


class ListeningTransport:
    """A transport of httpx2 that reads each answer whole, within limits, before the library sees it. What is packed is
    not unpacked: nobody has asked for it, and it can be a thousand times as long."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One answer (see httpx2)."""
        import httpx2

        heard = HEARD.get()
        heard.is_whole = heard.is_too_long = False
        response = await self._inner.handle_async_request(request)
        heard.status, heard.headers, heard.body = response.status_code, response.headers, b""
        most = REPLY_MAX_BYTES if response.is_success else ERROR_MAX_BYTES
        try:
            await self._read(response, heard, most=most)
        finally:
            await response.aclose()
        if heard.is_too_long and response.is_success:
            raise httpx2.ReadError(TOO_LONG, request=request)
        left_out = (b"content-encoding", b"content-length", b"transfer-encoding")
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in left_out]
        return httpx2.Response(response.status_code, headers=headers, content=heard.body, request=request)

    async def _read(self, response: httpx2.Response, heard: Heard, *, most: int) -> None:
        blocks: list[bytes] = []
        size = 0
        try:
            async for block in response.aiter_raw():
                blocks.append(block)
                size += len(block)
                if size > most:
                    heard.is_too_long = True
                    return
                heard.patience.heard()
            heard.is_whole = True
        finally:
            heard.body = b"".join(blocks)[:most]

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()

    async def __aenter__(self) -> ListeningTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *ends: Any) -> None:
        await self._inner.__aexit__(*ends)


def client_for(kind: type, *, connect_s: float, total_s: float) -> httpx2.AsyncClient | None:
    """A client for one of the library's providers; None where that takes none of this make."""
    import httpx2

    try:
        taken = inspect.signature(kind, eval_str=True).parameters.get("http_client")
    except NameError:  # a type that only its type checker knows
        return None
    if taken is None or httpx2.AsyncClient not in typing.get_args(taken.annotation):
        return None
    return httpx2.AsyncClient(
        transport=typing.cast("Any", ListeningTransport(httpx2.AsyncHTTPTransport())),
        timeout=httpx2.Timeout(total_s, connect=connect_s),
        headers={"Accept-Encoding": "identity", "User-Agent": "ostinato"},
        follow_redirects=False,
        trust_env=False,
    )


def judged(heard: Heard, question: Question, trace: Trace, *, now: Instant) -> ModelReply | Failure | None:
    """What an answer is, by itself; None where it is for the library to read, or nothing was seen."""
    if not heard.status:
        return None
    trace.status = heard.status
    trace.request_id = plain(request_id(heard.headers))
    if not 200 <= heard.status < 300:
        after_s = retry_after_s(heard.headers, now)
        return failure_of_status(heard.status, heard.body, after_s=after_s, key_name=question.key_name)
    if heard.is_too_long:
        text = heard.body[:1000].decode(errors="replace")
        return finished(Whole(problem=TOO_LONG, text=text), question, trace)
    if not heard.is_whole:
        return Failure(error_class=TRANSIENT, text="the answer broke off", again=True)
    if heard.kind == EVENTS:
        return None
    found = _object(heard.body)
    if found is None:
        return no_json(heard.kind, heard.body)
    if found.get("error") is not None and not any(found.get(each) for each in SAID):
        return failure_of_error(found["error"], key_name=question.key_name)
    return None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return None
    return found if isinstance(found, dict) else None
