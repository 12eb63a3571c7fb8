"""What the errors of PostgreSQL mean for a caller. Knows nothing of connections or of what was asked."""

from __future__ import annotations

from ostinato.domain.errors import Exhausted, Internal, Invalid, OstinatoError
from ostinato.store.port import StoreAway


class StoreFull(Exhausted):
    """There is no room for more; nothing was done."""


class StoreBroken(Internal):
    """The database cannot be trusted to have written what it was told: the node must end and begin anew."""


_FULL = ("53100", "53200", "53400")
"""SQLSTATE: disk_full, out_of_memory, configuration_limit_exceeded."""
_ENDED = ("57P", "25P03", "25P04", "25006", "08")
"""The server ends this connection (shut down, crashed, starting, idle for too long), or takes no writes for now: it has
become a copy, or was switched to reading only; and connection exceptions."""
_BUSY = ("55P03", "40P01", "40001", "57014", "53300")
"""The lock was not to be had, a deadlock, a conflict, a cancelled statement, too many connections: no more the fault of
whoever asked than a server that is away."""
_TOO_LARGE = "54"
"""Limits of the program: a text that is too long for an index."""
_FATAL = ("XX001", "XX002", "58030")
"""Corrupted data, corrupted index, an error of input or output."""


def meaning_of(state: str, message: str) -> OstinatoError:
    """What an SQLSTATE means; `message` is the server's own first line."""
    if state.startswith(_FULL):
        return StoreFull(
            f"The database has no room: nothing was written ({message})",
            cure="Make room on the database's machine; the runtime goes on by itself.",
        )
    if not state or state.startswith(_ENDED):
        return away(message)
    if state.startswith(_BUSY):
        return StoreAway(
            f"The database is busy: nothing was written ({message})", cure="The same may work in a moment."
        )
    if state.startswith(_TOO_LARGE):
        return Invalid(f"This is more than a database can hold ({message})", cure="Names and keys must be shorter.")
    if state.startswith(_FATAL):
        return StoreBroken(f"The database reports damage ({message})", cure="Look at the server's log and disk.")
    return Internal(f"The database refused a statement: {message} ({state})")


def away(message: str) -> StoreAway:
    """The connection is lost, or was never had."""
    return StoreAway(
        f"The database cannot be reached: {message}",
        cure="Nothing was written; the runtime goes on by itself when the database is back. "
        "What the server does not like is set right there, or in [store] of ostinato.toml.",
    )
