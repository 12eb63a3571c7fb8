"""What a siege has found: how many inputs were accepted and refused, and every fault.

Knows nothing of surfaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from tests.security.hostile.case import Case, Fault


class Result:
    """Grows during one siege."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.ends: Counter[str] = Counter()
        """How inputs ended -> how many."""
        self.families: Counter[str] = Counter()
        self.processes = 0
        """Inputs that were given to processes of their own once more."""

    def add(self, case: Case, end: str, faults: Iterable[str] = ()) -> None:
        """One input, how it ended, and what is wrong with that."""
        self.ends[end] += 1
        self.families[case.family] += 1
        self.blame(case, faults)

    def blame(self, case: Case | None, faults: Iterable[str]) -> None:
        """What is wrong, beside the count."""
        self.faults.extend(Fault(case=case, words=words) for words in faults)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        more = f"; {self.processes} of them as processes too" if self.processes else ""
        return f"{sum(self.ends.values())} inputs of {len(self.families)} families: {ends}{more}"


def by_family(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """The cases, family by family, in their order."""
    for family, found in groupby(cases, lambda case: case.family):
        yield family, list(found)
