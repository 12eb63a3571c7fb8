"""Server-sent events: blocks of bytes in, the data of each event out. Pure.

Blocks are cut into events with two passes of C code (`split`), not line by line: a reply of a thousand small events is
the common case. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html. Knows nothing of dialects.
"""

from __future__ import annotations


class EventReader:
    """Bytes to the data of events. Blocks may be cut anywhere."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    def feed(self, block: bytes) -> list[bytes]:
        """The data of each event that this block completes; comments and events without data are left out."""
        if b"\n" not in block and b"\r" not in block:
            self._pending.append(block)  # joined once, so that an endless line costs no more than its length
            return []
        text = b"".join((*self._pending, block))
        if b"\r" in text:
            text = self._with_line_feeds(text)
        *whole, rest = text.split(b"\n\n")
        self._pending = [rest]
        return [data for event in whole if (data := _data_of(event))]

    def rest(self) -> list[bytes]:
        """The data of a last event that no empty line has ended."""
        text = b"".join(self._pending).rstrip(b"\r\n")
        self._pending = []
        return [data] if (data := _data_of(text.replace(b"\r\n", b"\n"))) else []

    def _with_line_feeds(self, text: bytes) -> bytes:
        """The text with one kind of line end; a carriage return at the very end stays, its line feed may follow."""
        last = b"\r" if text.endswith(b"\r") else b""
        body = text[: len(text) - len(last)]
        return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + last


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = (line for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(line[5:].strip() for line in lines)
