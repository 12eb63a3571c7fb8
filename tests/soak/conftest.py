"""What the soak tests share with the crash tests, and their figures. Knows nothing of what is tested."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.conftest import crew, ground, show_figures
from tests.crash.siege import FULL

__all__ = ["crew", "ground"]

FIGURES = "soak"

collect_ignore = [] if FULL or "OSTINATO_SOAK_S" in os.environ else ["test_soak.py"]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something that is shown at the end, whatever comes of the test."""
    return lambda words: record_property(FIGURES, words)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of each test."""
    show_figures(terminalreporter, FIGURES)
