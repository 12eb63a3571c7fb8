"""How many tokens a model really counts for what the runtime estimates: learned from its replies, kept in the store.

A factor for each model, written only when it has moved enough to matter. Knows nothing of prompts.
"""

from __future__ import annotations

import contextlib

from ostinato.domain.calibration import EVEN, factor_after, is_news
from ostinato.store.port import Reads, Tx

SETTING = "calibration:"


class Gauge:
    """Factors of a fleet's models; what is remembered here is what the store says, and what has been learned since."""

    def __init__(self) -> None:
        self._kept: dict[str, float] = {}
        """As the store has them."""
        self._learned: dict[str, float] = {}

    def tokens(self, reads: Reads, model: str, estimated: int) -> int:
        """An estimate as this model would count it."""
        return round(estimated * self._factor(reads, model))

    def learn(self, model: str, *, estimated: int, counted: int) -> None:
        """Called once for each reply: what was estimated for its prompt, and what the provider counted."""
        before = self._learned.get(model, self._kept.get(model, EVEN))
        self._learned[model] = factor_after(before, estimated=estimated, counted=counted)

    def keep(self, tx: Tx, model: str) -> None:
        """Called in the commit of a reply, however often that is performed: writes down what is news."""
        learned = self._learned.get(model)
        if learned is not None and is_news(self._factor(tx, model), learned):
            tx.set_setting(f"{SETTING}{model}", f"{learned:.3f}")

    def kept(self, model: str) -> None:
        """Called once the commit of a reply is on disk."""
        learned, kept = self._learned.get(model), self._kept.get(model)
        if learned is not None and kept is not None and is_news(kept, learned):
            self._kept[model] = learned

    def _factor(self, reads: Reads, model: str) -> float:
        if model not in self._kept:
            self._kept[model] = EVEN
            with contextlib.suppress(ValueError):
                self._kept[model] = float(reads.setting(f"{SETTING}{model}") or EVEN)
        return self._kept[model]


class NoGauge(Gauge):
    """Of turns without a model: nothing counts."""

    def tokens(self, reads: Reads, model: str, estimated: int) -> int:
        """None."""
        return 0

    def learn(self, model: str, *, estimated: int, counted: int) -> None:
        """Nothing is learned."""
