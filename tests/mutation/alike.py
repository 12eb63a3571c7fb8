"""Mutants that change nothing which anybody could see, each with the reason."""

from __future__ import annotations

ALIKE: dict[str, dict[str, str]] = {}
"""Module -> what stands in the mutant's place -> why it is no mutant."""
