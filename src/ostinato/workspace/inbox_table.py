"""The tables `[inbox]` and `[[bindings]]` of ostinato.toml: who gets what comes from outside.

Knows nothing of agents: that one is named who is not there turns out where it is used.
"""

from __future__ import annotations

from ostinato.domain.binding import CHANNELS, STARS_MAX, Binding, BoundSession
from ostinato.domain.values import Value
from ostinato.workspace.agent_file import check_agent_id
from ostinato.workspace.fields import Fields

INBOX_KEYS: dict[str, tuple[str, ...]] = {
    "inbox": ("agent", "settle"),
    "bindings": ("channel", "account", "peer", "agent", "session"),
}
"""Keys of each table."""

SETTLE_S = 0.5
BINDINGS_MAX = 1_000
ADDRESS_MAX = 320
"""Characters of an address: 64 before the `@` and 255 behind it (RFC 5321)."""


class InboxSettings(Value):
    """What becomes of files in the fleet's inbox."""

    agent: str | None = None
    """Who gets those that name nobody."""
    settle_s: float = SETTLE_S
    """How long a file must have been left alone before it is taken, in seconds."""
    bindings: tuple[Binding, ...] = ()
    """Who gets mails and other files that say nothing of themselves, and in which session."""


def parse_inbox(root: Fields) -> InboxSettings:
    """The settings of both tables. Raises Invalid."""
    fields = root.group("inbox", INBOX_KEYS["inbox"])
    bindings = tuple(_binding(each) for each in root.groups("bindings", INBOX_KEYS["bindings"]))
    if len(bindings) > BINDINGS_MAX:
        raise root.wrong("bindings", f"{len(bindings)} are too many", cure=f"At most {BINDINGS_MAX}; use patterns.")
    if fields is None:
        return InboxSettings(bindings=bindings)
    settle_s = fields.duration_s("settle", SETTLE_S)
    return InboxSettings(agent=fields.read("agent", check_agent_id), settle_s=settle_s, bindings=bindings)


def _binding(fields: Fields) -> Binding:
    agent = fields.read("agent", check_agent_id)
    if agent is None:
        raise fields.wrong("", "The binding names no agent", cure='agent = "support"')
    channel = fields.choice("channel", CHANNELS, "") if fields.has("channel") else ""
    session = BoundSession(fields.choice("session", tuple(BoundSession), BoundSession.ISOLATED))
    account, peer = _address(fields, "account"), _address(fields, "peer")
    if channel == "file" and (account or peer or session is not BoundSession.ISOLATED):
        what = "Nobody can tell who a file is from, or to whom it was sent"
        raise fields.wrong("channel", what, cure="Bind mails by account and peer; files are isolated.")
    return Binding(
        agent=agent, channel=channel, account=account, peer=peer, session=session, place=fields.place("agent")
    )


def _address(fields: Fields, key: str) -> str:
    text = fields.text(key, limit=ADDRESS_MAX)
    if text.count("*") > STARS_MAX:
        raise fields.wrong(key, f"{text[:64]!r} has too many '*'", cure=f"At most {STARS_MAX}, as in '*@example.com'.")
    return text
