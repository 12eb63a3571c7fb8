"""The example of budgets tells its story to the end: one question, one leave, three pages."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_example_asks_once_and_goes_on_with_what_was_granted() -> None:
    command = [sys.executable, "-m", "examples.budgets.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    asked, spent = done.stdout.splitlines()
    assert asked.startswith("Q1: The day's budget of agent 'writer' has no room for")
    assert spent == "pages: done, done, done; spent $0.018"
