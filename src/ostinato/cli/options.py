"""Options that many commands share, and how an argument that stands for text is read.

Knows nothing of what commands do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ostinato.domain.errors import Invalid, NotFound
from ostinato.gateway.operation import check_depth

Commands = Mapping[str, Callable[..., None]]
"""What a room of commands offers: name -> function."""

Fleet = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="DIR", help="The fleet's folder. [default: the nearest one with ostinato.toml]"),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document with stable keys.")]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON document a line.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the record.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=500, help="How many at most.")]
Before = Annotated[str | None, typer.Option("--before", metavar="ID", help="The page of older ones before this id.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="3d, 2h, or 2026-03-01T08:00:00+01:00.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="The same.")]
TaskId = Annotated[str, typer.Argument(metavar="TASK", help="T12, or just 12.")]
QuestionId = Annotated[str, typer.Argument(metavar="QUESTION", help="Q7, or just 7.")]
AgentId = Annotated[str, typer.Argument(metavar="AGENT", help="The name of its folder in agents/.")]
OfAgent = Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only of this agent.")]
OfTask = Annotated[str | None, typer.Option("--task", metavar="TASK", help="Only of this task.")]

STDIN_CHARS_MAX = 1_000_000


def text_argument(text: str) -> str:
    """An argument as text: `-` reads standard input. Raises Invalid for bytes that are no text, and for nothing."""
    if text == "-":
        try:
            text = sys.stdin.read(STDIN_CHARS_MAX + 1)
        except UnicodeDecodeError:
            raise Invalid("This is no text in UTF-8", place="standard input", cure="Send it in UTF-8.") from None
        if len(text) > STDIN_CHARS_MAX:
            what = f"There are more than {STDIN_CHARS_MAX} characters"
            raise Invalid(what, place="standard input", cure="Send less.")
    if not text.strip():
        raise Invalid("The text is empty", cure="Give some words in quotes, or - for standard input.")
    return text


def json_argument(text: str | None, *, option: str) -> dict[str, Any] | None:
    """A JSON object given as an option; None where it is missing. Raises Invalid."""
    if text is None:
        return None
    try:
        decoded = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        cure = """Write it in single quotes: '{"key": "value"}'."""
        raise Invalid(f"This is not JSON: {error}", place=option, cure=cure) from None
    if not isinstance(decoded, dict):
        raise Invalid("This is not a JSON object", place=option, cure="""Write '{"key": "value"}'.""")
    check_depth(decoded, place=option)
    return decoded


def retry_argument(text: str) -> dict[str, Any]:
    """Rules of retry as `attempts=5,base=10s,rate_limited.attempts=9`. Raises Invalid."""
    rules: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        group, dot, key = name.partition(".")
        if not equals or not name or (dot and not key):
            cure = "For example --retry attempts=5,base=10s,rate_limited.attempts=9"
            raise Invalid(f"{part[:64]!r} is no rule of retry", place="--retry", cure=cure)
        where = rules.setdefault(group, {}) if dot else rules
        if not isinstance(where, dict):
            raise Invalid(f"{group!r} is given in two ways", place="--retry")
        where[key if dot else name] = _plain_value(value)
    return rules


def _plain_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def rungs_argument(texts: list[str]) -> list[dict[str, Any]]:
    """People to ask, each as `alice:2h`. Raises Invalid."""
    rungs: list[dict[str, Any]] = []
    for text in texts:
        to, colon, within = text.rpartition(":")
        if not colon:
            cure = "For example --escalate alice:2h --escalate operator:1d"
            raise Invalid(f"{text[:64]!r} does not say how long they have", place="--escalate", cure=cure)
        rungs.append({"to": to, "within": within})
    return rungs


def file_argument(file: Path, *, bytes_max: int) -> str:
    """The text of a file that was named. Raises NotFound or Invalid."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(bytes_max + 1)
        if len(raw) > bytes_max:
            raise Invalid("The file is too long", place=str(file), cure=f"At most {bytes_max} bytes.")
        return raw.decode()
    except FileNotFoundError:
        raise NotFound("There is no such file", place=str(file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"It cannot be read: {error}", place=str(file), cure="Name a file of text in UTF-8.") from None
