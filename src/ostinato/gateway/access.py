"""Who calls, and whether they may: a token names a person and a role; without one a caller on this machine may look.

Being the same user on the socket decides nothing. Knows nothing of HTTP.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from ostinato.domain.errors import Denied, Invalid
from ostinato.domain.person import NewToken, Role, check_person, token_digest
from ostinato.domain.values import Instant
from ostinato.gateway.context import Caller
from ostinato.gateway.keyring import keep, new_token
from ostinato.gateway.operation import AnyRoute
from ostinato.store.port import Store, Tx

PERSON_VARIABLE = "OSTINATO_PERSON"
"""Names the person for whom a fleet's first token is made; without it the login name."""

BYSTANDER = Caller(name="somebody on this machine", role=Role.VIEWER)
"""A caller without a token: whoever reaches the socket could read the files as well."""


class Stranger(Denied):
    """A token that opens nothing here."""


async def caller_of(store: Store, token: str | None) -> Caller:
    """The person of a token. Raises Stranger where it is unknown or revoked."""
    if not token:
        return BYSTANDER
    digest = token_digest(token)
    kept = await store.read(lambda reads: reads.token_of(digest))
    if kept is None:
        raise Stranger("This token opens nothing in this fleet", cure="Ask an admin for one: ostinato tokens add NAME")
    if kept.revoked_at is not None:
        said = f"This token of {kept.person} was revoked by {kept.revoked_by}"
        raise Stranger(said, cure="Ask an admin for another: ostinato tokens add NAME")
    return Caller(name=kept.person, role=kept.role)


def check_role(route: AnyRoute, caller: Caller) -> None:
    """Raises Denied where the caller's role does not reach."""
    if caller.role >= route.role:
        return
    needed = route.role.word
    if caller is BYSTANDER:
        raise Denied(
            f"{route.name} needs a token of an {needed}",
            cure="Ask an admin for one (ostinato tokens add NAME), and keep it with: ostinato tokens use. "
            "Where nobody is one yet, stop the node and type: ostinato tokens recover",
        )
    raise Denied(
        f"{route.name} needs the role {needed}, and {caller.name} is {Role(caller.role).word}", cure="Ask an admin."
    )


async def let_in(store: Store, state_dir: Path, *, token: str | None, now: Instant) -> str | None:
    """The caller's token; in a fleet that has nobody yet they become its first admin, with a token in their keyring.
    Raises Invalid where that cannot be written."""
    if await store.read(lambda reads: bool(reads.tokens())):
        return token
    secret, person = token or new_token(), own_name()
    new = NewToken(person=person, role=Role.ADMIN, digest=token_digest(secret))

    def add(tx: Tx) -> bool:
        if tx.tokens():  # another node of a shared store was first, or this very transaction is done again
            return tx.token_of(new.digest) is not None
        if token is None:
            keep(state_dir, person, secret)  # before the commit: a token that nobody holds would keep everybody out
        tx.add_token(new, actor=person, now=now)
        return True

    return secret if await store.run(add) else token


def own_name() -> str:
    """Who is at the keyboard, as a person's name."""
    named = os.environ.get(PERSON_VARIABLE, "").strip()
    try:
        return check_person(named or getpass.getuser())
    except (KeyError, OSError, Invalid):  # a user id without a name, as in some containers, or one that is no person's
        return f"uid-{os.getuid()}"
