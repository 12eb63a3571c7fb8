"""The one way by which tools of the runtime ask a foreign server anything.

Every hop of a request is judged anew: its host against what is declared, its addresses against what is public; the
connection goes to an address that came from that one look-up. Redirects are followed three times at most, and take
neither the caller's headers nor a body to another origin; credentials belong to the host of a hop. Everything has an
end: seconds, bytes, and bytes after unpacking. No cookies, no proxies of the environment. Knows nothing of tools.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ostinato.domain.errors import Denied, Exhausted, Invalid
from ostinato.domain.host import matches_host
from ostinato.domain.values import Value
from ostinato.tools.web.credentials import Credentials, filled
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.target import Target, following

if TYPE_CHECKING:
    import aiohttp

REDIRECTS_MAX = 3
"""That one request follows, each judged anew."""
BODY_BYTES_MAX = 4_194_304
"""Of an answer, unpacked; what is beyond is not read."""
TOTAL_S = 45.0
"""From the first look-up to the last byte, redirects included."""
CONNECT_S = 15.0
"""Until a host has answered a connection."""

_REDIRECTS = (301, 302, 303, 307, 308)
_KEEPING = (307, 308)
_PACKED = ("gzip", "x-gzip", "deflate")
_AGENT = {"User-Agent": "ostinato", "Accept-Encoding": "identity"}


class WebLimits(Value):
    """How much one request may take."""

    body_bytes: int = BODY_BYTES_MAX
    total_s: float = TOTAL_S


class WebRequest(Value):
    """What is asked, and what the asker may reach."""

    target: Target
    network: tuple[str, ...]
    """Hosts as TOOLS.md declares them."""
    bounds: tuple[tuple[str, ...], ...] = ()
    """Further lists of hosts, each of which must cover every hop, too."""
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    credentials: Credentials = {}


class WebAnswer(Value):
    """What came back."""

    target: Target
    """Where it came from, after redirects."""
    status: int
    headers: Mapping[str, str] = {}
    """By small letters; of several alike the last."""
    body: bytes = b""
    is_whole: bool = True
    opened: bool = False
    """True where a secret was sent for it, on whichever hop: it may be private."""

    @property
    def media_type(self) -> str:
        """Such as `text/html`; empty where it is not told."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def text(self) -> str | None:
        """The body as text; None where it is none."""
        if b"\0" in self.body[:4_096]:
            return None
        _, _, charset = self.headers.get("content-type", "").lower().partition("charset=")
        try:
            return self.body.decode(charset.partition(";")[0].strip("\"' ") or "utf-8", errors="replace")
        except (LookupError, ValueError):
            return self.body.decode(errors="replace")


class WebClient:
    """Asks servers, within limits."""

    def __init__(self, guard: Guard, *, limits: WebLimits = WebLimits()) -> None:  # noqa: B008 - frozen
        self._guard = guard
        self._limits = limits

    async def ask(self, request: WebRequest) -> WebAnswer:
        """The answer, after redirects.

        Raises Denied and Invalid for what may not be asked, Exhausted where the server cannot be reached. What goes
        wrong later with a request that changes something is raised as it is: nobody can tell what has happened.
        """
        import aiohttp  # heavy, and many fleets never need it

        safe = request.method == "GET"
        try:
            async with asyncio.timeout(self._limits.total_s):
                return await self._follow(request)
        except aiohttp.ClientConnectorError as error:
            raise Exhausted(f"{request.target.host} cannot be reached: {error.strerror or error}") from error
        except TimeoutError:
            if not safe:
                raise
            raise Exhausted(f"{request.target.host} did not answer within {self._limits.total_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
            if not safe:
                raise
            raise Exhausted(f"{request.target.host} did not answer in HTTP: {type(error).__name__}") from error

    async def _follow(self, request: WebRequest) -> WebAnswer:
        opened = False
        for _ in range(REDIRECTS_MAX + 1):
            answer = await self._hop(request)
            answer = replace(answer, opened=(opened := opened or answer.opened))
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            target = following(request.target, location)
            is_same = target.origin == request.target.origin
            if request.method != "GET" and not (is_same and answer.status in _KEEPING):
                return answer  # it has been sent; where to look next, the asker may decide
            if request.target.scheme == "https" and target.scheme == "http":
                raise Denied(f"{request.target.host} leads from https to http")
            request = replace(request, target=target, headers=request.headers if is_same else {})
        raise Denied(f"More than {REDIRECTS_MAX} redirects")

    async def _hop(self, request: WebRequest) -> WebAnswer:
        import aiohttp
        from yarl import URL

        target = request.target
        if not all(matches_host(target.declared, each) for each in request.bounds):
            raise Denied(f"{target.declared!r} is not for whoever asked for this")
        addresses = await self._guard.addresses(target, request.network)
        url = URL(target.url, encoded=True)
        if (url.host, url.port, url.scheme) != (target.host, target.port, target.scheme):
            raise Invalid("The address can be read in two ways")
        added = filled(target, request.credentials)
        headers = {**_AGENT, **request.headers, **added}
        connector = aiohttp.TCPConnector(resolver=_resolver(addresses), use_dns_cache=False, force_close=True)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                skip_auto_headers=("Content-Type",),
            ) as session,
            session.request(request.method, url, headers=headers, data=request.body, allow_redirects=False) as response,
        ):
            told = {name.lower(): value for name, value in response.headers.items()}
            is_redirect = response.status in _REDIRECTS and "location" in told
            body, is_whole = (b"", True) if is_redirect else await _body(response, most=self._limits.body_bytes)
            return WebAnswer(
                target=target, status=response.status, headers=told, body=body, is_whole=is_whole, opened=bool(added)
            )


def _resolver(addresses: Sequence[str]) -> aiohttp.abc.AbstractResolver:
    """Answers with the addresses that were judged, whatever is asked."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Pinned(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = AF_INET) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host, host=each, port=port, family=AF_INET6 if ":" in each else AF_INET, proto=0, flags=0
                )
                for each in addresses
            ]

        async def close(self) -> None:
            pass

    return Pinned()


async def _body(response: aiohttp.ClientResponse, *, most: int) -> tuple[bytes, bool]:
    """The body, unpacked, and whether that is all of it; a bomb is left where the limit is reached."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in (*_PACKED, "identity", ""):
        raise Denied(f"The answer is packed as {coding[:40]!r}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=47) if coding in _PACKED else None
    parts: list[bytes] = []
    left = most
    while block := await response.content.readany():
        if unpacker is not None:
            block = unpacker.decompress(block, left + 1)
        parts.append(block[:left])
        left -= len(block)
        if left < 0:
            return b"".join(parts), False
    return b"".join(parts), unpacker is None or unpacker.eof or not parts
