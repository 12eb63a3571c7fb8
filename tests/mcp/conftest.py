"""A fleet's folder that belongs to an ordinary user, whoever runs the tests. Published servers are tried with
OSTINATO_CRASH=full."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mcp.bench import give
from tests.sandbox.ground import ORDINARY

collect_ignore = [] if os.environ.get("OSTINATO_CRASH") == "full" else ["test_real_servers.py"]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ostinato-mcp-test-", dir="/tmp"))
    try:
        made.chmod(0o755)
        (made / "shared").mkdir()
        (made / ".ostinato").mkdir(mode=0o700)
        give(made, ORDINARY)
        yield made
    finally:
        shutil.rmtree(made)
