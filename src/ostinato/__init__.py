"""Ostinato, a runtime for fleets of AI agents that keep working when nobody is watching.

This module carries the version and loads nothing, so that `ostinato --version` stays quick; what files of Python tools
import (`tool`, `agent` and their kind) is loaded when it is asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` has the same name, and is a quarter of what `--version` would load
if TYPE_CHECKING:
    from typing import Any

_LATE = ("tool", "agent", "Call", "Context", "Refused", "CallFailed")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for."""
    if name in _LATE:
        from ostinato.tools.python import worker

        return getattr(worker, name)
    raise AttributeError(f"module 'ostinato' has no attribute {name!r}")
