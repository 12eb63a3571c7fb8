"""Searching the web: one port, and the two providers that a fleet's file can name.

SearXNG is a program of one's own, asked without a key; Brave is a service with one. Knows nothing of tools.
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from ostinato.domain.errors import Exhausted
from ostinato.domain.values import Value
from ostinato.tools.web.client import WebAnswer, WebClient, WebRequest
from ostinato.tools.web.target import parse_target

BRAVE_URL = "https://api.search.brave.com/res/v1/web/search"
TITLE_CHARS_MAX = 200
"""Of the title of one page."""
TEXT_CHARS_MAX = 500
"""Of what a provider says about one page."""


class Hit(Value):
    """One page that was found."""

    title: str
    url: str
    text: str = ""


class Search(Protocol):
    """A provider."""

    @property
    def host(self) -> str:
        """Whom it asks, as `network` would declare it."""

    async def find(self, query: str, *, most: int) -> list[Hit]:
        """At most so many pages, the best first. Raises Exhausted where the provider cannot or will not answer."""


class SearxSearch:
    """A SearXNG server, whose settings allow answers in JSON."""

    def __init__(self, client: WebClient, url: str) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self.host = parse_target(self._url).declared

    async def find(self, query: str, *, most: int) -> list[Hit]:
        """See `Search`."""
        found = await _asked(self._client, f"{self._url}/search?{urlencode({'q': query, 'format': 'json'})}")
        return [_hit(each, text="content") for each in _listed(found.get("results"))[:most]]


class BraveSearch:
    """The service of that name. `key_env`: the secret that holds the key."""

    def __init__(self, client: WebClient, key_env: str, *, url: str = BRAVE_URL) -> None:
        self._client = client
        self._key_env = key_env
        self._url = url
        self.host = parse_target(url).declared

    async def find(self, query: str, *, most: int) -> list[Hit]:
        """See `Search`."""
        address = f"{self._url}?{urlencode({'q': query, 'count': most})}"
        found = await _asked(self._client, address, key=self._key_env)
        web = found.get("web")
        results = _listed(web.get("results") if isinstance(web, dict) else ())
        return [_hit(each, text="description") for each in results[:most]]


async def _asked(client: WebClient, url: str, *, key: str = "") -> dict[str, Any]:
    """A provider's answer. Its host is declared by the fleet's file, which a person wrote."""
    target = parse_target(url)
    credentials = {target.declared: {"X-Subscription-Token": f"${{{{ secrets.{key} }}}}"}} if key else {}
    headers = {"Accept": "application/json"}
    request = WebRequest(target=target, network=(target.declared,), headers=headers, credentials=credentials)
    return _decoded(await client.ask(request))


def _decoded(answer: WebAnswer) -> dict[str, Any]:
    if answer.status != 200:
        raise Exhausted(f"The search provider answered {answer.status}", cure="Look at [web] in ostinato.toml.")
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Exhausted("The search provider did not answer in JSON") from error


def _listed(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _hit(found: dict[str, Any], *, text: str) -> Hit:
    return Hit(
        title=str(found.get("title") or "")[:TITLE_CHARS_MAX],
        url=str(found.get("url") or "")[:2_000],
        text=str(found.get(text) or "")[:TEXT_CHARS_MAX],
    )
