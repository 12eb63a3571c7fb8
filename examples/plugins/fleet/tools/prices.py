"""What furniture costs. Knows nothing of who buys it, or for whom."""

from __future__ import annotations

from typing import Annotated, Literal

from ostinato import tool

PRICES = {"chair": 120, "desk": 340}


@tool(effect="read")
def quote(item: Literal["chair", "desk"], count: Annotated[int, "How many."] = 1) -> str:
    """Work out a price; from ten on there is a tenth off."""
    price = PRICES[item] * count
    return f"{price * 9 // 10 if count >= 10 else price} EUR"
