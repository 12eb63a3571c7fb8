"""API keys: from the environment by name, or from a file that the environment names. Never from settings.

Knows nothing of providers. A key is read when it is first needed and is in no message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

KEY_MAX_BYTES = 16_384
"""Longest key file that is read; tokens of cloud identity services have a few kilobytes."""


class KeyMissing(Exception):
    """The key cannot be read; the text says why, without the key."""


def read_key(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The key in the variable `name`, else in the file that `<name>_FILE` names; empty where `name` is. Raises
    KeyMissing."""
    if not name:
        return ""
    environment = os.environ if environment is None else environment
    key = environment.get(name, "").strip()
    file = environment.get(f"{name}_FILE", "").strip()
    if not key and file:
        key = _from_file(name, Path(file))
    if not key:
        raise KeyMissing(f"no key: neither {name} nor {name}_FILE is set")
    if not key.isascii() or not key.isprintable():
        raise KeyMissing(f"the key in {name} has characters that no key has; was it pasted with a line break?")
    return key


def _from_file(name: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            found = opened.read(KEY_MAX_BYTES)
    except OSError as error:
        raise KeyMissing(f"the file that {name}_FILE names cannot be read: {error.strerror or error}") from error
    try:
        return found.decode().strip()
    except UnicodeDecodeError as error:
        raise KeyMissing(f"the file that {name}_FILE names is not text") from error
