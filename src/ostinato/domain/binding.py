"""Bindings: which agent gets a message from outside, and in which of its sessions. The most specific one wins.

Pure. Knows nothing of mails, files or stores: whoever takes a message says by what it can be told.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

from ostinato.domain.values import Value, digest_of

CHANNELS = ("mail", "file")
"""Ways by which messages come today."""

STARS_MAX = 2
"""`*` in one pattern: more of them are slow to match, and mean nothing that two do not."""

_PLAIN = re.compile(r"[a-z0-9_.@+-]{1,100}", re.ASCII)


class BoundSession(enum.StrEnum):
    """The session that a bound message is read in."""

    STAY = "stay"
    """One conversation with each peer."""
    BRANCH = "branch"
    """One for each thread of a peer."""
    ISOLATED = "isolated"
    """One for each message: it knows nothing of any other."""


class Binding(Value):
    """What is said about some messages. Empty parts hold for all; `*` stands for anything."""

    agent: str
    channel: str = ""
    account: str = ""
    """The address that it was sent to."""
    peer: str = ""
    """The address that it is from."""
    session: BoundSession = BoundSession.ISOLATED
    place: str = ""
    """Where it stands, for messages."""

    @property
    def words(self) -> str:
        """In one line."""
        parts = [f"{name} {value}" for name in ("peer", "account", "channel") if (value := getattr(self, name))]
        return ", ".join(parts) or "everything"


class Inbound(Value):
    """By what a message from outside can be told. `peer` is empty where nobody can vouch for who it is from."""

    channel: str
    accounts: tuple[str, ...] = ()
    peer: str = ""
    thread: str = ""
    """What its thread began with; empty: with itself."""


def binding_of(inbound: Inbound, bindings: Sequence[Binding]) -> Binding | None:
    """The most specific of those that hold: by peer, then by account, then by channel; a whole address before a
    pattern, a longer pattern before a shorter one, and of equals the first. None where none holds."""
    held = [each for each in bindings if _holds(each, inbound)]
    return max(held, key=specificity, default=None)


def specificity(binding: Binding) -> tuple[int, ...]:
    """Greater for what says more."""
    return (*_weight(binding.peer), *_weight(binding.account), int(bool(binding.channel)))


def session_key(binding: Binding, inbound: Inbound) -> str:
    """The session's key; empty where the message has one of its own, as also one whose peer nobody can vouch for:
    strangers do not read on in the conversation of others."""
    if binding.session is BoundSession.ISOLATED or not inbound.peer:
        return ""
    key = f"{inbound.channel}:{binding.agent}:{_part(inbound.peer)}"
    if binding.session is BoundSession.STAY:
        return key
    return f"{key}:{digest_of(inbound.thread.encode(errors='surrogatepass'))[:16]}"


def _holds(binding: Binding, inbound: Inbound) -> bool:
    if binding.channel and binding.channel != inbound.channel:
        return False
    if binding.account and not any(_matches(binding.account, each) for each in inbound.accounts):
        return False
    return not binding.peer or _matches(binding.peer, inbound.peer)


def _matches(pattern: str, text: str) -> bool:
    parts = map(re.escape, pattern.casefold().split("*"))
    return bool(text) and re.fullmatch(".*".join(parts), text.casefold(), re.DOTALL) is not None


def _weight(pattern: str) -> tuple[int, int]:
    return (0 if not pattern else 1 if "*" in pattern else 2), len(pattern.replace("*", ""))


def _part(peer: str) -> str:
    plain = peer.casefold()
    return plain if _PLAIN.fullmatch(plain) else digest_of(plain.encode(errors="surrogatepass"))[:16]
