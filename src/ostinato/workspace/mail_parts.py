"""The parts of a mail (MIME), sorted into what is meant to be read and what is attached.

The standard library splits a mail into parts; what it says about them is taken with care. Knows nothing of who sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message as Part

from ostinato.domain.values import Value
from ostinato.workspace.mail_headers import Headers, decoded_header, from_base64, quietly
from ostinato.workspace.readable import decoded, readable, readable_line, shortened, text_of_html, visible

ENCLOSED_BYTES_MAX = 6_000
"""Most of the text of a mail within the mail."""

ATTACHMENTS_MAX = 50
PARTS_MAX = 500
DEPTH_MAX = 30


class MailAttachment(Value):
    """A file that came with a mail. `name` is safe to write into a folder: no path, no surprises, no other like it."""

    name: str
    media_type: str
    size_bytes: int
    data: bytes


def report_of(message: Part) -> str:
    """What kind of report a mail is (RFC 6522): `delivery-status`, `disposition-notification`; empty for no report."""
    if _media_type(message) != "multipart/report":
        return ""
    named = quietly(lambda: message.get_param("report-type"))
    return readable_line(str(named))[:60] if named else "unnamed"


def _media_type(part: Part) -> str:
    return readable_line(quietly(part.get_content_type) or "application/octet-stream")[:100]


def _children(part: Part) -> list[Part]:
    """The parts of a multipart, or of a mail within the mail."""
    inside = part.get_payload()
    return [each for each in inside if isinstance(each, Part)] if isinstance(inside, list) else []


def _body(part: Part) -> bytes:
    """A leaf's bytes, its transfer encoding undone as far as it can be; an unknown encoding is none."""
    if Headers(part).line("content-transfer-encoding").lower().startswith("base64"):
        payload = quietly(part.get_payload)
        return from_base64(payload.encode("utf-8", "replace")) if isinstance(payload, str) else b""
    undone = quietly(lambda: part.get_payload(decode=True))
    return undone if isinstance(undone, bytes) else b""


class Contents:
    """Walks through a mail once, and sorts its parts into texts and attachments."""

    def __init__(self, message: Part, *, enclosed: bool = False) -> None:
        self.attachments: list[MailAttachment] = []
        self.attachments_left_out = 0
        self._parts = 0
        self._names: set[str] = set()
        self._keeps_files = not enclosed
        self._shows_enclosed = not enclosed and not report_of(message)
        self._texts = list(self._walk(message, depth=0))

    def text(self) -> str:
        """All of the text."""
        return "\n\n".join(each.strip("\n") for _, each in self._texts if each.strip())

    def _walk(self, part: Part, *, depth: int) -> Iterator[tuple[str, str]]:
        """Kind (`plain`, `html`) and text of each part that is meant to be read."""
        self._parts += 1
        if self._parts > PARTS_MAX or depth > DEPTH_MAX:
            return
        media_type, children = _media_type(part), _children(part)
        if media_type == "message/rfc822":
            self._attach(part, media_type)
            if self._shows_enclosed:
                yield from self._enclosed(children)
        elif media_type == "multipart/alternative":
            yield from _best([text for each in children for text in self._walk(each, depth=depth + 1)])
        elif children:
            for each in children:
                yield from self._walk(each, depth=depth + 1)
        elif media_type in {"text/plain", "text/html"} and not self._is_attachment(part):
            text = decoded(_body(part), _charset(part))
            kind = media_type.partition("/")[2]
            yield kind, readable(text_of_html(text) if kind == "html" else text)
        elif not media_type.startswith("multipart/"):
            self._attach(part, media_type)
        elif isinstance(part.get_payload(), str):  # says that it has parts, and has none
            yield "plain", readable(decoded(_body(part)))

    def _enclosed(self, children: list[Part]) -> Iterator[tuple[str, str]]:
        """The text of the first mail within the mail; whatever else is in it stays in its file."""
        self._shows_enclosed = False
        for each in children[:1]:
            headers, contents = Headers(each), Contents(each, enclosed=True)
            text, _ = shortened(contents.text(), ENCLOSED_BYTES_MAX)
            yield "plain", f"--- enclosed mail from {headers.line('from')}: {headers.line('subject')} ---\n{text}"

    def _is_attachment(self, part: Part) -> bool:
        return bool(_file_name(part)) or quietly(part.get_content_disposition) == "attachment"

    def _attach(self, part: Part, media_type: str) -> None:
        if not self._keeps_files:
            return
        if len(self.attachments) >= ATTACHMENTS_MAX:
            self.attachments_left_out += 1
            return
        data = _body(part)
        if media_type == "message/rfc822":
            data = next((found for each in _children(part) if (found := quietly(each.as_bytes))), b"")
        name = self._unique(safe_name(_file_name(part)) or _made_up_name(len(self.attachments) + 1, media_type))
        self.attachments.append(MailAttachment(name=name, media_type=media_type, size_bytes=len(data), data=data))

    def _unique(self, name: str) -> str:
        stem, dot, extension = name.rpartition(".")
        stem, ending = (stem, dot + extension) if stem else (name, "")
        number, unique = 1, name
        while unique.casefold() in self._names:
            number += 1
            unique = f"{stem}-{number}{ending}"
        self._names.add(unique.casefold())
        return unique


def _best(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of alternatives, the plain text where it says anything, else the HTML."""
    plain = [each for each in texts if each[0] == "plain" and each[1].strip()]
    return plain or [each for each in texts if each[0] == "html"]


def _charset(part: Part) -> str | None:
    named = quietly(part.get_content_charset)
    return named if isinstance(named, str) else None


def _file_name(part: Part) -> str:
    named = quietly(part.get_filename)
    return decoded_header(named) if isinstance(named, str) else ""


_UNFIT = re.compile(r"[\x00-\x1f\x7f<>:\"/\\|?*]+")


def safe_name(name: str) -> str:
    """A file name without a path, without characters that some system forbids, at most 120 bytes with its ending kept;
    empty where nothing is left of it."""
    last = re.split(r"[/\\]", visible(name.rstrip("/\\")))[-1]
    last = _UNFIT.sub("_", " ".join(last.split())).strip(" .-_~")
    if len(last.encode()) <= 120:
        return last
    stem, dot, ending = last.rpartition(".")
    ending = dot + ending if stem and len(ending.encode()) <= 16 else ""
    return (stem or last).encode()[: 120 - len(ending.encode())].decode(errors="ignore") + ending


_ENDINGS = {
    "text/html": "html", "text/calendar": "ics", "text/csv": "csv", "image/png": "png",
    "image/jpeg": "jpg", "image/gif": "gif", "application/pdf": "pdf", "message/rfc822": "eml",
}  # fmt: skip


def _made_up_name(number: int, media_type: str) -> str:
    other = "txt" if media_type.startswith("text/") else "bin"
    return f"attachment-{number}.{_ENDINGS.get(media_type, other)}"
