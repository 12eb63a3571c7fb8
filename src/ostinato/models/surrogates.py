"""Halves of surrogate pairs, from broken files, which no provider takes. Pure; knows nothing of requests."""

from __future__ import annotations

from typing import Any


def without_surrogates(value: Any) -> Any:
    """The same value with a question mark for each half of a pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(each) for key, each in value.items()}
    return [without_surrogates(each) for each in value] if isinstance(value, list | tuple) else value
