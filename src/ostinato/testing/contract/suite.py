"""All rooms of the contract: importing this gathers their cases."""

from __future__ import annotations

from ostinato.testing.contract import (
    adding,
    asking,
    auditing,
    breaking,
    cells,
    claiming,
    delegating,
    depending,
    ending,
    finding,
    finishing,
    firing,
    forgetting,
    inboxes,
    leashing,
    living,
    money,
    people,
    pinning,
    routing,
    sharing,
    stopping,
)

ROOMS = (
    adding,
    asking,
    breaking,
    cells,
    claiming,
    delegating,
    depending,
    ending,
    finding,
    finishing,
    firing,
    forgetting,
    inboxes,
    leashing,
    living,
    money,
    people,
    pinning,
    routing,
    sharing,
    stopping,
    auditing,
)
"""Where the cases are."""
