"""Where a fleet's Unix socket is, for whoever listens there and for whoever connects.

Knows nothing of what is said over it: a command that asks a node need not load what answers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

SOCKET_NAME = "ostinato.sock"

PATH_BYTES_MAX = 100
"""A Unix socket's address has room for about 107 bytes; longer ones are reached through the open directory."""


@contextlib.contextmanager
def socket_address(state_dir: Path) -> Iterator[str]:
    """The address of the fleet's socket, for bind or connect, however deep the fleet's folder lies."""
    path = str(state_dir / SOCKET_NAME)
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield path
        return
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)
