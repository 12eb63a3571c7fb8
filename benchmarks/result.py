"""One measured number, the floor it must reach and the bound it is compared with. Knows nothing of how it was taken."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

Bench = Callable[[], Sequence["Result"]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row of the table. `floor` and `bound` are None where there is none; `ok` is None where nothing is demanded."""

    name: str
    value: float
    unit: str
    floor: str = ""
    bound: float | None = None
    ok: bool | None = None
    note: str = ""

    def as_json(self) -> str:
        """One JSON object on one line."""
        fields = asdict(self)
        fields["value"] = round(self.value, 3)
        fields["bound"] = None if self.bound is None else round(self.bound, 3)
        fields["floor"] = self.floor or None
        return json.dumps(fields)


def at_least(
    name: str, value: float, unit: str, *, floor: float, bound: float | None = None, share: float = 0.0, note: str = ""
) -> Result:
    """A number that must not be lower than `floor`, nor than `share` of the bound."""
    ok = value >= floor and (bound is None or value >= share * bound)
    words = f">= {floor:g}" + (f" and >= {share:.0%} of the bound" if share else "")
    return Result(name=name, value=value, unit=unit, floor=words, bound=bound, ok=ok, note=note)


def at_most(name: str, value: float, unit: str, *, floor: float, bound: float | None = None, note: str = "") -> Result:
    """A number that must not be higher than `floor`."""
    return Result(name=name, value=value, unit=unit, floor=f"<= {floor:g}", bound=bound, ok=value <= floor, note=note)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=1_000, method="inclusive")[min(998, max(0, round(share * 1_000) - 1))]
