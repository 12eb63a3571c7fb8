"""A value that nobody may see, and the one place where such values are taken out of text.

`KNOWN` holds every secret that this process has read; whoever writes, shows or sends text passes it through. Taken out
are the value itself and its usual spellings: base64 (at any offset), hexadecimal, as an address, JSON (also within
JSON), Python or HTML would write it, reversed, each line of one that has several, and all of these with spaces or line
ends in between. A value that is cut into pieces or computed with in any other way is not recognised: who may have a
secret, policy decides.

Pure but for what `KNOWN` remembers. Knows nothing of where secrets come from.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, NoReturn

STARS = "***"
"""Stands where a secret stood."""

CHARS_MIN = 6
"""Shorter values stand in any text by chance, and are not taken out."""

VALUES_MAX = 32
"""Values of one name that are taken out: a token that is renewed every hour is worth nothing long before so many have
followed it, and each that is looked for costs each row that is stored."""

FORMS_FEW = 400
"""Spellings, as some forty secrets have: up to here looking for each of them is quicker than looking up every place of
a text among the beginnings of all, which takes as long however many there are."""

LINE_CHARS_MIN = 16
"""Lines of a longer secret that are taken out by themselves, such as those of a private key."""

_WORD = re.compile(r"[a-z]+([ ._-][a-z]+)*|[0-9]{1,9}")
_BETWEEN = r"(?:[\s:]|\\[nrt])*"
_UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
_ENTITIES: dict[str, str | int | None] = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_QUOTES: tuple[dict[str, str], ...] = ({}, {'"': "&quot;", "'": "&#x27;"}, {'"': "&#34;", "'": "&#39;"})
_GAPS = b" \t\r\n:"


class Secret:
    """A value with its name. It shows as `***`, and can be neither copied into JSON nor pickled."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value: for the one call that needs it, and for nothing that is kept."""
        return self._value

    def __repr__(self) -> str:
        return STARS

    def __format__(self, spec: str) -> str:
        return format(STARS, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a set of them would be a way to compare at leisure

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise TypeError("a secret cannot be written down")


def is_weak(value: str) -> bool:
    """True for what is too short, or too much like a word, to be taken out of everything that is stored."""
    return len(value) < CHARS_MIN or (len(value) < 2 * LINE_CHARS_MIN and _WORD.fullmatch(value) is not None)


def is_taken_out(value: str, redactor: Redactor) -> bool:
    """True where no spelling of the value is left in a text."""
    return len(value) >= CHARS_MIN and not any(form in redactor.text(f"<{form}>") for form in _forms(value))


def _overlap(end: bytes, begin: bytes) -> int:
    """The most bytes that `end` ends with and `begin` begins with. Looks only where the first byte is found: a secret
    may be as long as a file."""
    at = max(0, len(end) - len(begin))
    while begin and (at := end.find(begin[:1], at)) >= 0:
        if begin.startswith(end[at:]):
            return len(end) - at
        at += 1
    return 0


class Redactor:
    """Takes secrets out of text, as far as it knows them."""

    def __init__(self, secrets: Iterable[Secret] = (), *, stars: str = STARS) -> None:
        self._stars = stars
        self._values: dict[str, OrderedDict[int, frozenset[str]]] = {}
        """Name -> the spellings of its values by their hashes, the latest last."""
        self._change = self._spelled = object()
        """Names the last change of the values, and the one that is heeded by all below."""
        self._weak: set[int] = set()
        self._forms: tuple[str, ...] = ()
        self._data: tuple[bytes, ...] = ()
        self._strong: tuple[bytes, ...] = ()
        self._probes: tuple[bytes, ...] = ()
        self._text_probes: tuple[str, ...] = ()
        self._begins: frozenset[str | bytes] = frozenset()
        """With how much strong spellings begin, as texts and as bytes; empty where these are few."""
        self._all_begins: frozenset[str | bytes] = frozenset()
        """The same of all."""
        self._shortest = 0  # of no meaning while there are no probes
        self.is_armed = False
        """True where `stored` has anything to look for."""
        for each in secrets:
            self.learn(each)

    def learn(self, secret: Secret) -> None:
        """From now on its value is taken out, too; so are the VALUES_MAX values that its name had before."""
        value = secret.reveal()
        key = hash(value)
        if len(value) < CHARS_MIN:
            return
        values = self._values.setdefault(secret.name, OrderedDict())
        if key in values:
            with suppress(KeyError):  # dropped in this very moment, by another thread
                values.move_to_end(key)
        else:
            values[key] = frozenset(_forms(value))
            if is_weak(value):
                self._weak.add(key)
            if len(values) > VALUES_MAX:
                values.popitem(last=False)
            self._change = object()
        # Whichever of several threads comes last has seen what all of them have learned.
        while self._spelled is not (change := self._change):
            self._spell()
            self._spelled = change

    def _spell(self) -> None:
        """Makes all that is looked for of the values that are known. Other threads may be reading."""
        every, strong = set[str](), set[str]()
        for values in list(self._values.values()):
            for key, forms in list(values.items()):
                every |= forms
                if key not in self._weak:
                    strong |= forms
        self._forms = _longest_first(every)
        self._data = tuple(each.encode() for each in self._forms)
        self._strong = _longest_first(each.encode() for each in strong)
        self._text_probes = tuple({each[:CHARS_MIN] for each in strong})
        self._probes = tuple(each.encode() for each in self._text_probes)
        self._shortest = min(map(len, strong), default=0)
        self._begins = _begins(strong)
        self._all_begins = _begins(every)
        self.is_armed = bool(self._strong)

    @property
    def forms(self) -> tuple[bytes, ...]:
        """Every spelling that is taken out, the longest first: for a process that looks by itself."""
        return self._data

    def text(self, text: str) -> str:
        """The text without any secret."""
        if not self._forms:
            return text
        squeezed = text.encode(errors="replace").translate(None, _GAPS).replace(b"\\n", b"")
        if self._all_begins and self._all_begins.isdisjoint(chain(_windows(text), _windows(squeezed))):
            return text
        for form in self._forms:
            if form in text:
                text = text.replace(form, self._stars)
        squeezed = text.encode(errors="replace").translate(None, _GAPS).replace(b"\\n", b"")
        for form, data in zip(self._forms, self._data, strict=False):
            if data in squeezed and (gapped := _gapped(form)) is not None:
                text = gapped.sub(self._stars, text)
        return text

    def value(self, value: Any) -> Any:
        """Anything that JSON can hold, without any secret in its texts; keys are texts, too."""
        if not self._forms:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.value(key): self.value(each) for key, each in value.items()}
            case list() | tuple():
                return type(value)(self.value(each) for each in value)
            case _:
                return value

    def data(self, data: bytes) -> bytes:
        """Bytes of the same length, with stars where a secret stood."""
        for form in self._data:
            if form in data:
                data = data.replace(form, b"*" * len(form))
        squeezed = data.translate(None, _GAPS)
        for written, raw in zip(self._forms, self._data, strict=False):
            if raw in squeezed and (gapped := _gapped(written)) is not None:
                pattern = re.compile(gapped.pattern.encode())
                data = pattern.sub(lambda found: b"*" * len(found[0]), data)
        return data

    def edges(self, head: bytes, tail: bytes) -> tuple[bytes, bytes]:
        """Both sides of a gap, without what could be a part of a secret that reaches into it."""
        ends = max((_overlap(head, form[:-1]) for form in self._data), default=0)
        begins = max((_overlap(form[1:], tail) for form in self._data), default=0)
        return head[: len(head) - ends] + b"*" * ends, b"*" * begins + tail[begins:]

    def stored(self, value: Any) -> Any:
        """The last net, under a store: a text or bytes as they are, unless they hold a strong secret. Nearly nothing
        has even the beginning of one in it, and most is shorter than any: both are seen at once."""
        kind = type(value)
        if (kind is not str and kind is not bytes) or len(value) < self._shortest:
            return value
        if self._begins:
            return value if self._begins.isdisjoint(_windows(value)) else self._netted(value)
        for probe in self._probes if kind is bytes else self._text_probes:
            if probe in value:
                return self._netted(value)
        return value

    def row(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same for all values of a row; nearly always the very same row."""
        shortest, begins = self._shortest, self._begins
        for value in values:
            kind = type(value)
            if (kind is str or kind is bytes) and len(value) >= shortest:
                if begins:
                    if not begins.isdisjoint(_windows(value)):
                        return tuple(map(self.stored, values))
                    continue
                for probe in self._probes if kind is bytes else self._text_probes:
                    if probe in value:
                        return tuple(map(self.stored, values))
        return values

    def _netted(self, value: str | bytes) -> str | bytes:
        data = value.encode(errors="surrogatepass") if isinstance(value, str) else value
        for form in self._strong:
            if form in data:
                data = data.replace(form, STARS.encode())
        return data.decode(errors="surrogatepass") if isinstance(value, str) else data

    def held_back(self, text: str) -> int:
        """Characters at the end of a text that may be the beginning of a secret."""
        held = 0
        for form in self._forms:
            at = text.find(form[0], max(0, len(text) - len(form) + 1))
            while at >= 0:
                if form.startswith(text[at:]):
                    held = max(held, len(text) - at)
                    break
                at = text.find(form[0], at + 1)
        return held


class StreamRedactor:
    """Text that comes in pieces: a piece is passed on once it cannot be the beginning of a secret any more."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._kept = ""

    def feed(self, text: str) -> str:
        """What may be shown now."""
        whole = self._redactor.text(self._kept + text)
        held = self._redactor.held_back(whole)
        self._kept = whole[len(whole) - held :]
        return whole[: len(whole) - held]

    def rest(self) -> str:
        """What was kept back, when nothing follows."""
        kept, self._kept = self._kept, ""
        return kept


KNOWN = Redactor()
"""Every secret that this process has read."""


def _begins(forms: Collection[str]) -> frozenset[str | bytes]:
    """With what the spellings begin, as texts and as bytes, to be looked up for each place of a text; nothing where
    they are so few that looking for each of them is quicker."""
    if len(forms) <= FORMS_FEW:
        return frozenset()
    return frozenset(each[:CHARS_MIN] for form in forms for each in (form, form.encode()))


def _windows(value: str | bytes) -> Iterator[str | bytes]:
    """Every part of a value that is as long as a beginning."""
    ends = range(CHARS_MIN, len(value) + 1)
    return map(value.__getitem__, map(slice, range(len(ends)), ends))


def _longest_first(forms: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(forms, key=lambda each: (-len(each), each)))


def _forms(value: str) -> set[str]:
    """The spellings of a value."""
    raw = value.encode()
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    inner = tuple(escaped)  # JSON within JSON, as logs have it
    escaped |= {json.dumps(each, ensure_ascii=plain)[1:-1] for each in inner for plain in (True, False)}
    escaped |= {repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1], value.encode("unicode_escape").decode()}
    urls = {_percented(raw), _percented(raw, safe="/"), _percented(raw, safe=" ").replace(" ", "+")}
    found = {value, value[::-1], raw.hex(), raw.hex().upper(), *escaped, *urls}
    found |= {each.replace("/", "\\/") for each in escaped} | {re.sub("%..", _lowered, each) for each in urls}
    found |= {_entities(value, quotes) for quotes in _QUOTES}
    found |= {"".join(f"\\x{each:02x}" for each in raw), _percented(raw, kept="")}
    for shift in range(3):
        standard = _inner_base64(raw, shift)
        found |= {standard, standard.replace("+", "-").replace("/", "_")}
    lines = [each.strip() for each in value.splitlines()]
    if len(lines) > 1:
        found |= {each for each in lines if len(each) >= LINE_CHARS_MIN}
    return {each for each in found if len(each) >= CHARS_MIN}


def _inner_base64(raw: bytes, shift: int) -> str:
    """Base64 of a value that begins `shift` bytes into what is encoded, without what its neighbours change."""
    text = base64.b64encode(bytes(shift) + raw).decode()
    whole_bits = 8 * (shift + len(raw))
    return text[-(-8 * shift // 6) : whole_bits // 6]


def _percented(raw: bytes, *, safe: str = "", kept: str = _UNRESERVED) -> str:
    """As an address spells it. Source: RFC 3986, section 2.3."""
    plain = frozenset(f"{kept}{safe}".encode())
    return "".join(chr(each) if each in plain else f"%{each:02X}" for each in raw)


def _entities(value: str, quotes: dict[str, str]) -> str:
    """As HTML spells it."""
    return value.translate(str.maketrans(_ENTITIES | quotes))


def _lowered(found: re.Match[str]) -> str:
    return found[0].lower()


def _gapped(form: str) -> re.Pattern[str] | None:
    """A form with spaces and line ends between its letters; None where that would be too long to look for."""
    if len(form) > 8_192:
        return None
    return re.compile(_BETWEEN.join(re.escape(each) for each in form if each not in " \t\r\n:"))
