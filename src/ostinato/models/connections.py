"""The one HTTP client of all models: connections are kept and shared, and nothing is remembered between calls but them.

Knows nothing of dialects. aiohttp is loaded with the first call: it takes a tenth of a second and 14 MB.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

CONNECTIONS_MAX = 256
"""Open connections to all servers together; five times the calls that a busy node makes at once."""

KEEP_ALIVE_S = 30.0
"""Seconds that an idle connection is kept; below the usual 60 of servers, so that they seldom hang up first."""


class Connections:
    """Opens the client when it is first needed, in the loop that needs it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def session(self) -> aiohttp.ClientSession:
        """The shared client. Its own timeouts are off: each exchange counts its own."""
        import aiohttp  # heavy, and a fleet with nothing to do never needs it

        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                auto_decompress=False,  # identity is asked for; whatever else comes is no bomb that we unpack
                trust_env=any(name.lower().endswith("_proxy") for name in os.environ),
            )
        return self._session

    async def close(self) -> None:
        """Close what is open; twice is fine, and the next call opens it anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
