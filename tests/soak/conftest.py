"""What the soak tests share with the crash tests, and which of all tests begins. Knows nothing of what is tested."""

from __future__ import annotations

import os

import pytest

from tests.conftest import FULL
from tests.crash.conftest import crew, ground

__all__ = ["crew", "ground"]


collect_ignore = [] if FULL or "OSTINATO_SOAK_S" in os.environ else ["test_soak.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lasts for half an hour and mostly waits begins, so that the others run beside it."""
    items.sort(key=lambda each: each.path.name != "test_soak.py")
