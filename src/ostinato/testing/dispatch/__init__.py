"""The contract of a dispatcher, as cases that any dispatcher must pass; and one that gives as bad hints as it may.

A dispatcher's tests run every case over the stores of one database, one for each node that is to share the work:

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_the_dispatcher_keeps_the_contract(case): check(case, make_dispatcher, open_stores)

The contract is short: whatever becomes of the hints, every task ends, and exactly once. No test runner is needed.
"""

from __future__ import annotations

from ostinato.testing.dispatch.lossy import LossyDispatcher
from ostinato.testing.dispatch.suite import CASES, Case, Stage, check

__all__ = ["CASES", "Case", "LossyDispatcher", "Stage", "check"]
