"""People who may decide: a person is a name, a role and a token.

The token is a secret that a person keeps outside of the fleet's folder; the store keeps its digest. Nothing that an
agent can reach holds one. Knows nothing of files, HTTP or of what each role is asked for.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Mapping

from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.values import Instant, Value

TOKEN_MARK = "ost_"
"""What every token begins with, so that people and scanners of secrets recognise one."""

PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
"""A person's name: a login, or an address of mail."""

NOBODY = frozenset({"operator", "runtime"})
"""What records call whoever was not named, and the runtime itself: a person of that name would leave no trace of their
own, and decide what they have asked for themselves."""


class Role(enum.IntEnum):
    """What a caller may do; each includes the ones before it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As people write it."""
        return self.name.lower()


class NewToken(Value):
    """A token to be kept."""

    person: str
    role: Role
    digest: str


class Token(NewToken):
    """A token as it is kept. Revoked ones stay, for the record."""

    id: int
    added_at: Instant
    added_by: str
    revoked_at: Instant | None = None
    revoked_by: str = ""


def check_person(name: str) -> str:
    """The name; raises Invalid where it cannot be one."""
    if not PERSON.fullmatch(name):
        cure = "Use letters, digits, '.', '_', '-', '@' and '+', at most 64, beginning with a letter or digit."
        raise Invalid(f"{name[:64]!r} is no person's name", cure=cure)
    if name in NOBODY:
        raise Invalid(f"Nobody can be called {name!r}: records mean somebody else by it", cure="Use their own name.")
    return name


def people_of(tokens: Iterable[Token]) -> dict[str, Role]:
    """Those with a valid token, and the most that one lets them do."""
    held: dict[str, Role] = {}
    for each in tokens:
        if each.revoked_at is None:
            held[each.person] = max(Role(each.role), held.get(each.person, Role.VIEWER))
    return held


def check_deciders(asked: Iterable[str], people: Mapping[str, Role]) -> None:
    """Raises Invalid where one of these is neither a role that decides nor somebody who may: nobody would be asked.
    `people` are those with a valid token."""
    deciders = {name for name, role in people.items() if role >= Role.OPERATOR}
    roles = {each.word for each in Role if each >= Role.OPERATOR}
    for name in asked:
        if name in roles | deciders:
            continue
        if name in people:
            what, cure = f"{name} may look, and decides nothing", f"Give them another: ostinato tokens add {name}"
        else:
            what, cure = unknown_name("person", name, roles | deciders), f"Add them: ostinato tokens add {name}"
        raise Invalid(what, cure=cure)


def role_named(word: str) -> Role:
    """viewer, operator or admin; raises Invalid."""
    for each in Role:
        if each.word == word:
            return each
    raise Invalid(f"There is no role {word[:64]!r}", cure=f"Roles are: {', '.join(each.word for each in Role)}.")


def token_digest(token: str) -> str:
    """What the store keeps of a token. A token is 32 random bytes, so that one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()
