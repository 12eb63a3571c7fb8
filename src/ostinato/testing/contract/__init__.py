"""The contract of a store, as cases that any store must pass: this suite is the definition of each verb.

A store's tests run every case against a fresh store:

    @pytest.mark.parametrize("case", cases(), ids=lambda case: case.__name__)
    def test_the_store_keeps_the_contract(case): asyncio.run(check(case, open_fresh_store))

A case is an async function over a `Scene`; its name is a sentence about behaviour. Nothing here needs a test runner.
"""

from __future__ import annotations

from ostinato.testing.contract.scene import Case, Scene, StoreFactory, cases, check, refuses
from ostinato.testing.contract.suite import ROOMS

__all__ = ["ROOMS", "Case", "Scene", "StoreFactory", "cases", "check", "refuses"]
