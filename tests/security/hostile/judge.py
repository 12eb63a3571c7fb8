"""What every answer to bad input must be: clear, with a place and a cure, without a traceback, safe on a screen.

Pure: words in, faults out. Knows nothing of how the words came.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from ostinato.domain.errors import OstinatoError

EXIT_CODES = frozenset({0, 1, 2, 3, 4})
ERROR_LINES_MAX = 6
ERROR_CHARS_MAX = 2_500

INSIDES = re.compile(
    r"Traceback|<frozen|File \"|object at 0x|<class|\bmsgspec\b|\bsqlite3?\.|\bruamel\b|\basyncio\.|"
    r"\b(?:Key|Value|Type|Index|Attribute|Recursion|Unicode\w*|OS|Assertion|Overflow|Runtime|Import|Memory|"
    r"Operational|Validation|Decode|Parser|Scanner|JSONDecode|FileNotFound|IsADirectory|Permission)Error\b|"
    r"This should not happen|promise of the runtime"
)
"""Words of the machinery, which help nobody who has made a mistake."""

CURE = re.compile(r"Did you mean|Known(?: here| keys)?:|See: ostinato|It takes:|Its keys are|It can be ")
"""A cure that stands in the sentence itself."""

HINT = re.compile(r"Did you mean|\(Possible options:")

_THING = re.compile(
    r"['\"`/(]|--\w|\b[TQM]\d|\bkey\b|^(?:standard input|\w+): |\.(?:md|yaml|json|toml)\b|"
    r"\b(?:[Tt]his|[Tt]hat|[Tt]he|[Aa]|[Ii]t|[Nn]o) \w+"
)
"""Something that is named: a quoted word, a path, an option, an id, a noun with its article."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_HARMLESS = frozenset("\n\u200c\u200d")


def faults_of_words(text: str) -> Iterator[str]:
    """What is wrong with any words that people see."""
    if found := INSIDES.search(text):
        yield f"shows its insides ({found[0]!r}): {text[:300]!r}"
    if unseen := sorted({each for each in text if unicodedata.category(each) in _UNSEEN and each not in _HARMLESS}):
        yield f"raw control characters {[hex(ord(each)) for each in unseen]} in {text[:300]!r}"


def faults_of_error(error: OstinatoError, *, place: str, hints: bool = False) -> Iterator[str]:
    """What is wrong with an error that must say where, beginning with `place`, what, and what to do."""
    yield from faults_of_words(str(error))
    yield from faults_of_refusal(error.message, place=error.place, cure=error.cure, hints=hints)
    if not error.place.startswith(place):
        yield f"names the place {error.place!r}, not {place!r}: {error}"
    if error.code not in {"invalid", "not_found"}:
        yield f"is of the code {error.code!r}: {error}"


def faults_of_refusal(message: str, *, place: str, cure: str, hints: bool = False) -> Iterator[str]:
    """The three parts of a refusal."""
    whole = f"{place}: {message} {cure}"
    if not message.strip():
        yield f"says nothing: {whole!r}"
    if not place and not _THING.search(message):
        yield f"names no place and no thing: {whole!r}"
    if not cure.strip() and not CURE.search(message):
        yield f"has no cure: {whole!r}"
    if hints and not HINT.search(whole):
        yield f"does not say what was meant: {whole!r}"
    if len(whole) > ERROR_CHARS_MAX:
        yield f"is {len(whole)} characters long: {whole[:200]!r}"


def faults_of_command(code: int, output: str, errors: str, *, arguments: Sequence[str], hints: bool) -> Iterator[str]:
    """What a command left: its exit code, what it printed, and what it said about an error."""
    if code not in EXIT_CODES:
        yield f"exits with {code}: {errors[:300]!r}"
    yield from faults_of_words(output)
    yield from faults_of_words(errors)
    if code == 0 and errors:
        yield f"is done, and still says {errors[:300]!r}"
    if hints and code != 2:
        yield f"takes a misspelt option, and exits with {code}"
    if code != 0 and not (code == 1 and output and not errors):  # `status` and its like speak on standard output
        yield from _faults_of_complaint(errors, hints=hints)
    if "--json" in arguments and code == 0 and "--help" not in arguments:
        yield from _faults_of_json(output)


def _faults_of_complaint(errors: str, *, hints: bool) -> Iterator[str]:
    if errors.startswith("Usage: ostinato"):
        return  # somebody who says nothing is shown the help
    lines = errors.splitlines()
    if not lines or not lines[0].startswith("ostinato: "):
        yield f"does not say who speaks: {errors[:300]!r}"
        return
    if len(lines) > ERROR_LINES_MAX:
        yield f"takes {len(lines)} lines: {errors[:300]!r}"
    cure = " ".join(line.strip() for line in lines[1:])
    yield from faults_of_refusal(lines[0].removeprefix("ostinato: "), place="", cure=cure, hints=hints)


def _faults_of_json(output: str) -> Iterator[str]:
    try:
        json.loads(output)
    except ValueError as error:
        yield f"prints no JSON document ({error}): {output[:300]!r}"


def faults_of_reply(status: int, kind: str, data: bytes, *, hints: bool) -> Iterator[str]:
    """What came back over the socket."""
    if not 200 <= status < 300 and not 400 <= status < 500:
        yield f"status {status}: {data[:300]!r}"
        return
    if status < 300:
        if hints:
            yield f"takes a misspelt key, with status {status}"
        return
    try:
        error: dict[str, Any] = json.loads(data)["error"]
        message, place, cure = error["message"], error["place"], error["cure"]
    except (ValueError, KeyError, TypeError):
        yield f"status {status} without an error in its form: {data[:300]!r}"
        return
    if kind.partition(";")[0] != "application/json" or set(error) != {"code", "message", "place", "cure"}:
        yield f"another form of error ({kind}): {sorted(error)}"
    yield from faults_of_words(f"{place}: {message} {cure}")
    yield from faults_of_refusal(message, place=place, cure=cure, hints=hints)
