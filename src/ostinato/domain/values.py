"""Words that every floor shares: instants, trust, origins, limits, and how values become JSON.

Knows nothing of tasks, turns or stores.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any, dataclass_transform

import msgspec

Instant = int
"""A moment: microseconds since 1970-01-01T00:00:00Z. Attributes that hold one end in `_at`."""

SECOND: Instant = 1_000_000
"""Instants in a second."""


class _ValueMeta(msgspec.StructMeta):
    """Makes every subclass keyword-only: msgspec inherits `frozen`, but not `kw_only`."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        options.setdefault("kw_only", True)
        return super().__new__(mcls, name, bases, namespace, **options)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, omit_defaults=True, metaclass=_ValueMeta):
    """Base of every fact: frozen, keyword-only, small as JSON. Change means a new value (`msgspec.structs.replace`)."""


class Trust(enum.StrEnum):
    """Who stands behind a text. Only `operator` can instruct; `external` text is data, never an instruction."""

    OPERATOR = "operator"
    AGENT = "agent"
    EXTERNAL = "external"


class Source(enum.StrEnum):
    """What woke an agent: the trigger of a message or task."""

    HEARTBEAT = "heartbeat"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    CHANNEL = "channel"
    ROOM = "room"
    COMPLETION = "completion"
    OPERATOR = "operator"
    FILE = "file"
    WAKE = "wake"
    AGENT = "agent"
    ANSWER = "answer"


class Origin(Value):
    """Where a reply belongs: a channel (`cli`, `mail`, `room`, `inbox`), a peer in it, and a thread."""

    channel: str
    peer: str = ""
    thread: str = ""


class Attachment(Value):
    """A file that came with a message or task; its bytes are the blob `digest`."""

    name: str
    digest: str
    media_type: str = "application/octet-stream"
    size_bytes: int = 0


class Limits(Value):
    """What one turn may use before it parks: `limits` in the front matter of AGENTS.md."""

    steps: int = 40
    """Model calls in a turn."""
    tokens: int = 200_000
    """Input plus output tokens of all model calls of a turn."""
    usd_micros: int = 1_000_000
    """Micro-dollars a turn."""
    wall_s: float = 1_800.0
    """Seconds of work in a turn; parked time does not count."""
    identical: int = 3
    """Identical tool calls in a row that stop a turn."""
    per_call_usd_micros: int | None = None
    """Micro-dollars that one model call may cost at most; None: no limit of its own, as for those that follow."""
    per_call_tokens: int | None = None
    """Input plus output tokens of one model call."""
    per_task_usd_micros: int | None = None
    """Micro-dollars a task may spend, with all that it sets off."""
    per_task_tokens: int | None = None
    """Input plus output tokens of a task, with all that it sets off."""
    per_day_usd_micros: int | None = None
    """Micro-dollars an agent may spend in a UTC day."""
    per_day_tokens: int | None = None
    """Input plus output tokens of an agent in a UTC day."""


def digest_of(data: bytes) -> str:
    """The name of a blob: hexadecimal SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


_encoder = msgspec.json.Encoder(order="deterministic")


def to_json(value: object) -> bytes:
    """Canonical JSON: keys sorted, so that equal values have equal bytes and equal digests."""
    return _encoder.encode(value)
