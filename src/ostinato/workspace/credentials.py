"""`credentials` of TOOLS.md: which header the requests to a host get, with which secret in it.

Knows nothing of values, nor of how a request is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ostinato.workspace.fields import Fields

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}", re.ASCII)
_NAMED = re.compile(r"\$\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}", re.ASCII)
_EXAMPLE = 'credentials: {api.example.com: {Authorization: "Bearer ${{ secrets.API_KEY }}"}}'


def parse_credentials(
    fields: Fields, *, host: re.Pattern[str], secrets: tuple[str, ...]
) -> Mapping[str, Mapping[str, str]]:
    """Host -> header -> text. Raises Invalid where a secret is not among those that are declared."""
    group = fields.group("credentials", ())
    if group is None:
        return {}
    found: dict[str, dict[str, str]] = {}
    for name in group.names():
        if not host.fullmatch(name):
            raise group.wrong(name, f"{name[:64]!r} is no host", cure=f"For example: {_EXAMPLE}.")
        headers = group.group(name, ())
        if headers is None:
            raise group.wrong(name, f"{name} gets no header", cure=f"For example: {_EXAMPLE}.")
        found[name] = {each: _text(headers, each, secrets=secrets) for each in headers.names()}
    return found


def _text(headers: Fields, name: str, *, secrets: tuple[str, ...]) -> str:
    text = headers.text(name, limit=1_000)
    if not _HEADER.fullmatch(name):
        raise headers.wrong(name, f"{name[:64]!r} is no header", cure=f"For example: {_EXAMPLE}.")
    named = _NAMED.findall(text)
    if not named or "${{" in _NAMED.sub("", text):
        raise headers.wrong(name, "No secret is named", cure=f"For example: {_EXAMPLE}.")
    for each in named:
        if each not in secrets:
            raise headers.wrong(name, f"{each!r} is not among 'secrets'", cure=f"Declare it: secrets: [{each}].")
    return text
