"""The environment of a command: a few plain variables, and secrets by the names that were asked for.

Nothing is inherited. Secrets are read from the node's environment (`NAME`, or a file named by `NAME_FILE`) when a
command starts, never earlier, and taken out of what it says. Knows nothing of who may have which secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ostinato.domain.secret import KNOWN
from ostinato.engine.vault import read_secret
from ostinato.tools.sandbox.spill import Kept
from ostinato.tools.web.way import VARIABLES

PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
"""What every command finds."""


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
    return {name: read_secret(name, source).reveal() for name in secrets}


def without(kept: Kept) -> Kept:
    """An output with every secret starred out. Where bytes are missing, also what could be a part of one at the edges
    of the gap. Offsets stay as they are."""
    if not kept.missing_bytes:
        return Kept(head=KNOWN.data(kept.head + kept.tail), total_bytes=kept.total_bytes)
    head, tail = KNOWN.edges(KNOWN.data(kept.head), KNOWN.data(kept.tail))
    return Kept(head=head, tail=tail, total_bytes=kept.total_bytes)


def _identity(agent: str) -> tuple[tuple[str, str], ...]:
    return ("NAME", agent), ("EMAIL", f"{agent}@localhost")
