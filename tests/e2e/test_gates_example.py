"""The example of gates tells its story to the end: what was allowed is written, as it was allowed, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_example_writes_exactly_what_a_person_has_allowed() -> None:
    command = [sys.executable, "-m", "examples.gates.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    lines = done.stdout.splitlines()
    verdicts = [line.split()[1].rstrip(":") for line in lines[1:5]]
    assert verdicts == ["allow", "ask", "ask", "deny"]
    decided = [
        line.split(":")[0].split(maxsplit=1)[1] for line in lines if line.startswith("  Q") and " before " in line
    ]
    assert decided == ["allowed", "allowed, changed", "denied", "allowed", "expired"]
    told = [line for line in lines if line.startswith("  the agent: denied")]
    assert told[0].endswith(" said no: she has paid already")
    assert told[1] == "  the agent: denied: nobody answered in time"
    assert lines[-4:] == [
        "  ann@example.com: You owe 120 EUR.",
        "  ben@example.com: You owe 20 EUR.",
        "  dora@example.com: Thank you.",
        "  emil@example.com: Thank you, too.",
    ]
