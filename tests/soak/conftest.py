"""What the soak tests share with the crash tests. Knows nothing of what is tested."""

from __future__ import annotations

import os

from tests.crash.conftest import crew, ground
from tests.crash.siege import FULL

__all__ = ["crew", "ground"]


collect_ignore = [] if FULL or "OSTINATO_SOAK_S" in os.environ else ["test_soak.py"]
