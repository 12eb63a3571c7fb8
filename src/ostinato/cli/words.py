"""Values as a person reads them: times in the local zone, ages, money, sizes.

Knows nothing of commands.
"""

from __future__ import annotations

from datetime import datetime


def when(text: str | None) -> str:
    """An ISO time in this machine's zone, to the second; `-` for none."""
    if not text:
        return "-"
    try:
        return datetime.fromisoformat(text).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return text


def age(text: str | None, *, now: str) -> str:
    """How long ago, or `in ...`, counted from the fleet's own now; `-` for none."""
    if not text:
        return "-"
    distance = (datetime.fromisoformat(now) - datetime.fromisoformat(text)).total_seconds()
    return f"in {length(-distance)}" if distance < -0.5 else f"{length(max(0.0, distance))} ago"


def length(seconds: float | None) -> str:
    """A duration with its two largest units: `4m12s`, `3h5m`, `2d4h`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    for unit, size, below, small in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size}{unit}" + (f"{rest}{below}" if rest else "")
    return f"{whole}s"


def money(usd: float | None, *, unpriced: int = 0) -> str:
    """Dollars, as fine as the amount needs; what is unknown is said, never shown as 0."""
    if usd is None:
        return "unknown"
    text = "$0" if usd == 0 else f"${usd:.2f}" if usd >= 1 else f"${usd:.4f}" if usd >= 0.0001 else f"${usd:.6f}"
    return f"at least {text}" if unpriced else text


def size(count: int) -> str:
    """Bytes."""
    amount, unit = float(count), "B"
    for following in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, following
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def count(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
