"""Operations on what others may change under an agent: tools of servers, and skills.

A decision is about what its person saw: it names the digest that was shown. Knows nothing of servers or files.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ostinato.domain.errors import Invalid, NotFound, unknown_name
from ostinato.domain.person import Role
from ostinato.domain.pin import Pin
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso
from ostinato.gateway.operation import Ask, Nothing, View, operation
from ostinato.store.port import Reads, Tx

DIGEST_CHARS_MIN = 12
"""Characters of a digest that a person must give: as many as lists show."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class WhichPin(Ask):
    """A pin by its name, such as `mcp.github.list_issues` or `skills.triage`."""

    pin: Name


class AcceptPin(Ask):
    """What to accept: a pin, and the digest that was shown of how it is now, or the first characters of that."""

    pin: Name
    digest: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class PinLine(View):
    """One pin. `state`: `accepted` by a person; `unread` where it is as it was first seen, and nobody has looked;
    `withheld` where it has changed since."""

    name: str
    state: str
    digest: str
    seen_digest: str
    seen_at: str
    accepted_at: str
    accepted_by: str


class PinList(View):
    """All pins by name."""

    pins: list[PinLine]


class PinView(View):
    """One pin, with what was accepted and what is there now."""

    pin: PinLine
    accepted_text: str
    seen_text: str


class ServerLine(View):
    """A server of tools, as the node knows it. `state`: starting, up or down."""

    name: str
    where: str
    state: str
    problem: str
    tools: list[str]
    withheld: list[str]
    refused: list[str]


class ServerList(View):
    """The servers of the fleet's file; none where no node runs."""

    node_running: bool
    servers: list[ServerLine]


@operation("pins.list", "GET /api/v1/pins")
async def list_pins(context: Context, request: Nothing) -> PinList:
    """What servers and skills said when they were let in, and which of them have changed since."""
    return PinList(pins=[_line(each) for each in await context.store.read(lambda reads: reads.pins())])


@operation("pins.show", "GET /api/v1/pins/{pin}")
async def show(context: Context, request: WhichPin) -> PinView:
    """One pin: what was accepted, and what is there now."""
    return _view(await context.store.read(lambda reads: _found(reads, request.pin)))


@operation("pins.accept", "POST /api/v1/pins/{pin}/accept", role=Role.OPERATOR)
async def accept(context: Context, request: AcceptPin) -> PinView:
    """Accept something as it is now, by the digest that was shown: it can be used again."""
    given, now, actor = request.digest.strip().lower(), context.now, context.caller.name
    if len(given) < DIGEST_CHARS_MIN:
        raise Invalid(f"A digest needs at least {DIGEST_CHARS_MIN} characters", cure="See: ostinato pins show NAME")

    def write(tx: Tx) -> Pin:
        kept = _found(tx, request.pin)
        digest = kept.seen_digest if kept.seen_digest.startswith(given) else given
        return tx.accept_pin(request.pin, digest=digest, actor=actor, now=now)

    return _view(await context.store.run(write))


@operation("mcp.list", "GET /api/v1/mcp")
async def list_servers(context: Context, request: Nothing) -> ServerList:
    """The fleet's servers of tools: which are up, what they offer, what is withheld."""
    found = context.servers() if context.servers is not None else ()
    return ServerList(
        node_running=context.node is not None,
        servers=[
            ServerLine(
                name=each.name,
                where=each.where,
                state=each.state,
                problem=each.problem,
                tools=list(each.tools),
                withheld=list(each.withheld),
                refused=[f"{one.tool}: {one.why}" for one in each.unfit],
            )
            for each in found
        ],
    )


def _found(reads: Reads, name: str) -> Pin:
    found = reads.pin(name)
    if found is None:
        message = unknown_name("pin", name, {each.name for each in reads.pins()})
        raise NotFound(message, cure="See: ostinato pins list")
    return found


def _line(pin: Pin) -> PinLine:
    return PinLine(
        name=pin.name,
        state="withheld" if pin.is_withheld else "unread" if pin.is_unread else "accepted",
        digest=pin.digest,
        seen_digest=pin.seen_digest,
        seen_at=iso(pin.seen_at),
        accepted_at=iso(pin.accepted_at),
        accepted_by=pin.accepted_by,
    )


def _view(pin: Pin) -> PinView:
    return PinView(pin=_line(pin), accepted_text=pin.text, seen_text=pin.seen_text)
