"""Prices of models: from a list of 2,300 that is only loaded, in another process, for a model not seen before.

Loading the list here would cost 15 MB for as long as the node runs (measured); asking a short-lived process costs a
quarter of a second once, and a small file remembers the answer until the list itself changes. A price that is not known
is None, never 0. Knows nothing of ledgers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ostinato.domain.budget import Price
from ostinato.domain.values import Value

LOOK_UP_TIMEOUT_S = 20.0
"""A busy machine may take a second; after this the prices count as unknown."""

REMEMBERED_MAX = 1_000
"""Models in the file."""


class PriceQuery(Value, array_like=True):
    """Which model is meant. `address` helps where the provider's name is the fleet's own."""

    provider: str
    model: str
    address: str = ""


LookUp = Callable[[list[PriceQuery]], list[Price | None] | None]


class _Remembered(Value):
    """The file: valid for one version of the list."""

    version: str
    prices: dict[str, Price | None]


class PriceBook:
    """Finds prices, and remembers them in memory and, where a file is given, on disk. `look_up` asks the list; None
    where that failed, which is not remembered."""

    def __init__(self, file: Path | None = None, *, look_up: LookUp | None = None) -> None:
        self._file = file
        self._look_up = look_up or look_up_prices
        self._known: dict[str, Price | None] = {}
        self._loaded = False

    def find(self, queries: Sequence[PriceQuery]) -> list[Price | None]:
        """The price of each, None where it is unknown. Blocks for a moment when one is new; never raises."""
        if not self._loaded:
            self._known, self._loaded = self._read(), True
        unseen = list({_key(each): each for each in queries if _key(each) not in self._known}.values())
        if unseen:
            found = self._look_up(unseen)
            if found is not None:
                self._known |= {_key(each): price for each, price in zip(unseen, found, strict=True)}
                self._write()
        return [self._known.get(_key(each)) for each in queries]

    def _read(self) -> dict[str, Price | None]:
        if self._file is None:
            return {}
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=_Remembered)
        except (OSError, msgspec.MsgspecError, UnicodeError):  # missing or damaged: it is only a memory
            return {}
        return found.prices if found.version == _list_version() else {}

    def _write(self) -> None:
        """The file anew, whole or not at all."""
        if self._file is None:
            return
        kept = dict(list(self._known.items())[-REMEMBERED_MAX:])
        unfinished = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk or a read-only folder: the next start asks again
            unfinished.write_bytes(msgspec.json.encode(_Remembered(version=_list_version(), prices=kept)))
            unfinished.replace(self._file)


def _key(query: PriceQuery) -> str:
    return f"{query.provider}\n{query.model}\n{query.address}"


def _list_version() -> str:
    """What tells one edition of the list from another, without loading it."""
    spec = importlib.util.find_spec("genai_prices")
    if spec is None or spec.origin is None:
        return ""
    try:
        found = (Path(spec.origin).parent / "data.py").stat()
    except OSError:
        return ""
    return f"2-{found.st_size}-{found.st_mtime_ns}"  # the first number: what is asked of the list


def look_up_prices(queries: list[PriceQuery]) -> list[Price | None] | None:
    """Ask the list in a process of its own; None where that failed, which is not remembered."""
    kept = ("PATH", "PYTHONPATH", "HOME", "LANG", "SYSTEMROOT", "VIRTUAL_ENV")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name("price_list.py"))],
            input=msgspec.json.encode(queries),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOOK_UP_TIMEOUT_S,
            env={name: os.environ[name] for name in kept if name in os.environ},
            check=True,
        )
        found = msgspec.json.decode(done.stdout, type=list[tuple[int, int, int, int] | None])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
    if len(found) != len(queries):
        return None
    return [
        None
        if each is None
        else Price(
            input_usd_micros=each[0],
            cached_usd_micros=each[1],
            output_usd_micros=each[2],
            written_usd_micros=each[3] if each[3] > each[0] else None,
        )
        for each in found
    ]
