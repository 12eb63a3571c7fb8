"""An order in which things can be done that wait for each other, or the circle in which they wait.

Knows nothing of tasks: things are names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


class Circular(Exception):
    """They wait in a circle: `path` leads from one of them, over what it waits for, back to itself."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(" → ".join(path))


def in_order(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Each name behind all that it needs, with its level: 1 for those that need nothing, else one more than the highest
    of its needs. Every need must be a name. Raises Circular."""
    sorter = TopologicalSorter(dict.fromkeys(needs, ()))  # all names first: those of a level come as they are given
    for name, before in needs.items():
        sorter.add(name, *before)
    levels: dict[str, int] = {}
    try:
        for name in sorter.static_order():
            levels[name] = 1 + max((levels[each] for each in needs[name]), default=0)
    except CycleError as error:
        raise Circular(error.args[1][::-1]) from None
    return levels
