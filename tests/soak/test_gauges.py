"""The gauges of the soak see a process that leaks, and are content with one that does not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import wait_until
from tests.soak.gauges import Growth, Sample, growth, look

LEAKS = """
import sys
kept = []
for line in sys.stdin:
    if sys.argv[1] == "leaks":
        kept += [open("/dev/null"), bytearray(200_000)]
    sys.stdout.write(line)
    sys.stdout.flush()
"""


def test_a_process_that_leaks_is_noticed() -> None:
    grown = growth_of("leaks")
    assert grown.descriptors > 10
    assert grown.rss_bytes > 1_000_000


def test_a_process_that_does_not_leak_is_let_be() -> None:
    grown = growth_of("is tight")
    assert grown.descriptors == 0
    assert grown.rss_bytes < 1_000_000


def growth_of(manner: str) -> Growth:
    """Of a process over forty rounds of work."""
    command = [sys.executable, "-I", "-c", LEAKS, manner]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        samples: list[Sample] = []
        for _ in range(40):
            process.stdin.write("work\n")
            process.stdin.flush()
            assert process.stdout.readline()
            sample = wait_until(lambda: look(process.pid, database=Path("/nowhere"), at_s=time.monotonic()))
            samples.append(sample)
        process.stdin.close()
    return growth(samples)
