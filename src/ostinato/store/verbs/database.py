"""The small interface between the verbs and a driver: named queries with named values, and nothing else.

Knows nothing of tasks; a dialect brings the queries under the same names and a class with these methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

Row = tuple[Any, ...]


class Database(Protocol):
    """One connection inside a transaction."""

    @property
    def epoch(self) -> int:
        """What stands above the count in every new token: greater where commits may have been lost, as after a failover
        to a copy that lagged behind. 0 where that cannot happen."""

    def one(self, name: str, /, **values: Any) -> Row | None:
        """The first row of the query `name`, or None."""

    def all(self, name: str, /, **values: Any) -> list[Row]:
        """Every row."""

    def do(self, name: str, /, **values: Any) -> int:
        """Performs a change; returns the rows it touched."""

    def many(self, name: str, values: Iterable[Mapping[str, Any]], /) -> int:
        """Performs a change once for each set of values; returns the rows it touched."""

    def mark(self) -> None:
        """From here on, what is changed can be undone alone; costs nothing until something is. Marks do not nest."""

    def unmark(self, *, undo: bool) -> bool:
        """Ends the part that `mark` began, undone or as it is; True where it has changed something."""

    def next_id(self, table: str, *, take: bool = True) -> int:
        """The next id of a table whose ids the store gives out, growing in the order of commits. `take=False` looks."""

    def lease_now(self) -> int:
        """Microseconds of the clock by which leases are kept, the same for every node of this database."""

    def boot(self) -> str:
        """Names the run of that clock; leases of another run are over. Empty where the clock never restarts."""

    def size(self) -> Mapping[str, int]:
        """Bytes: `database`, `wal`, `free`."""
