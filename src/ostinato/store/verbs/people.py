"""People's tokens: who may decide here, and since when."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.person import NewToken, Token
from ostinato.domain.values import Instant
from ostinato.store.verbs.settings import SettingVerbs


class PeopleVerbs(SettingVerbs):
    """Tokens come and go; what is revoked is never valid again."""

    def add_token(self, new: NewToken, *, actor: str, now: Instant) -> Token:
        """Keeps a token's digest. Conflict where it is kept already."""
        if self.token_of(new.digest) is not None:
            raise Conflict("This token is kept already", cure="Make a new one.")
        token_id = self._db.next_id("tokens")
        self._db.do(
            "add_token", id=token_id, person=new.person, role=int(new.role), digest=new.digest, now=now, actor=actor
        )
        token = Token(
            id=token_id, person=new.person, role=new.role, digest=new.digest, added_at=now, added_by=actor
        )  # fmt: skip
        self._tell_token(EventName.TOKEN_ADDED, token, actor=actor, now=now)
        return token

    def revoke_token(self, token: int, *, actor: str, now: Instant) -> Token:
        """It opens nothing from now on. NotFound where there is no such token, Conflict where it was revoked before."""
        kept = next((each for each in self.tokens() if each.id == token), None)
        if kept is None:
            raise NotFound(f"There is no token K{token}", cure="See: ostinato tokens list")
        if kept.revoked_at is not None:
            raise Conflict(f"K{token} of {kept.person} is revoked already")
        self._db.do("revoke_token", id=token, now=now, actor=actor)
        self._tell_token(EventName.TOKEN_REVOKED, kept, actor=actor, now=now)
        return next(each for each in self.tokens() if each.id == token)

    def _tell_token(self, event: EventName, token: Token, *, actor: str, now: Instant) -> None:
        data = {"token": token.id, "person": token.person, "role": token.role.word}
        self._tell(event, now=now, actor=actor, data=data)
