"""The example of secrets tells its story to the end: the service has the key, and nobody else."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_example_shows_that_the_service_alone_gets_the_key() -> None:
    command = [sys.executable, "-m", "examples.secrets.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "BILLING_API_KEY: from the file, for agent billing",
        "the service got the key: yes",
        "Authorization: Bearer ***",
    ]
    assert lines[3].startswith("files of the fleet that hold it: 0 of ")
    assert lines[3].endswith("; lines of the log: 0")
