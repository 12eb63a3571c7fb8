"""Secrets on their way into the headers of a request: by the host that they are declared for, and never by a model.

TOOLS.md says which header a host gets (`credentials: {api.example.com: {Authorization: "Bearer ${{ secrets.KEY }}"}}`);
what is filled in is for one request and one hop of it. Knows nothing of connections.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from ostinato.domain.address import is_public
from ostinato.domain.errors import Denied
from ostinato.domain.host import covering_host
from ostinato.engine.vault import read_secret
from ostinato.tools.web.target import Target

Credentials = Mapping[str, Mapping[str, str]]
"""Host as it is declared -> header -> text with `${{ secrets.NAME }}` in it."""

_SECRET = re.compile(r"\$\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}", re.ASCII)


def filled(target: Target, credentials: Credentials) -> dict[str, str]:
    """The headers that a host gets. Raises NotFound where a secret is missing, Denied where it would go unencrypted or
    cannot be a header."""
    declaration = covering_host(target.declared, tuple(credentials))
    if declaration is None:
        return {}
    if target.scheme != "https" and not _is_near(target):
        raise Denied(f"{target.host} gets credentials, and those go over https only", cure="Ask by https.")
    headers = {name: _filled(text) for name, text in credentials[declaration].items()}
    for name, value in headers.items():
        if not (value.isprintable() and value.isascii()):
            raise Denied(f"The header {name} for {declaration} would hold what no header can")
    return headers


def _filled(text: str) -> str:
    return _SECRET.sub(lambda found: read_secret(found[1]).reveal(), text)


def _is_near(target: Target) -> bool:
    """True on this machine or in a network of its own, where a person has declared the port."""
    if target.literal is not None:
        return not is_public(ipaddress.ip_address(target.literal))
    return target.host == "localhost"
