"""What the power cut tests share with the crash tests. Knows nothing of what is tested."""

from tests.crash.conftest import crew, ground, tell

__all__ = ["crew", "ground", "tell"]
