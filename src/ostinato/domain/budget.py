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
    written_usd_micros: int | None = None
    """What the provider writes into its cache; None: like any other input."""


def cost(price: Price, *, input_tokens: int, cached_tokens: int, output_tokens: int, written_tokens: int = 0) -> int:
    """Micro-dollars for a reply, rounded up, so that many small calls never sum to nothing. `cached_tokens` and
    `written_tokens` are parts of `input_tokens`."""
    cached = min(cached_tokens, input_tokens)
    written = min(written_tokens, input_tokens - cached)
    dear = price.input_usd_micros if price.written_usd_micros is None else price.written_usd_micros
    total = (
        (input_tokens - cached - written) * price.input_usd_micros
        + cached * price.cached_usd_micros
        + written * dear
        + output_tokens * price.output_usd_micros
    )
    return -(-total // 1_000_000)


def reservation(price: Price, *, prompt_tokens: int, output_tokens_max: int) -> int:
    """Micro-dollars to set aside before a call: the whole prompt at its dearest and the longest answer allowed."""
    written = prompt_tokens if (price.written_usd_micros or 0) > price.input_usd_micros else 0
    return cost(
        price, input_tokens=prompt_tokens, cached_tokens=0, output_tokens=output_tokens_max, written_tokens=written
    )


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
