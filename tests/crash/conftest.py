"""What the crash tests share: forges that are kept for all of them, and where their fleets stand.

Knows nothing of what is tested.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.ground import in_memory
from tests.crash.trial import Crew


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
