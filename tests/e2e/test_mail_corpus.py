"""The mails of the support inbox example are complete, varied, described, and harmless.

Knows nothing of the demo that reads them: it looks at the bytes with the standard library alone.
"""

import codecs
import email
import ipaddress
import re
import struct
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import Message
from email.policy import compat32, default
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

MAILS = Path(__file__).parents[2] / "examples" / "support_inbox" / "mails"
ENDINGS = {"billing", "technical", "sales", "logged", "person"}
ROW = re.compile(r"^\| (\S+\.eml) \| (\w+) \| (.+) \| (\w+) \|$", re.MULTILINE)

# RFC 2606 and RFC 6761 reserve the names, RFC 5737 and RFC 1918 the addresses.
RESERVED_NAME = re.compile(r"(^|\.)(example|test|invalid|localhost|example\.com|example\.org|example\.net)$")
RESERVED_NETS = [
    ipaddress.ip_network(net)
    for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "127.0.0.0/8")
]
# A host is what follows "@" or "//", and any bare name under a top level that people buy.
HOST_AFTER_SIGN = re.compile(r"(?:@|//)\[?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
HOST_BARE = re.compile(
    r"\b((?:[A-Za-z0-9-]+\.)+"
    r"(?:com|org|net|edu|gov|info|biz|eu|uk|de|at|ch|fr|es|it|jp|pl|pt|cn|io|ai|dev|app|xyz))\b",
    re.IGNORECASE,
)
IP_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")


class Row(NamedTuple):
    """One line of the README's table."""

    language: str
    special: str
    ending: str


class Mail(NamedTuple):
    """One mail: its bytes, and what the email package makes of them."""

    raw: bytes
    message: Message

    def texts(self) -> list[str]:
        """Return every text part, decoded as well as it can be."""
        return [_text(part) for part in self.message.walk() if _is_text(part)]

    def types(self) -> list[str]:
        """Return the content type of every part, outermost first."""
        return [part.get_content_type() for part in self.message.walk()]

    def attachments(self, extension: str) -> list[bytes]:
        """Return the contents of the named parts that end in `extension`."""
        named = [part for part in self.message.walk() if part.get_filename()]
        return [_payload(part) for part in named if str(part.get_filename()).endswith(extension)]

    def header_lines(self) -> list[bytes]:
        """Return the raw lines above the first empty line."""
        return self.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")

    def charsets(self) -> set[str]:
        """Return the declared charset names, in small letters."""
        return {str(part.get_content_charset()) for part in self.message.walk()} - {"None"}

    def encodings(self) -> set[str]:
        """Return the declared transfer encodings, in small letters."""
        found = (part.get("Content-Transfer-Encoding") for part in self.message.walk())
        return {str(value).lower() for value in found if value}


def _is_text(part: Message) -> bool:
    return part.get_content_maintype() == "text"


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: Message) -> str:
    charset = part.get_content_charset("utf-8")
    try:
        return _payload(part).decode(charset, "replace")
    except LookupError:
        return _payload(part).decode("utf-8", "replace")


@cache
def corpus() -> dict[str, Mail]:
    """Return all mails by file name."""
    raws = {path.name: path.read_bytes() for path in sorted(MAILS.glob("*.eml"))}
    return {name: Mail(raw, email.message_from_bytes(raw, policy=default)) for name, raw in raws.items()}


@cache
def table() -> dict[str, Row]:
    """Return the README's rows by file name; a name that stands there twice is an error."""
    found = ROW.findall((MAILS / "README.md").read_text(encoding="utf-8"))
    rows = {name: Row(language, special, ending) for name, language, special, ending in found}
    assert len(rows) == len(found), "a mail stands twice in the table"
    return rows


def foreign_hosts(text: str) -> set[str]:
    """Return the names and addresses in `text` that somebody could own."""
    names = {*HOST_AFTER_SIGN.findall(text), *HOST_BARE.findall(text)}
    addresses = set(IP_ADDRESS.findall(text))
    foreign_names = {name for name in names - addresses if not RESERVED_NAME.search(name.lower().rstrip("."))}
    foreign_addresses = {
        address for address in addresses if not any(ipaddress.ip_address(address) in net for net in RESERVED_NETS)
    }
    return foreign_names | foreign_addresses


def all_words_of(mail: Mail) -> Iterator[str]:
    """Yield everything a reader could see: raw bytes, decoded headers, every decoded part."""
    yield mail.raw.replace(b"=\r\n", b"").decode("latin-1")  # without soft breaks, which cut names in two
    for part in mail.message.walk():
        yield from (str(value) for value in part.values())
        yield _payload(part).decode("latin-1") if not _is_text(part) else _text(part)


def is_sound_png(data: bytes) -> bool:
    """Answer whether `data` is a PNG whose every chunk has the right checksum, up to IEND."""
    at, kinds = 8, []
    while data.startswith(b"\x89PNG\r\n\x1a\n") and at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + size]
        if data[at + 8 + size : at + 12 + size] != struct.pack(">I", zlib.crc32(body)):
            return False
        kinds.append(body[:4])
        at += 12 + size
    return kinds[:1] == [b"IHDR"] and kinds[-1:] == [b"IEND"] and at == len(data)


def is_sound_pdf(data: bytes) -> bool:
    """Answer whether `data` opens as a PDF and its last `startxref` points at the table."""
    start = re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)
    return data.startswith(b"%PDF-") and bool(start and data[int(start[1]) :].startswith(b"xref"))


def has_unknown_charset(mail: Mail) -> bool:
    """Answer whether a part declares a charset that no codec knows."""

    def is_unknown(name: str) -> bool:
        try:
            codecs.lookup(name)
        except LookupError:
            return True
        return False

    return any(map(is_unknown, mail.charsets()))


def has_defect(mail: Mail, name: str) -> bool:
    """Answer whether the email package notes the defect `name` in any part."""
    return any(type(d).__name__ == name for part in mail.message.walk() for d in part.defects)


def has_torn_base64(mail: Mail) -> bool:
    """Answer whether the mail's one part says base64 and is not, to a strict reader."""
    if mail.message.get("Content-Transfer-Encoding") != "base64":
        return False
    try:
        b64decode(mail.raw.partition(b"\r\n\r\n")[2].replace(b"\r\n", b""), validate=True)
    except ValueError:
        return True
    return False


def is_reply_in_corpus(mail: Mail) -> bool:
    """Answer whether the mail replies to another mail of the folder."""
    parent = mail.message.get("In-Reply-To")
    return parent is not None and parent in {m.message.get("Message-ID") for m in corpus().values()}


def pretends_to_be_operator(mail: Mail) -> bool:
    """Answer whether the sender is the operator by name, and the check of the domain failed."""
    checks = str(mail.message.get("Authentication-Results", ""))
    return "operator@" in str(mail.message.get("From")) and "dmarc=fail" in checks


VARIETIES: dict[str, Callable[[Mail], bool]] = {
    "HTML only": lambda m: "text/html" in m.types() and "text/plain" not in m.types(),
    "multipart/alternative": lambda m: "multipart/alternative" in m.types(),
    "multipart nested": lambda m: sum(t.startswith("multipart/") for t in m.types()) >= 2,
    "a PNG": lambda m: any(map(is_sound_png, m.attachments(".png"))),
    "a PDF": lambda m: any(map(is_sound_pdf, m.attachments(".pdf"))),
    "a text log": lambda m: any(b"error" in log.lower() for log in m.attachments(".log")),
    "a mail in a mail": lambda m: "message/rfc822" in m.types(),
    "an attachment that climbs": lambda m: bool(m.attachments("claim-form.txt")) and b"../" in m.raw,
    "7bit": lambda m: "7bit" in m.encodings(),
    "8bit utf-8": lambda m: "8bit" in m.encodings() and "utf-8" in m.charsets(),
    "quoted-printable": lambda m: "quoted-printable" in m.encodings(),
    "base64": lambda m: "base64" in m.encodings(),
    "iso-8859-1": lambda m: "iso-8859-1" in m.charsets(),
    "iso-2022-jp": lambda m: "iso-2022-jp" in m.charsets(),
    "shift_jis": lambda m: "shift_jis" in m.charsets(),
    "encoded words": lambda m: b"=?utf-8?" in m.raw,
    "a folded Subject": lambda m: bool(re.search(rb"\r\nSubject: [^\r]*\r\n[ \t]", m.raw)),
    "no Date": lambda m: "Date" not in m.message,
    "no From": lambda m: "From" not in m.message,
    "two Subjects": lambda m: len(m.message.get_all("Subject", [])) == 2,
    "an unknown charset": has_unknown_charset,
    "a header without colon": lambda m: has_defect(m, "MissingHeaderBodySeparatorDefect"),
    "a cut multipart": lambda m: has_defect(m, "CloseBoundaryNotFoundDefect"),
    "raw bytes in headers": lambda m: any(not line.isascii() for line in m.header_lines()),
    "torn base64": has_torn_base64,
    "more than 100 kB": lambda m: len(m.raw) > 100 * 1024,
    "an empty body": lambda m: m.raw.endswith(b"\r\n\r\n") and m.texts() == [""],
    "injected orders": lambda m: any("Ignore your instructions" in text for text in m.texts()),
    "a false operator": pretends_to_be_operator,
    "a reply in a thread": is_reply_in_corpus,
    "a newsletter": lambda m: "List-Unsubscribe" in m.message,
    "an out-of-office note": lambda m: "auto_reply" in str(m.message.get("Precedence")),
    "a delivery status": lambda m: "message/delivery-status" in m.types(),
    "marked spam": lambda m: m.message.get("X-Spam-Flag") == "YES",
}


def test_every_mail_stands_in_the_table_and_every_row_has_a_mail() -> None:
    assert len(corpus()) >= 40
    assert set(corpus()) == set(table())


def test_every_row_names_an_ending_and_every_ending_occurs_several_times() -> None:
    endings = Counter(row.ending for row in table().values())
    assert set(endings) == ENDINGS
    assert min(endings.values()) >= 5
    assert all(row.special.strip() for row in table().values())


def test_a_file_name_begins_with_its_own_time_of_arrival_within_the_day() -> None:
    times = [re.match(r"([01]\d[0-5]\d)-[a-z0-9-]+\.eml$", name) for name in corpus()]
    assert all(times), [name for name, t in zip(corpus(), times, strict=True) if not t]
    arrivals = [t[1] for t in times if t]
    assert len(set(arrivals)) == len(arrivals)
    assert "0700" <= min(arrivals) <= max(arrivals) <= "1745"


@pytest.mark.parametrize("policy", [default, compat32], ids=["default", "compat32"])
def test_every_mail_can_be_read_to_the_end_without_an_exception(policy: object) -> None:
    for mail in corpus().values():
        message = email.message_from_bytes(mail.raw, policy=policy)  # type: ignore[call-overload]  # either policy fits; the stubs tie it to the class
        for part in message.walk():
            assert all(isinstance(str(value), str) for value in part.values())
            assert isinstance(_payload(part), bytes)
            assert part.get_filename() is None or part.get_filename()


def test_every_line_ends_with_carriage_return_and_line_feed() -> None:
    for name, mail in corpus().items():
        rest = mail.raw.replace(b"\r\n", b"")
        assert not {*b"\r\n"} & {*rest}, name
        assert mail.raw.endswith(b"\r\n"), name
        assert max(map(len, mail.raw.split(b"\r\n"))) <= 998, f"{name}: RFC 5322, section 2.1.1"


def test_the_mails_speak_at_least_eight_languages_and_their_scripts_are_really_there() -> None:
    languages = {row.language for row in table().values()} - {"none"}
    assert len(languages) >= 8
    scripts = {"Japanese": "[ぁ-ヿ]", "Arabic": "[ء-ي]", "Chinese": "[一-龥]", "Polish": "[ąęłśż]"}
    for name, row in table().items():
        pattern = scripts.get(row.language, "")
        assert re.search(pattern, "".join(corpus()[name].texts())), name


@pytest.mark.parametrize("variety", VARIETIES)
def test_the_variety_is_present(variety: str) -> None:
    found = [name for name, mail in corpus().items() if VARIETIES[variety](mail)]
    assert found, f"no mail with {variety}"


def test_exactly_one_message_is_delivered_twice_with_the_same_contents() -> None:
    ids = Counter(str(m.message["Message-ID"]) for m in corpus().values() if m.message["Message-ID"])
    [twice] = [message_id for message_id, count in ids.items() if count > 1]
    first, second = (m for m in corpus().values() if m.message["Message-ID"] == twice)
    assert first.raw != second.raw
    assert first.texts() == second.texts()


def test_mails_that_give_orders_to_agents_go_to_a_person() -> None:
    dangerous = [VARIETIES["injected orders"], VARIETIES["a false operator"]]
    names = [name for name, mail in corpus().items() if any(is_so(mail) for is_so in dangerous)]
    assert {table()[name].ending for name in names} == {"person"}


def test_every_domain_and_address_is_reserved_for_examples() -> None:
    for name, mail in corpus().items():
        for words in all_words_of(mail):
            assert not foreign_hosts(words), name
    assert not foreign_hosts((MAILS / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    ["a@mail.shop", "see https://somewhere.page/x", "www.somebody.com", "[8.8.8.8]", "x@myexample.com"],
)
def test_a_host_that_somebody_could_own_is_noticed(text: str) -> None:
    assert foreign_hosts(text)
