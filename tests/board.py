"""What a full run of the crash tests has come to, harness by harness: a table for somebody who has waited for an hour.

A harness is a file of tests. What its tests count is summed; what they say of what takes long is shown as it comes.
Only with OSTINATO_CRASH=full. Knows nothing of what is counted.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.figures import TOLD

LONG_S = 10.0
"""A test that takes longer is told of when it has ended."""

DONE_WIDTH = 66
"""Characters of a row for what was done; the rest of the counts is left out."""

BUG = "notice"
"""In the name of a test that plants a bug, which its harness has to notice."""


@dataclass
class Harness:
    """One row."""

    done: Counter[str] = field(default_factory=Counter)
    tests: int = 0
    failed: int = 0
    bugs: int = 0
    unnoticed: int = 0
    seconds: float = 0.0

    def take(self, report: pytest.TestReport) -> None:
        """One test has ended, or one of its three phases has failed."""
        self.seconds += report.duration
        is_bug = BUG in report.nodeid.rpartition("::")[2]
        if report.when == "call":
            self.tests, self.bugs = self.tests + 1, self.bugs + is_bug
            for _, value in report.user_properties:
                if isinstance(value, dict):
                    self.done.update(value)
        if report.failed:
            self.unnoticed, self.failed = self.unnoticed + is_bug, self.failed + (not is_bug)

    def cells(self, name: str) -> tuple[str, str, str, str, str]:
        """As a table shows it."""
        done = f"{self.tests} tests"
        for what, times in self.done.items():  # those that its tests name first say most
            if len(more := f"{done}, {times:,} {what}") <= DONE_WIDTH:
                done = more
        bugs = f"{self.bugs - self.unnoticed} of {self.bugs}" if self.bugs else ""
        return name, done, f"{self.failed} FAILED" if self.failed else "0", bugs, _minutes(self.seconds)


class Board:
    """A plugin that listens to reports."""

    def __init__(self) -> None:
        self._harnesses: dict[str, Harness] = {}
        self._terminal: Any = None
        self._began_s = time.monotonic()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Finds what it may write to."""
        self._terminal = session.config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes what a test has counted."""
        name = name_of(report.nodeid)
        self._harnesses.setdefault(name, Harness()).take(report)
        if report.when == "call" and report.duration > LONG_S and self._terminal is not None:
            words = "; ".join(str(value) for key, value in report.user_properties if key == TOLD)
            test = report.nodeid.rpartition("::")[2].removeprefix("test_")
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{_minutes(report.duration)} {report.outcome}: {words or f'{name}: {test}'}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table, below everything else."""
        heads = ("harness", "what was done", "losses", "bugs noticed", "took")
        rows = [heads, *(harness.cells(name) for name, harness in sorted(self._harnesses.items()))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        terminalreporter.section("harnesses")
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
            terminalreporter.write_line("  ".join((*cells, row[-1].rjust(widths[-1]))))
        terminalreporter.write_line(f"In all {_minutes(time.monotonic() - self._began_s)} by the clock.")


def name_of(nodeid: str) -> str:
    """`crash: random kills` for `tests/crash/test_random_kills.py::…`."""
    path = Path(nodeid.partition("::")[0])
    return f"{path.parent.name}: {path.stem.removeprefix('test_').replace('_', ' ')}"


def _minutes(seconds: float) -> str:
    """`12:05` for 725 s."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def register(config: pytest.Config) -> None:
    """Begins to listen, in the process that hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Board())
