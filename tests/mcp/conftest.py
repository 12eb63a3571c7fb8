"""A fleet's folder that belongs to an ordinary user, whoever runs the tests: one path for all, because what holds
servers is tried out once for each. Published servers are tried with OSTINATO_CRASH=full."""

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


@pytest.fixture(scope="session")
def _ground() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ostinato-mcp-test-", dir="/tmp"))
    try:
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def folder(_ground: Path) -> Iterator[Path]:
    (_ground / "shared").mkdir()
    (_ground / ".ostinato").mkdir(mode=0o700)
    give(_ground, ORDINARY)
    yield _ground
    for each in _ground.iterdir():
        shutil.rmtree(each)
