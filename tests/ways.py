"""A command's side of its way to the network, for tests whose folders have long names."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


async def connected(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the way in this folder: by the open folder, as the address of a socket has room for 107 bytes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/way")
    finally:
        os.close(descriptor)
