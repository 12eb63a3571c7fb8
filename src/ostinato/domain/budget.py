"""Money before it is spent: what a model call may cost at most, and whether a budget has room for it.

Knows nothing of prices tables or ledgers. Money is reserved on intent and settled on reply, so a crash in between
errs on the side of having spent it.
"""

from __future__ import annotations

from ostinato.domain.values import Value


class Price(Value):
    """Micro-dollars per million tokens."""

    input_usd_micros: int
    cached_usd_micros: int
    output_usd_micros: int


def cost(price: Price, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    """Micro-dollars for a reply, rounded up, so that many small calls never sum to nothing."""
    fresh = max(0, input_tokens - cached_tokens)
    total = (
        fresh * price.input_usd_micros
        + min(cached_tokens, input_tokens) * price.cached_usd_micros
        + output_tokens * price.output_usd_micros
    )
    return -(-total // 1_000_000)


def reservation(price: Price, *, prompt_tokens: int, output_tokens_max: int) -> int:
    """Micro-dollars to set aside before a call: the whole prompt uncached and the longest answer allowed."""
    return cost(price, input_tokens=prompt_tokens, cached_tokens=0, output_tokens=output_tokens_max)


class Account(Value):
    """What a scope (an agent's day, the fleet's day) has used of its limit."""

    spent_usd_micros: int = 0
    reserved_usd_micros: int = 0
    limit_usd_micros: int | None = None

    def has_room(self, amount: int) -> bool:
        """True where `amount` more micro-dollars stay within the limit."""
        if self.limit_usd_micros is None:
            return True
        return self.spent_usd_micros + self.reserved_usd_micros + amount <= self.limit_usd_micros
