"""The table `[web]` of ostinato.toml: who searches the web for agents, and which private networks names may lead to.

Knows nothing of connections.
"""

from __future__ import annotations

import ipaddress
import re

from ostinato.domain.address import NEVER
from ostinato.domain.values import Value
from ostinato.workspace.fields import Fields

WEB_KEYS = ("private", "search", "search_url", "search_key_env")
SEARCHES = ("searxng", "brave")


class WebEntry(Value):
    """What the fleet's file says about the web."""

    private: tuple[str, ...] = ()
    """Networks such as `10.1.0.0/16` that names of declared hosts may lead to."""
    search: str = ""
    """`searxng` or `brave`; empty: nobody searches."""
    search_url: str = ""
    search_key_env: str = ""
    """The environment variable that holds the provider's key."""


def parse_web(fields: Fields) -> WebEntry:
    """The table. Raises Invalid with line and key."""
    for each in (private := fields.texts("private")):
        _check_network(fields, each)
    search = fields.choice("search", SEARCHES, "") if fields.has("search") else ""
    url, key = fields.text("search_url"), fields.text("search_key_env")
    if url and not re.fullmatch(r"https?://[^\s@]+", url):
        raise fields.wrong("search_url", f"{url[:64]!r} is no address", cure='search_url = "http://localhost:8888"')
    if search == "searxng" and not url:
        raise fields.wrong("search", "It is not told where SearXNG is", cure='search_url = "http://localhost:8888"')
    if search == "brave" and not key:
        raise fields.wrong("search", "Brave wants a key", cure='Name its variable: search_key_env = "BRAVE_API_KEY"')
    return WebEntry(private=private, search=search, search_url=url, search_key_env=key)


def _check_network(fields: Fields, text: str) -> None:
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise fields.wrong("private", f"{text[:64]!r} is no network: {error}", cure="Such as '10.1.0.0/16'.") from None
    if found.prefixlen < 8:
        raise fields.wrong("private", f"{text} is half the world", cure="Name the network that is meant.")
    if any(found[0] in each and found[-1] in each for each in NEVER):
        cure = "Services there hand out the credentials of this machine."
        raise fields.wrong("private", f"{text} cannot be opened", cure=cure)
