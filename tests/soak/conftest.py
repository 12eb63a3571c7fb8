"""What the soak tests share with the crash tests. Knows nothing of what is tested."""

from __future__ import annotations

import os

from tests.conftest import FULL
from tests.crash.conftest import crew, ground

__all__ = ["crew", "ground"]


collect_ignore = [] if FULL or "OSTINATO_SOAK_S" in os.environ else ["test_soak.py"]
