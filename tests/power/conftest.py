"""What the power cut tests share with the crash tests. Knows nothing of what is tested."""

from __future__ import annotations

from tests.crash.conftest import crew, ground

__all__ = ["crew", "ground"]
