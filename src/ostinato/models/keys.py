"""API keys: secrets like all others, and of letters that a header can hold.

Knows nothing of providers. A key is read when it is needed and is in no message.
"""

from __future__ import annotations

from collections.abc import Mapping

from ostinato.engine.vault import look_up


class KeyMissing(Exception):
    """The key cannot be read; the text says why, without the key."""


def read_key(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The key in the variable `name`, else in the file that `<name>_FILE` names; empty where `name` is. Raises
    KeyMissing."""
    key = read_secret(name, environment) if name else ""
    if not key.isascii() or not key.isprintable():
        raise KeyMissing(f"the key in {name} has characters that no key has; was it pasted with a line break?")
    return key


def read_secret(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The same of any secret, whatever its letters. Raises KeyMissing."""
    whence, secret = look_up(name, environment)
    if secret is None:
        raise KeyMissing(f"no key: {whence.problem}" if not whence.source else whence.problem)
    return secret.reveal()
