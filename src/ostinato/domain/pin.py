"""Pins: what somebody else may change under an agent (a server's tool, a skill), as a person let it in.

The first sight is taken as it is, because a person has just granted it, and counts as a stranger's word until one has
read it; every later change is withheld until then. Knows nothing of servers, skills or who may accept.
"""

from __future__ import annotations

from ostinato.domain.values import Instant, Value

PIN_TEXT_MAX = 65_536
"""Characters of what is pinned: more than a person would read, and more than any prompt should hold."""


class Pin(Value):
    """One thing by its name, such as `mcp.github.list_issues` or `skills.triage`: as it was accepted, and as it was
    seen last."""

    name: str
    digest: str
    text: str
    """What was accepted, for people."""
    accepted_at: Instant
    accepted_by: str = ""
    """Empty: it was new, and is as it was first seen."""
    seen_digest: str
    seen_text: str
    seen_at: Instant

    @property
    def is_withheld(self) -> bool:
        """True where it is not what was accepted."""
        return self.seen_digest != self.digest

    @property
    def is_unread(self) -> bool:
        """True where no person has looked at what it says: it is as it was first seen."""
        return not self.accepted_by
