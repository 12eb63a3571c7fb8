"""What the power cut tests share with the crash tests, and their figures. Knows nothing of what is tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.conftest import crew, ground, show_figures

__all__ = ["crew", "ground"]

FIGURES = "power"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something that is shown at the end, whatever comes of the test."""
    return lambda words: record_property(FIGURES, words)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of each test."""
    show_figures(terminalreporter, FIGURES)
