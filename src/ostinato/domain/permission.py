"""Standing permissions: what a person has allowed for good, for one agent, one tool and matching arguments.

It answers the one gate that had asked, and no denial. It is never wider than the action that it came from, but for
the arguments that the person has named, and never for programs whose name says nothing about what they will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ostinato.domain.command import is_runner
from ostinato.domain.errors import Denied, Invalid, unknown_name
from ostinato.domain.values import Instant, Value

PATTERNS_MAX = 32
PATTERN_CHARS_MAX = 1_000

EXACT = "exact"
"""The pattern of whoever allows just this action for good, with these arguments and no others."""

_CHANGES = "files"
"""What was found in files that a command names: they are what it works on."""


class NewPermission(Value):
    """A permission to be kept. Each argument of a call stands in `exact` or in `like`; one with others is not meant."""

    agent: str
    tool: str
    gate: str
    """Identity of the gate that it answers."""
    exact: dict[str, Any] = {}
    """Argument -> the value that it must have."""
    like: dict[str, str] = {}
    """Argument -> pattern for its text, with `*` and `?`; for a list, one pattern for each word, and `*` at the end for
    any further ones."""
    bound: dict[str, Any] = {}
    """What must be found again: the program behind a command's name, and its digest."""
    by: str
    question: int


class Permission(NewPermission):
    """A permission as it is kept. Revoked ones stay, for the record."""

    id: int
    added_at: Instant
    revoked_at: Instant | None = None
    revoked_by: str = ""

    @property
    def name(self) -> str:
        """How people call it: `P3`."""
        return f"P{self.id}"


def permission_from(
    patterns: Sequence[str], *, agent: str, tool: str, arguments: Mapping[str, Any], bound: Mapping[str, Any]
) -> NewPermission:
    """The permission that a person means by `patterns` such as `to=mail:*@example.com`, for this action and its like;
    gate, person and question are still missing. Raises Invalid where a pattern does not cover the action itself,
    Denied where no permission may last."""
    _check_program(arguments, bound)
    if not patterns or len(patterns) > PATTERNS_MAX:
        raise Invalid(f"Name 1 to {PATTERNS_MAX} patterns", cure=f"Such as to=mail:*@example.com, or '{EXACT}'.")
    like: dict[str, str] = {}
    for each in patterns:
        if each == EXACT:
            continue
        name, equals, pattern = each.partition("=")
        if not equals or not pattern or len(pattern) > PATTERN_CHARS_MAX:
            cure = f"Write argument and pattern, such as to=mail:*@example.com, or '{EXACT}' for these arguments alone."
            raise Invalid(f"{each[:80]!r} is no pattern", cure=cure)
        if name not in arguments:
            raise Invalid(unknown_name("argument", name[:64], list(arguments)))
        if not _matches(arguments[name], pattern):
            raise Invalid(f"The pattern {pattern[:80]!r} does not cover what is asked for: {name}")
        like[name] = pattern
    _check_command(like, arguments)
    return NewPermission(
        agent=agent,
        tool=tool,
        gate="",
        exact={name: value for name, value in arguments.items() if name not in like},
        like=like,
        bound=_lasting(bound),
        by="",
        question=0,
    )


def covers_call(
    permission: NewPermission, *, tool: str, arguments: Mapping[str, Any], bound: Mapping[str, Any]
) -> bool:
    """True where the permission is for this call."""
    if tool != permission.tool or arguments.keys() != permission.exact.keys() | permission.like.keys():
        return False
    if any(not _same(arguments[name], value) for name, value in permission.exact.items()):
        return False
    if any(not _matches(arguments[name], pattern) for name, pattern in permission.like.items()):
        return False
    return _lasting(bound) == permission.bound


def _same(one: Any, other: Any) -> bool:
    """Equal, and no truth for a number."""
    return type(one) is type(other) and bool(one == other)


def _matches(value: Any, pattern: str) -> bool:
    if isinstance(value, str):
        return _is_like(value, pattern)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return False
    words = pattern.split()
    if words and words[-1] == "*":
        words = words[:-1]
        value = value[: len(words)]
    return len(words) == len(value) and all(map(_is_like, value, words))


def _is_like(text: str, pattern: str) -> bool:
    """`*` stands for any text, `?` for one character, all else for itself."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _lasting(bound: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bound.items() if name != _CHANGES}


def _check_program(arguments: Mapping[str, Any], bound: Mapping[str, Any]) -> None:
    """Raises Denied for a program that runs what its arguments say."""
    argv = arguments.get("argv")
    named = argv[0] if isinstance(argv, list) and argv and isinstance(argv[0], str) else ""
    for each in (named, str(bound.get("program", "")), str(bound.get("file", ""))):
        if is_runner(each):
            what = f"{named or each} runs whatever its arguments say: no permission for it can last"
            raise Denied(what, cure="Allow it once, or declare the command's effect in TOOLS.md.")


def _check_command(like: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
    """Raises Invalid where the command's own name is a pattern."""
    if "argv" not in like or not isinstance(arguments["argv"], list):
        return
    words, argv = like["argv"].split(), arguments["argv"]
    if not words or not argv:
        raise Invalid("A pattern for no command covers none", cure="Write the command's name out.")
    first = words[0]
    if first != argv[0]:
        raise Invalid(f"The command's name cannot be a pattern: {first[:80]!r}", cure="Write it out.")
