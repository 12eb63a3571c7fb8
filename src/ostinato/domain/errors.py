"""Every error that people can meet, in one tree; each says what was wrong and what to do.

    OstinatoError
    ├── Invalid      wrong input: a place and a cure            exit 2, HTTP 400 or 422
    ├── NotFound     the named thing does not exist             exit 3, HTTP 404
    ├── Conflict     it exists, but its state forbids this      exit 1, HTTP 409
    │   └── Fenced   a newer claim holds the task: stop at once
    ├── Denied       policy, a person or a role says no         exit 4, HTTP 403
    ├── Exhausted    a limit is reached; later it may work      exit 1, HTTP 429 or 503
    │   ├── Overdrawn  (domain.budget) there is no room; a person may grant more
    │   └── StoreAway  (store.port) the database cannot be reached; nothing was written
    └── Internal     a promise of our own was broken            exit 1, HTTP 500

Knows nothing of HTTP or the command line: those map `code` at their own edge.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class OstinatoError(Exception):
    """Base of all errors that reach people.

    `message` is one line without a final period where possible; `place` says where (`TOOLS.md:3, key 'allow'`); `cure`
    says what to do about it.
    """

    code = "internal"

    def __init__(self, message: str, *, place: str = "", cure: str = "") -> None:
        self.message = message
        self.place = place
        self.cure = cure
        super().__init__(message)

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        if not self.cure:
            return head
        return f"{head}{'' if head.endswith(('.', '?', '!', ':')) else '.'} {self.cure}"


class Invalid(OstinatoError):
    """The input is wrong and the same input will stay wrong."""

    code = "invalid"


class NotFound(OstinatoError):
    """The named thing does not exist."""

    code = "not_found"


class Conflict(OstinatoError):
    """The thing exists, but its state does not allow this."""

    code = "conflict"


class Fenced(Conflict):
    """A write came with a token that is no longer the task's: its attempt must stop at once."""


class Denied(OstinatoError):
    """Policy, a person or a missing role forbids it."""

    code = "denied"


class Exhausted(OstinatoError):
    """A limit is reached (budget, disk, rate, size); the same may work later."""

    code = "exhausted"


class Internal(OstinatoError):
    """A promise of the runtime itself was broken."""

    code = "internal"


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """One sentence for an unknown name: `Unknown agent 'triag'. Known: 'billing', 'triage'. Did you mean 'triage'?`"""
    names = sorted(str(each) for each in known)  # members of an enumeration would show as such
    listed = ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    close = get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown {what} {name!r}. Known: {listed or 'none'}.{hint}"
