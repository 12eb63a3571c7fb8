"""Operations on people's tokens. A token itself is shown once, to whoever made it, and never again.

Knows nothing of HTTP or of keyrings.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.person import NewToken, Role, Token, check_person, role_named, token_digest
from ostinato.gateway.context import Context
from ostinato.gateway.keyring import new_token
from ostinato.gateway.notation import iso, iso_or_none
from ostinato.gateway.operation import Ask, Nothing, View, operation
from ostinato.store.port import Tx

TOKEN_ID = re.compile(r"[Kk]?([1-9]\d{0,17})")


class AddToken(Ask):
    """For whom, and what they may do: viewer (look), operator (decide and work), admin (also people and backups)."""

    person: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    role: str = "operator"


class WhichToken(Ask):
    """A token by its id, such as K3."""

    token: str


class TokenView(View):
    """A token, without its secret."""

    id: str
    person: str
    role: str
    added_at: str
    added_by: str
    revoked_at: str | None
    revoked_by: str


class TokenList(View):
    """All tokens there are or were, oldest first."""

    tokens: list[TokenView]


class MadeToken(View):
    """A new token. Its secret is shown here and nowhere else."""

    token: TokenView
    secret: str


class Myself(View):
    """Who the caller is."""

    person: str
    role: str


@operation("tokens.list", "GET /api/v1/tokens", role=Role.ADMIN)
async def list_tokens(context: Context, request: Nothing) -> TokenList:
    """Who may decide here, since when and by whose word."""
    return TokenList(tokens=[_view(each) for each in await context.store.read(lambda reads: reads.tokens())])


@operation("tokens.add", "POST /api/v1/tokens", role=Role.ADMIN)
async def add(context: Context, request: AddToken) -> MadeToken:
    """Make a token for a person."""
    secret, now, actor = new_token(), context.now, context.caller.name
    new = NewToken(person=check_person(request.person), role=role_named(request.role), digest=token_digest(secret))
    token = await context.store.run(lambda tx: tx.add_token(new, actor=actor, now=now))
    return MadeToken(token=_view(token), secret=secret)


@operation("tokens.revoke", "DELETE /api/v1/tokens/{token}", role=Role.ADMIN)
async def revoke(context: Context, request: WhichToken) -> TokenView:
    """Take a token away: it opens nothing from now on."""
    number, now, actor = _number(request.token), context.now, context.caller.name

    def write(tx: Tx) -> Token:
        admins = [each for each in tx.tokens() if each.role is Role.ADMIN and each.revoked_at is None]
        if [each.id for each in admins] == [number]:
            raise Conflict(
                "This is the last token of an admin: nobody could let people in any more",
                cure="Make another first: ostinato tokens add NAME --role admin",
            )
        return tx.revoke_token(number, actor=actor, now=now)

    return _view(await context.store.run(write))


@operation("tokens.whoami", "GET /api/v1/tokens/whoami")
async def whoami(context: Context, request: Nothing) -> Myself:
    """Who the caller is for this fleet."""
    return Myself(person=context.caller.name, role=Role(context.caller.role).word)


def _number(text: str) -> int:
    found = TOKEN_ID.fullmatch(text.strip())
    if not found:
        raise Invalid(f"{text[:64]!r} is no token's id", cure="They look like K3; see: ostinato tokens list")
    return int(found[1])


def _view(token: Token) -> TokenView:
    return TokenView(
        id=f"K{token.id}",
        person=token.person,
        role=token.role.word,
        added_at=iso(token.added_at),
        added_by=token.added_by,
        revoked_at=iso_or_none(token.revoked_at),
        revoked_by=token.revoked_by,
    )
