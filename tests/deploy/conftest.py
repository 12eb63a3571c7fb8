"""The long form runs with OSTINATO_CRASH=full."""

from __future__ import annotations

from tests.conftest import FULL

collect_ignore = [] if FULL else ["test_many_deploys.py"]
