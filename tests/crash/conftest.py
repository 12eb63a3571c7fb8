"""What the crash tests share: forges that are kept for all of them, and a line about each test at the end.

Knows nothing of what is tested.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.ground import in_memory
from tests.crash.trial import Crew

FIGURES = "crash"


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    """As many forges as this process may use: where tests run in two processes already, one each."""
    crew = Crew(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    yield crew
    crew.close()


@pytest.fixture
def second(crew: Crew) -> Iterator[Crew]:
    """One forge more, for tests in which two nodes run at the same time."""
    crew = Crew(1)
    yield crew
    crew.close()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Path]:
    """Where fleets of a test stand whose deaths take nothing from a disk: in memory."""
    with in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something that is shown at the end, whatever comes of the test."""
    return lambda words: record_property(FIGURES, words)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of each test."""
    show_figures(terminalreporter, FIGURES)


def show_figures(terminalreporter: Any, kind: str) -> None:
    """What the tests of one kind have said."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, words in report.user_properties:
                if name == kind and report.when == "call":
                    terminalreporter.write_line(f"{kind}: {words}")
