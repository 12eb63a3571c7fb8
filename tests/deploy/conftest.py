"""The long form runs with OSTINATO_CRASH=full."""

from __future__ import annotations

from tests.crash.siege import FULL

collect_ignore = [] if FULL else ["test_many_deploys.py"]
