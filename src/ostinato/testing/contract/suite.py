"""The list of all cases. Knows only the rooms that hold them."""

from __future__ import annotations

from ostinato.testing.contract import (
    adding,
    asking,
    cells,
    claiming,
    ending,
    finding,
    finishing,
    firing,
    forgetting,
    inboxes,
    living,
    money,
    sharing,
    stopping,
)
from ostinato.testing.contract.scene import Case, cases_of

_ROOMS = (
    adding,
    asking,
    cells,
    claiming,
    ending,
    finding,
    finishing,
    firing,
    forgetting,
    inboxes,
    living,
    money,
    sharing,
    stopping,
)


def cases() -> list[Case]:
    """Every case, in the order of the rooms."""
    return [case for room in _ROOMS for case in cases_of(room)]
