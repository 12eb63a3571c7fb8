"""Ordinary runs try the same examples each time: whatever ran before in the same process, and whatever time it is.

docs/explanation/decisions/032 says why. The long form (`OSTINATO_CRASH=full`) draws anew instead.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st


def examples() -> list[int]:
    """What one law is tried with."""
    tried: list[int] = []

    @settings(max_examples=100)
    @given(st.integers())
    def law(number: int) -> None:
        tried.append(number)

    law()
    return tried


def test_a_law_is_tried_with_the_same_examples_whatever_was_imported_before(tmp_path: Path) -> None:
    before = examples()
    path = tmp_path / "attic.py"
    path.write_text(f"NUMBERS = {[97 * number + 1_000 for number in range(500)]}\n")
    spec = importlib.util.spec_from_file_location("attic", path)
    assert spec is not None
    assert spec.loader is not None
    attic = importlib.util.module_from_spec(spec)
    sys.modules["attic"] = attic
    try:
        spec.loader.exec_module(attic)
        assert examples() == before
    finally:
        del sys.modules["attic"]
