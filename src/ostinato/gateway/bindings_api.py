"""Operations about bindings: which agent gets a message from outside, and in which session.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from ostinato.domain.binding import specificity
from ostinato.gateway.context import Context
from ostinato.gateway.operation import Nothing, View, operation


class BindingView(View):
    """What is said about some messages; empty parts hold for all."""

    channel: str
    account: str
    peer: str
    agent: str
    session: str
    """`stay`, `branch` or `isolated`."""
    place: str


class BindingList(View):
    """Bindings, the most specific first: of those that hold for a message the first one counts."""

    bindings: list[BindingView]
    default: str | None
    """Who gets files of the fleet's inbox for which none holds; null: nobody, but by routing."""


@operation("agents.bindings", "GET /api/v1/bindings")
async def list_bindings(context: Context, request: Nothing) -> BindingList:
    """Which agent gets mails and other files from outside that say nothing of themselves, and in which session."""
    inbox = context.definitions.inbox()
    ordered = sorted(inbox.bindings, key=specificity, reverse=True)  # stable: of equals the first stays first
    views = [
        BindingView(
            channel=each.channel,
            account=each.account,
            peer=each.peer,
            agent=each.agent,
            session=each.session.value,
            place=each.place,
        )
        for each in ordered
    ]
    return BindingList(bindings=views, default=inbox.agent)
