"""Which models stand behind a name, in the order in which they are asked. Pure.

A tier stands for its models, one after the other; after a model come the ones that it falls back to. Each is asked
once, so that tiers and models may name each other. Knows nothing of how models are asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from ostinato.domain.errors import Invalid, unknown_name
from ostinato.models.settings import TIERS

STRONGEST = "strong"
"""The tier that takes over where the replies of others stay malformed."""


class Chains:
    """The chains of one fleet. `fallbacks`: model -> models or tiers; `tiers`: tier -> models or tiers; `default`: a
    model or a tier. Raises Invalid for names that lead nowhere."""

    def __init__(
        self, fallbacks: Mapping[str, Sequence[str]], *, tiers: Mapping[str, Sequence[str]], default: str | None
    ) -> None:
        self._fallbacks = fallbacks
        self._tiers = tiers
        self._default = default or _default(fallbacks, tiers)
        self._found: dict[str | None, tuple[str, ...]] = {}
        self._check()
        self._strongest = self.of(STRONGEST)[0] if self._tiers.get(STRONGEST) else None

    def _check(self) -> None:
        for tier, names in self._tiers.items():
            if tier not in TIERS:
                raise Invalid(unknown_name("tier", tier, TIERS), place="models.tiers")
            self._check_names(names, place=f"models.tiers.{tier}")
            if names and not self.of(tier):
                raise Invalid(f"the tier {tier!r} leads to no model", place=f"models.tiers.{tier}", cure="Name one.")
        for model, names in self._fallbacks.items():
            self._check_names(names, place=f"models.{model}.fallback")
        if self._default is not None:
            self._check_names((self._default,), place="models.default")

    def _check_names(self, names: Sequence[str], *, place: str) -> None:
        known = {*self._fallbacks, *(tier for tier, behind in self._tiers.items() if behind)}
        for name in names:
            if name not in known:
                raise Invalid(unknown_name("model", name, known), place=place)

    def of(self, wanted: str | None) -> tuple[str, ...]:
        """Names of models, the first one to ask first; empty for an unknown name, or where there is no default."""
        found = self._found.get(wanted)
        if found is None:
            found = tuple(self._followed(wanted))
            if wanted in TIERS or wanted is None or wanted in self._fallbacks:  # not whatever people may type
                self._found[wanted] = found
        return found

    def strongest(self) -> str | None:
        """The first model of the tier `strong`; None where it is not set."""
        return self._strongest

    def _followed(self, wanted: str | None) -> list[str]:
        first = self._default if wanted is None or (wanted in TIERS and not self._tiers.get(wanted)) else wanted
        left, seen, found = deque([first] if first else ()), set[str](), list[str]()
        while left:
            name = left.popleft()
            if name in seen:
                continue
            seen.add(name)
            if name in self._fallbacks:
                found.append(name)
                left.extend(self._fallbacks[name])
            else:
                left.extendleft(reversed(self._tiers.get(name, ())))
        return found


def _default(models: Mapping[str, object], tiers: Mapping[str, Sequence[str]]) -> str | None:
    """The standard tier, or the only model."""
    if tiers.get("standard"):
        return "standard"
    return next(iter(models)) if len(models) == 1 else None
