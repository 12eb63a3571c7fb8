"""Names of hosts: how people declare them (`network` in TOOLS.md), and which declaration covers one.

Knows nothing of addresses, name servers or sockets: whoever connects checks those.
"""

from __future__ import annotations

import re

DEFAULT_PORTS = frozenset({80, 443})
"""Ports that a declaration without one covers: those of http and https."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?(?::(?P<port>\d{{1,5}}))?", re.ASCII | re.IGNORECASE)


def matches_host(host: str, declared: tuple[str, ...]) -> bool:
    """True where a declaration covers `host`, a name with or without `:port`.

    `example.com` covers itself, `*.example.com` every name below it and not itself; without a port a declaration covers
    80 and 443, with one just that. A text that is no host name is never covered.
    """
    return covering_host(host, declared) is not None


def covering_host(host: str, declared: tuple[str, ...]) -> str | None:
    """The first declaration that covers `host`; None where none does."""
    found = _HOST.fullmatch(host)
    if found is None or len(found["name"]) > 253:
        return None
    name, port = found["name"].lower(), found["port"]
    return next((each for each in declared if _covers(each.lower(), name, int(port) if port else None)), None)


def _covers(declaration: str, name: str, port: int | None) -> bool:
    pattern, _, wanted = declaration.partition(":")
    if wanted and (not wanted.isdecimal() or int(wanted) != port):
        return False
    if not wanted and port is not None and port not in DEFAULT_PORTS:
        return False
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])  # a name that `_HOST` takes never begins with a point
    return name == pattern.removesuffix(".")
