"""Each statement of the scripted day is cut alone, on both sides: some minutes, with OSTINATO_CRASH=full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Count
from tests.postgres.conftest import Day
from tests.postgres.proxy import Proxy, never

PARTS = 4
"""So that workers of a test run may share the statements."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_each_statement_of_the_day_can_be_cut_alone(
    part: int, proxy: Proxy, day: Day, tell: Callable[[str], None], count: Count
) -> None:
    assert day(never) == []
    number, total = part, len(proxy.seen)
    while number < total:
        for side in ("before", "after"):
            found = day(lambda each, _statement, here=number, cut=side: cut if each == here else None)  # type: ignore[misc]  # mypy: defaults
            assert found == [], f"statement {number}, {side}: {proxy.cuts[-1:]}"
            total = min(total, len(proxy.seen))
        number += PARTS
    count({"cut connections": len(proxy.cuts)})
    tell(f"{len(proxy.cuts)} cuts at {len(set(proxy.cuts))} different statements: 0 lost, 0 doubled")
