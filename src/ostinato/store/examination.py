"""What a store says about its surroundings, where these decide whether it can keep its word.

Knows nothing of which store it is, or of who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from ostinato.domain.values import Value


class Remark(Value):
    """What a store says about how it is set up. `level`: `ok`, `warn` or `bad`."""

    name: str
    level: Literal["ok", "warn", "bad"]
    text: str
    cure: str = ""


@runtime_checkable
class Examinable(Protocol):
    """A store whose surroundings decide whether it can keep its word, such as a server with copies."""

    async def examine(self) -> Sequence[Remark]: ...
