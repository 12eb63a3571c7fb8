"""A model server that asks a real one, and writes each exchange into a script. No header is ever written.

Knows nothing of fleets: where the real server is, and what is secret, is handed in.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ostinato.domain.errors import Conflict, Exhausted
from ostinato.domain.values import Value
from ostinato.models.chat_model import Provider
from ostinato.models.connections import Connections
from ostinato.models.dialect import Refused
from ostinato.models.http_transport import REPLY_MAX_BYTES
from ostinato.models.scripted.faces import face_of
from ostinato.models.scripted.recording import Exchange, Refusal, Secrets, script_text
from ostinato.models.scripted.script import Seen
from ostinato.models.scripted.server import REQUEST_MAX_BYTES, STOP_S, body_or_none, until_signalled
from ostinato.models.scripted.wire import BadRequest, seen_of
from ostinato.models.server_events import EventReader

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web

TOTAL_S = 900.0
"""How long one exchange may take: longer than any asker waits."""

ERROR_BODY_MAX = 4_000
"""Characters of an error that are recorded."""

STATUS_MAX = 599
"""The highest status that a script can say."""

KEYS_MAX = 100
"""Keys of askers that are looked for."""

_PASSED_ON = ("content-type", "anthropic-version", "anthropic-beta", "authorization", "x-api-key", "accept")
_PASSED_BACK = ("content-type", "retry-after", "retry-after-ms", "request-id", "x-request-id")


class Source(Value):
    """The real server. `key` is sent where the asker sends none of its own; in no message, and in no recording."""

    provider: Provider
    key: str = ""
    secrets: tuple[str, ...] = ()
    """Further values that must not be recorded."""


class Recorder:
    """Answers as the real server does, and writes it down. Start and stop in the same loop; stopping twice is fine."""

    def __init__(self, source: Source, script: Path, *, told: Callable[[str], None] = lambda words: None) -> None:
        self._source = source
        self._script = script
        self._told = told
        self._exchanges: list[Exchange] = []
        self._known = {source.key, *source.secrets}
        self._secrets = Secrets(self._known)
        self._connections = Connections()
        self._runner: web.ServerRunner | None = None
        self.url = ""
        """`http://host:port/v1` once started."""

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises Conflict where that cannot be, or the script is there already."""
        from aiohttp import web

        try:
            os.close(os.open(self._script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError as error:
            raise Conflict(f"{self._script} is there already", cure="Name another file, or remove it.") from error
        except OSError as error:
            raise Conflict(f"{self._script} cannot be written: {error.strerror}", cure="Name another file.") from error
        try:
            runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=STOP_S)
            await runner.setup()
            self._runner = runner
            await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:
            await self.stop()
            words = f"the recorder cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}"
            raise Conflict(words, cure="Choose another port, or 0 for any free one.") from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        """Stop listening. A recording without an exchange leaves no file behind."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            if not self._exchanges:
                self._script.unlink(missing_ok=True)
        await self._connections.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import ClientError, web

        body = await body_or_none(request)
        if body is None:
            return web.Response(status=413, text=f"longer than {REQUEST_MAX_BYTES} bytes")
        try:
            async with asyncio.timeout(TOTAL_S):
                return await self._exchange(request, body)
        except (ClientError, TimeoutError, OSError) as error:
            words = self._secrets.removed_from(f"the real server cannot be reached: {error}")
            self._told(words)
            return web.Response(status=502, text=words)

    async def _exchange(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        from aiohttp import web

        provider = self._source.provider
        path = request.path_qs.removeprefix("/v1").lstrip("/")
        url = f"{provider.base_url.rstrip('/')}/{path}"
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers |= {"Accept-Encoding": "identity", "User-Agent": "ostinato"}
        if "authorization" not in headers and "x-api-key" not in headers:
            headers |= provider.dialect.headers(self._source.key)
        self._learn_keys(headers)
        session = self._connections.session()
        async with session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        ) as real:
            given = {name: real.headers[name] for name in _PASSED_BACK if name in real.headers}
            response = web.StreamResponse(status=real.status, headers=given)
            await response.prepare(request)
            told = bytearray()
            async for block in real.content.iter_any():
                told += block[: REPLY_MAX_BYTES + 1 - len(told)]
                await response.write(block)
            if path.partition("?")[0] == provider.dialect.path and request.method == "POST":
                self._record(body, bytes(told), real)
            return response

    def _learn_keys(self, headers: Mapping[str, str]) -> None:
        """An asker may send a key of its own, and a server may say it again."""
        sent = {headers[name].removeprefix("Bearer ") for name in ("authorization", "x-api-key") if name in headers}
        if not sent <= self._known and len(self._known) < KEYS_MAX:
            self._known |= sent
            self._secrets = Secrets(self._known)

    def _record(self, asked: bytes, told: bytes, real: aiohttp.ClientResponse) -> None:
        seen = self._seen(asked)
        if seen is None:
            return
        if len(told) > REPLY_MAX_BYTES or real.status > STATUS_MAX:
            self._told("an answer that is longer than any model reads, or of an unknown status, was not recorded")
            return
        if real.status >= 300:
            text = self._secrets.removed_from(told.decode("utf-8", "replace"))[:ERROR_BODY_MAX]
            retry_after = real.headers.get("retry-after", "")
            exchange = Exchange(seen=seen, reply=Refusal(status=real.status, body=text, retry_after=retry_after))
        else:
            dialect = self._source.provider.dialect
            if real.content_type == "text/event-stream":
                reader, stream = EventReader(), dialect.stream(None, asked=seen.model)
                for data in (*reader.feed(told), *reader.rest()):
                    stream.add(data)
                whole = stream.whole()
            else:
                found = dialect.read(told, asked=seen.model)
                if found is None or isinstance(found, Refused):
                    self._told("a reply that is none of this dialect was not recorded")
                    return
                whole = found
            exchange = Exchange(seen=seen, reply=whole)
        self._keep(exchange)

    def _seen(self, asked: bytes) -> Seen | None:
        try:
            request, _ = face_of(self._source.provider.dialect.name).read(asked)
        except BadRequest as error:
            self._told(self._secrets.removed_from(f"a request was not recorded: {error}"))
            return None
        return seen_of(request, attempt=1, prompt_bytes=len(asked))

    def _keep(self, exchange: Exchange) -> None:
        """The script anew, whole or not at all."""
        try:
            text = script_text([*self._exchanges, exchange], self._secrets)
        except Exhausted as error:
            self._told(str(error))
            return
        self._exchanges.append(exchange)
        unfinished = self._script.with_name(f".{self._script.name}.{os.getpid()}")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as opened:
            opened.write(text)
        unfinished.replace(self._script)


def record(
    source: Source,
    script: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None],
    told: Callable[[str], None],
) -> None:
    """Record until SIGINT or SIGTERM. `ready` is told the URL up to `/v1` once it listens, `told` what could not be
    recorded. Raises Conflict where it cannot listen or write."""

    async def serve() -> None:
        recorder = Recorder(source, script, told=told)
        await until_signalled(
            lambda: recorder.start(host=host, port=port), lambda: ready(recorder.url), stop=recorder.stop
        )

    asyncio.run(serve())
