"""Keeps what tests say of themselves (`tell`, a property of their reports) where the docs find it.

Only where `OSTINATO_FIGURES` names a file, as `make crash` does: a full run's figures replace those of the run before,
test by test. Knows nothing of what is counted.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

FILE = "OSTINATO_FIGURES"
TOLD = "told"
"""The property that holds a sentence. A dict under any other name is counted: for the test, or for what the property is
named after (`path::function`)."""


class Figures:
    """A plugin that listens to reports."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[str, list[str]] = {}
        self._counted: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes what a test that has passed said; counts of one test's parts are summed."""
        if report.when == "call" and report.passed:
            test = report.nodeid.partition("[")[0]
            for name, value in report.user_properties:
                if isinstance(value, dict):
                    self._counted.setdefault(name if "::" in name else test, Counter()).update(value)
                else:
                    self._told.setdefault(test, []).append(str(value).partition(": ")[2])

    def pytest_sessionfinish(self) -> None:
        """Writes them beside those of tests that have not run."""
        for test, counts in self._counted.items():
            counted = ", ".join(f"{name} {times:,}" for name, times in counts.most_common())
            self._told.setdefault(test, []).append(counted)
        if not self._told:
            return
        before = json.loads(self._path.read_text()) if self._path.exists() else {"told": {}}
        now = {
            "at": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)),
            "told": {**before["told"], **self._told},
        }
        self._path.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


def register(config: pytest.Config) -> None:
    """Begins to listen, where somebody wants to know."""
    path = os.environ.get(FILE)
    if path and not hasattr(config, "workerinput"):  # whoever gives out the tests hears of all of them
        config.pluginmanager.register(Figures(Path(path)))
