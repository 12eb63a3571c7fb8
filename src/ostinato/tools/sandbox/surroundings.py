"""The environment of a command: a few plain variables, and secrets by the names that were asked for.

Nothing is inherited. Secrets are read from the node's environment (`NAME`, or a file named by `NAME_FILE`) when a
command starts, never earlier, and taken out of what it says. Knows nothing of who may have which secret.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from ostinato.domain.errors import NotFound
from ostinato.tools.sandbox.spill import Kept
from ostinato.tools.web.way import VARIABLES

PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
"""What every command finds."""

_SHORTEST = 4  # shorter ones stand in any text by chance
_SECRET_BYTES_MAX = 65_536


def environment(
    *, agent: str, folders: Sequence[str], secrets: Mapping[str, str], network: bool = False
) -> dict[str, str]:
    """All variables of a command. `folders`: of further programs; `network`: whether it has a way out."""
    paths = ":".join([*(path for each in folders for path in (f"{each}/bin", each)), PLAIN["PATH"]])
    people = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in _identity(agent)}
    return {**PLAIN, **people, "PATH": paths, **(VARIABLES if network else {}), **secrets}


def names(*, agent: str, secrets: Sequence[str], network: bool = False) -> tuple[str, ...]:
    """The names of all variables of a command."""
    return tuple(sorted(environment(agent=agent, folders=(), secrets=dict.fromkeys(secrets, ""), network=network)))


def values_of(secrets: Sequence[str], source: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of secrets. Raises NotFound for one that is not set. `source`: another environment than the node's."""
    return {name: _value(name, os.environ if source is None else source) for name in secrets}


def without(kept: Kept, secrets: Mapping[str, str]) -> Kept:
    """An output with every secret starred out: as it is, in base64, and as an address would spell it. Where bytes are
    missing, also what could be a part of one at the edges of the gap. Offsets stay as they are."""
    forms = [form for value in secrets.values() if len(value) >= _SHORTEST for form in _forms(value)]
    if not forms:
        return kept
    if not kept.missing_bytes:
        return Kept(head=_starred(kept.head + kept.tail, forms), total_bytes=kept.total_bytes)
    head, tail = _starred(kept.head, forms), _starred(kept.tail, forms)
    for form in forms:
        for size in range(len(form) - 1, 0, -1):
            if head.endswith(form[:size]):
                head = head[:-size] + b"*" * size
            if tail.startswith(form[-size:]):
                tail = b"*" * size + tail[size:]
    return Kept(head=head, tail=tail, total_bytes=kept.total_bytes)


def _starred(data: bytes, forms: Sequence[bytes]) -> bytes:
    for form in forms:
        data = data.replace(form, b"*" * len(form))
    return data


def _identity(agent: str) -> tuple[tuple[str, str], ...]:
    return ("NAME", agent), ("EMAIL", f"{agent}@localhost")


def _value(name: str, source: Mapping[str, str]) -> str:
    if value := source.get(name):
        return value
    file = source.get(f"{name}_FILE")
    if not file:
        raise NotFound(f"{name} is not in the node's environment", cure=f"Set {name} or {name}_FILE for the node.")
    try:
        with Path(file).open("rb") as opened:
            return opened.read(_SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"The file of {name} cannot be read", cure=f"Correct {name}_FILE.") from error


def _forms(value: str) -> list[bytes]:
    raw = value.encode()
    found = {raw, quote(value, safe="").encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    return sorted(found, key=len, reverse=True)
