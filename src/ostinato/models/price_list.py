"""Looks prices up in genai-prices, in a process of its own: the list takes 15 MB and a tenth of a second to load.

Reads a JSON list of [provider, model, address] from standard input and writes a list of [input, cached, output, written
to the cache] in micro-dollars for a million tokens, or null, in the same order. Run as a file by `prices.py`; nothing
imports it.
"""

from __future__ import annotations

import json
import sys
from decimal import ROUND_CEILING, Decimal

import genai_prices

TOKENS = 1000
"""Tokens priced; small, so that the price is the one of short contexts where long ones cost more."""


def main() -> None:
    """Answer one list of questions."""
    sys.stdout.write(json.dumps([look_up(*each) for each in json.load(sys.stdin)]))


def look_up(provider: str, model: str, address: str) -> list[int] | None:
    """The price of one model; by the provider's name, else by its address. None where the list does not know it."""

    def by_name(usage: genai_prices.Usage) -> Decimal:
        return genai_prices.calc_price(usage, model, provider_id=provider).total_price

    def by_address(usage: genai_prices.Usage) -> Decimal:
        return genai_prices.calc_price(usage, model, provider_api_url=address).total_price

    for price in (by_name, by_address):
        try:
            return [
                _micros(price(genai_prices.Usage(input_tokens=TOKENS))),
                _micros(price(genai_prices.Usage(input_tokens=TOKENS, cache_read_tokens=TOKENS))),
                _micros(price(genai_prices.Usage(output_tokens=TOKENS))),
                _micros(price(genai_prices.Usage(input_tokens=TOKENS, cache_write_tokens=TOKENS))),
            ]
        except (LookupError, ValueError):
            continue
    return None


def _micros(dollars: Decimal) -> int:
    """Micro-dollars for a million tokens, from the dollars for TOKENS."""
    return int((dollars * (1_000_000 // TOKENS) * 1_000_000).to_integral_value(ROUND_CEILING))


if __name__ == "__main__":
    main()
