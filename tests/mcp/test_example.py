"""The example of tools that a fleet brings with it tells its story to the end."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_example_files_its_note_once_after_a_person_has_said_yes() -> None:
    command = [sys.executable, "-m", "examples.plugins.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.splitlines()[-3:] == [
        "Q1 asks: before mcp.notes.add(text='40 chairs: ok: 4320 EUR')",
        "Q1 is allowed",
        "filed: 40 chairs: ok: 4320 EUR",
    ]
