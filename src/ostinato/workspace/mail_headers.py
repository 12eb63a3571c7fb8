"""The headers of a mail, decoded as leniently as possible.

The standard library's own decoding is not used: it raises for some broken headers and loses letters of others. Knows
nothing of parts and bodies.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Callable
from email.message import Message as Part
from email.utils import getaddresses
from typing import TypeVar

from ostinato.workspace.readable import decoded, readable_line

T = TypeVar("T")

LINE_CHARACTERS_MAX = 500
"""Most of one header."""


def quietly(read: Callable[[], T]) -> T | None:
    """What `read` gives, or None: the standard library raises many kinds of errors for broken mail, down to
    RecursionError, and none of them may stop the reader."""
    try:
        return read()
    except Exception:  # see above
        return None


_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]{0,2000})\?=")
_ADDRESS = re.compile(r"[^\s<>@,;:\"()\\]{1,64}@[^\s<>@,;:\"()\\]{1,255}")
_CHECKS = re.compile(r"\b(spf|dkim|dmarc)\s*=\s*(?:hard|soft)?fail\b", re.IGNORECASE)

ADDRESSES_MAX = 50
"""Receivers of a mail that are looked at."""


class Headers:
    """The headers of one part, decoded."""

    def __init__(self, part: Part) -> None:
        self._lines: dict[str, list[str]] = {}
        for name, value in part.raw_items():
            self._lines.setdefault(name.lower(), []).append(str(value))

    def line(self, name: str) -> str:
        """The first header of that name, on one line."""
        return header_text(self._lines.get(name, [""])[0])

    def address(self, name: str) -> str:
        """The first mail address in a header."""
        raw = self._lines.get(name, [""])[0][: 4 * LINE_CHARACTERS_MAX]
        pairs = quietly(lambda: getaddresses([_unfolded(raw)])) or []
        candidates = [address for _, address in pairs] + [header_text(raw)]
        found = next((match for each in candidates if (match := _ADDRESS.search(each))), None)
        return readable_line(found[0]).lower() if found else ""

    def addresses(self, *names: str) -> tuple[str, ...]:
        """The mail addresses in these headers, each once, the first ADDRESSES_MAX."""
        found: dict[str, None] = {}
        for name in names:
            for value in self._lines.get(name, []):
                raw = value[: 4 * LINE_CHARACTERS_MAX]
                pairs = quietly(lambda raw=raw: getaddresses([_unfolded(raw)])) or []  # type: ignore[misc]  # bound at once
                matches = (_ADDRESS.search(address) for _, address in pairs)
                found |= {readable_line(each[0]).lower(): None for each in matches if each}
        return tuple(found)[:ADDRESSES_MAX]

    def auto_submitted(self) -> str:
        """RFC 3834, or what older programs say instead."""
        said = self.line("auto-submitted")
        if said:
            return "" if said.lower().startswith("no") else said
        return self.line("x-autoreply") or self.line("x-autorespond")

    def is_spam(self) -> bool:
        """True where a filter says so."""
        said = [self.line("x-spam-flag"), self.line("x-spam-status"), self.line("x-spam")]
        return any(each.lower().startswith(("yes", "true")) for each in said)

    def failed_checks(self) -> tuple[str, ...]:
        """From the first Authentication-Results: the one of the server that received the mail last."""
        return tuple(sorted({each.lower() for each in _CHECKS.findall(self.line("authentication-results"))}))


def _unfolded(value: str) -> str:
    return decoded(_bytes_of(value)).replace("\r", "").replace("\n", "")


def _bytes_of(value: str) -> bytes:
    """The bytes that were there: the parser keeps those beyond ASCII as lone surrogates."""
    return quietly(lambda: value.encode("utf-8", "surrogateescape")) or value.encode("utf-8", "replace")


def header_text(value: str) -> str:
    """A header, decoded and readable, on one line."""
    line = readable_line(decoded_header(value))
    return line if len(line) <= LINE_CHARACTERS_MAX else f"{line[:LINE_CHARACTERS_MAX]} [...]"


def decoded_header(value: str) -> str:
    """A header with its encoded words (RFC 2047) decoded, as leniently as possible."""
    plain = _unfolded(value[: 20 * LINE_CHARACTERS_MAX])
    pieces: list[str] = []
    waiting: list[tuple[str, bytes]] = []
    at = 0
    for found in _ENCODED_WORD.finditer(plain):
        between = plain[at : found.start()]
        if between.strip() or not waiting:  # white space between two encoded words is not part of the text
            pieces += [_decoded_words(waiting), between]
            waiting = []
        waiting.append((found[1].partition("*")[0], _word_bytes(found[2], found[3])))
        at = found.end()
    return "".join([*pieces, _decoded_words(waiting), plain[at:]])


def _decoded_words(words: list[tuple[str, bytes]]) -> str:
    """Neighbours in one character set are joined first: some programs part a letter between two words."""
    joined: list[tuple[str, bytes]] = []
    for charset, data in words:
        stateless = not charset.lower().startswith("iso-2022")
        if joined and stateless and joined[-1][0].lower() == charset.lower():
            joined[-1] = (charset, joined[-1][1] + data)
        else:
            joined.append((charset, data))
    return "".join(decoded(data, charset) for charset, data in joined)


def _word_bytes(kind: str, text: str) -> bytes:
    if kind in "bB":
        return from_base64(text.encode("utf-8", "replace"))
    return quopri.decodestring(text.replace("_", " ").encode("utf-8", "replace"), header=False)


def from_base64(data: bytes) -> bytes:
    """Decodes what there is: foreign characters dropped, padding added, an odd last character left out."""
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    kept = kept[: len(kept) - (len(kept) % 4 == 1)]
    return base64.b64decode(kept + b"=" * (-len(kept) % 4))
