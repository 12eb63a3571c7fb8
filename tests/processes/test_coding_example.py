"""The example of a coding agent tells its story to the end."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_example_shows_a_program_that_outlives_its_node() -> None:
    command = [sys.executable, "-m", "examples.coding_agent.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.splitlines() == [
        "T1 is given to a program, which works by itself",
        "the node is stopped; the program goes on",
        "T1 is done: The greeting is polite now.",
        "-Hello, world.",
        "+Good morning, world.",
        "it says that it cost $0.0042; started 1 time",
    ]
