"""Bytes and texts from outside, made readable: the right letters, nothing invisible, nothing that moves a terminal.

Knows nothing of mails or files. Every function here takes whatever comes and never raises.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from html import unescape

HTML_CHARACTERS_MAX = 400_000
"""How much of an HTML text is looked at: many times what any agent is shown of it."""

_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
    "iso2022_jp": "iso2022_jp_2",
}
"""Character sets that people name, and the larger ones that their programs write (the WHATWG's encoding standard)."""

_NO_CHARACTER_SETS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"}
"""Codecs of Python that are no mail's: slow, noisy, or made for other things."""


def decoded(data: bytes, charset: str | None = None) -> str:
    """The text in `data`: in the character set it is said to be in, else UTF-8, else Western European.

    A declared set that does not exist or does not fit gives way to UTF-8 where that fits without an error.
    """
    declared = _codec_or_none(charset)
    for codec in (declared, "utf-8"):
        if codec is not None:
            try:
                return data.decode(codec)
            except (UnicodeError, ValueError):
                continue
    text = data.decode(declared or "utf-8", "replace")
    if declared not in {None, "utf-8"} or any(each > "\x7f" and each != "\ufffd" for each in text):
        return text  # some letters do fit: the rest is torn
    return data.decode("cp1252", "replace")


def _codec_or_none(charset: str | None) -> str | None:
    """The codec for a declared character set; None for unknown ones and for plain ASCII, which promises nothing."""
    if not charset:
        return None
    try:
        name = codecs.lookup(charset.strip()).name
        b"x".decode(name, "replace")  # raises LookupError for codecs between bytes and bytes
    except (LookupError, UnicodeError, ValueError):
        return None
    if name in _NO_CHARACTER_SETS or name == "ascii":
        return None
    return _WIDER.get(name, name)


_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_HALVES = re.compile("[\ud800-\udfff]")
_UNSEEN = re.compile("[\u00ad\u180e\u200b\u2060\ufeff]")
"""Characters without width or meaning, which only part a word in two."""
_UNSAFE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Control characters, marks that turn the direction of reading, and the invisible alphabet of tags."""


def readable(text: str) -> str:
    """The text as it may be shown and stored: lone surrogates replaced, line ends `\\n`, letters composed (NFC),
    invisible spaces gone; control characters and marks that change the direction appear as `\\u202e`."""
    text = _UNSEEN.sub("", _LINE_ENDS.sub("\n", _whole(text)))
    return _UNSAFE.sub(_escaped, unicodedata.normalize("NFC", text))


def readable_line(text: str) -> str:
    """The same on one line: line ends and runs of white space become one space."""
    return " ".join(readable(text).split())


def visible(text: str) -> str:
    """The text without any character that is not seen, as names of files need it."""
    return _UNSAFE.sub("", _UNSEEN.sub("", unicodedata.normalize("NFC", _whole(text))))


def _whole(text: str) -> str:
    """Without halves of characters, as Python keeps bytes that it could not read."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, size_bytes_max: int) -> tuple[str, int]:
    """The head and the tail of a text that is too long, with a line between that says so; and the bytes left out.

    Two thirds of the room go to the head. The line itself comes on top of `size_bytes_max`.
    """
    data = text.encode()
    if len(data) <= size_bytes_max:
        return text, 0
    head = data[: size_bytes_max * 2 // 3].decode(errors="ignore")
    tail = data[len(data) - size_bytes_max // 3 :].decode(errors="ignore")
    left_out = len(data) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[... {left_out:,} bytes are left out here ...]\n{tail}", left_out


# --- HTML ---------------------------------------------------------------------------------------------------------
#
# The standard library's parser takes quadratic time over broken markup (30 kB of `<a/<a/...`: 7 s) and raises for some.
# A text for reading needs less than a parser: where tags begin and end, and what a few of them mean.

_MARKUP = re.compile(r"<(?P<end>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9]{0,19})(?P<more>[^<>]{0,4000})>|<[!?][^<>]{0,4000}>")
_BREAKS = {
    "br", "p", "div", "tr", "table", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "pre", "section",
    "article", "header", "footer", "blockquote", "center", "form", "dl", "dt", "dd", "body",
}  # fmt: skip
_PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "pre"}
_SILENT = {"script", "style", "head", "title", "template"}
_ATTRIBUTE = re.compile(r"\b(alt|href)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)


def text_of_html(html: str) -> str:
    """What an HTML page says: its words in their order, one line for each block, links with their address.

    What is merely hidden by its style stays in, so that nothing is said behind the reader's back.
    """
    beyond = len(html) - HTML_CHARACTERS_MAX
    html = _without_comments(html[:HTML_CHARACTERS_MAX])
    pieces: list[str] = []
    silent, at, link = "", 0, ""
    for found in _MARKUP.finditer(html):
        if not silent:
            pieces.append(_words(html[at : found.start()]))
        at = found.end()
        tag, ends = (found["tag"] or "").lower(), bool(found["end"])
        if silent:
            silent = "" if ends and tag == silent else silent
        elif tag in _SILENT:
            silent = "" if ends else tag
        elif tag == "a":
            link = _link_after(link, pieces) if ends else _attribute(found["more"], "href")
        else:
            pieces.append(_around(tag, ends=ends, more=found["more"] or ""))
    if not silent:
        pieces.append(_words(html[at:]))
    if beyond > 0:
        pieces.append(f"\n[... {beyond:,} more characters of HTML were not looked at ...]")
    return _laid_out("".join(pieces))


def _without_comments(html: str) -> str:
    """Cuts comments out in one pass; one that never ends loses only its opening mark."""
    pieces, at = [], 0
    while (start := html.find("<!--", at)) >= 0:
        end = html.find("-->", start + 4)
        pieces.append(html[at:start])
        if end < 0:
            return "".join(pieces) + html[start + 4 :].replace("<!--", "")
        at = end + 3
    return "".join(pieces) + html[at:]


def _words(text: str) -> str:
    return re.sub(r"[ \t\r\n\f]+", " ", unescape(text))


def _attribute(more: str, name: str) -> str:
    for found in _ATTRIBUTE.finditer(more):
        if found[1].lower() == name:
            return unescape(found[2] or found[3] or found[4] or "")[:300]
    return ""


def _link_after(link: str, pieces: list[str]) -> str:
    """Puts a link's address behind its words, unless they are the same; ends the link."""
    said = "".join(pieces[-3:])
    if link.startswith(("http:", "https:", "mailto:")) and link.partition(":")[2].strip("/") not in said:
        pieces.append(f" ({link})")
    return ""


def _around(tag: str, *, ends: bool, more: str) -> str:
    """What a tag means for a text: a break, a dash, a space, a picture's words."""
    if tag in {"td", "th"}:
        return " "
    if tag == "li" and not ends:
        return "\n- "
    if tag == "img":
        words = _attribute(more, "alt").strip()
        return f"[picture: {words}]" if words else ""
    if tag in _PARAGRAPHS:
        return "\n\n"
    return "\n" if tag in _BREAKS else ""


def _laid_out(text: str) -> str:
    """Trims each line and leaves at most one empty line in a row."""
    lines = [re.sub(r"[ \t\xa0]+", " ", line).strip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
