"""How many commits of a store a case of the contract took: the figure of the promises that it proves.

Knows nothing of what a case is about.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.promises import PROMISES, ROOT
from ostinato.testing.contract import Case

Keep = Callable[[str, object], None]
"""Keeps a property of a test's report."""

PROOFS = frozenset(proof for each in PROMISES for proof in each.proofs)


class Commits:
    """A store's hook that counts."""

    def __init__(self) -> None:
        self._times = 0

    def __call__(self, when: str, number: int) -> None:
        self._times += when == "after"

    def keep(self, case: Case, name: str, record_property: Keep) -> None:
        """For the docs, where the case is a promise's proof."""
        proof = f"{Path(case.__code__.co_filename).relative_to(ROOT)}::{case.__name__}"
        if proof in PROOFS:
            record_property(proof, {name: self._times})
