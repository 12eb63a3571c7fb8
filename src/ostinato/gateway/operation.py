"""What the gateway can do, as data: an operation has a name, a route, a request, a response, a role and a handler.

Command line, HTTP, and whatever comes later call the same operations by the same names; there is no second way in.
Knows nothing of HTTP, sockets or stores.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from ostinato.domain.errors import Invalid, OstinatoError, unknown_name
from ostinato.domain.person import Role
from ostinato.domain.values import Value
from ostinato.gateway.notation import closest

if TYPE_CHECKING:  # a command that finds a node needs nothing of what a node stands on
    from ostinato.gateway.context import Context

DEPTH_MAX = 48
"""Nesting of a request; deeper ones would run into the recursion limits of whoever reads them later."""


class Ask(Value, forbid_unknown_fields=True):
    """Base of requests. Unknown keys are refused."""


class View(Value, omit_defaults=False):
    """Base of responses: every key is always there, so that programs can rely on it."""


class Nothing(Ask):
    """A request without any field."""


Member = TypeVar("Member", bound=Enum)
Request = TypeVar("Request", bound=Ask)
Response = TypeVar("Response", bound=View)


class _Route:
    """What operations and streams have in common."""

    def __init__(self, name: str, route: str, *, role: Role, request: type[Any], response: type[Any]) -> None:
        self.name = name
        self.method, self.path = route.split(" ")
        self.role = role
        self.request = request
        self.response = response

    @property
    def writes(self) -> bool:
        """True where it may change something; reading operations never do."""
        return self.method != "GET"

    @property
    def path_keys(self) -> tuple[str, ...]:
        """Fields of the request that stand in the path."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))


class Operation(_Route, Generic[Request, Response]):
    """One request, one response."""

    def __init__(
        self, name: str, route: str, *, role: Role, handler: Callable[[Context, Request], Awaitable[Response]]
    ) -> None:
        hints = get_type_hints(handler)
        super().__init__(name, route, role=role, request=hints["request"], response=hints["return"])
        self.handler = handler
        self.summary = (handler.__doc__ or "").strip()
        self.__doc__ = handler.__doc__


class Stream(_Route, Generic[Request, Response]):
    """One request, many responses, until it ends or the caller goes away.

    A handler yields None once the request is accepted, and whenever it has waited in vain: whoever carries the stream
    learns by it that the reader has gone."""

    def __init__(
        self,
        name: str,
        route: str,
        *,
        role: Role,
        handler: Callable[[Context, Request], AsyncIterator[Response | None]],
    ) -> None:
        hints = get_type_hints(handler)
        item = next(each for each in get_args(get_args(hints["return"])[0]) if each is not type(None))
        super().__init__(name, route, role=role, request=hints["request"], response=item)
        self.handler = handler
        self.summary = (handler.__doc__ or "").strip()
        self.__doc__ = handler.__doc__


def operation(
    name: str, route: str, *, role: Role = Role.VIEWER
) -> Callable[[Callable[[Context, Request], Awaitable[Response]]], Operation[Request, Response]]:
    """Makes an async function an operation: `@operation("tasks.show", "GET /api/v1/tasks/{task}")`."""

    def make(handler: Callable[[Context, Request], Awaitable[Response]]) -> Operation[Request, Response]:
        return Operation(name, route, role=role, handler=handler)

    return make


def stream(
    name: str, route: str, *, role: Role = Role.VIEWER
) -> Callable[[Callable[[Context, Request], AsyncIterator[Response | None]]], Stream[Request, Response]]:
    """Makes an async generator a stream of responses."""

    def make(handler: Callable[[Context, Request], AsyncIterator[Response | None]]) -> Stream[Request, Response]:
        return Stream(name, route, role=role, handler=handler)

    return make


AnyRoute = Operation[Any, Any] | Stream[Any, Any]


def read_request(route: AnyRoute, fields: Mapping[str, Any], *, text: bool = False, place: str = "request") -> Any:
    """The request struct of `route` from plain values; with `text` numbers and truths may be strings, as in a query.

    Raises Invalid with the key as its place.
    """
    known = {each.encode_name for each in msgspec.structs.fields(route.request)}
    for key in fields:
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise Invalid(
                f"Unknown key {str(key)[:60]!r}.{closest(str(key), known)}", place=place, cure=f"Known keys: {listed}."
            )
    check_depth(fields, place=place)
    try:
        request = msgspec.convert(dict(fields), route.request, strict=not text)
    except msgspec.ValidationError as error:
        raise _readable(error, place) from None
    if text:  # what was text may be a number now
        for key, value in msgspec.structs.asdict(request).items():
            if isinstance(value, int):
                _check_leaf(value, f"{place}, key {key!r}")
    return request


def member_of(kind: type[Member], word: str, *, what: str, place: str = "") -> Member:
    """The member of a fixed set that a caller names, in any case. Raises Invalid with the known ones."""
    try:
        return kind(word.lower())
    except ValueError:
        raise Invalid(unknown_name(what, word[:60], [each.value for each in kind]), place=place) from None


def check_depth(value: object, *, place: str) -> None:
    """Raises Invalid where `value` is nested deeper than DEPTH_MAX, holds text that is not Unicode, or a number that
    no database row can hold."""
    level: list[object] = [value]
    for _ in range(DEPTH_MAX):
        following: list[object] = []
        for each in level:
            if isinstance(each, Mapping):
                following.extend(each.values())
                following.extend(each.keys())
            elif isinstance(each, list | tuple):
                following.extend(each)
            else:
                _check_leaf(each, place)
        if not following:
            return
        level = following
    raise Invalid(f"Nested deeper than {DEPTH_MAX} levels", place=place, cure="Flatten it.")


def _check_leaf(value: object, place: str) -> None:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid(
                "A text contains half of a surrogate pair, which is no character", place=place, cure="Send UTF-8."
            ) from None
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Invalid("A whole number is beyond 64 bits", place=place, cure="Give a smaller one, or a text.")


def _readable(error: msgspec.ValidationError, place: str) -> OstinatoError:
    """msgspec's words as ours: the key becomes the place."""
    message, _, where = str(error).partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", message)
    if missing:
        key = f"{key}.{missing[1]}".lstrip(".")
        return Invalid("is missing", place=f"{place}, key {key!r}", cure=f"Give {missing[1]!r}.")
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", message)
    where = f"{place}, key {key!r}" if key else place
    if unknown:
        return Invalid(f"Unknown key {unknown[1]!r}", place=where, cure="Leave it out.")
    return _mismatch(re.sub("`([^`]+)`", _kinds, message), where)


def _mismatch(words: str, where: str) -> Invalid:
    """A value that is not what belongs there; `words` are msgspec's `Expected ..., got ...` with our kinds."""
    if "matching regex" in words:  # names are the only texts with a pattern
        cure = "Begin with a letter or digit; use letters, digits, '-', '_' and '.', at most 63."
        return Invalid("is not a name", place=where, cure=cure)
    if found := re.fullmatch(r"Expected (.+) of length (>=|<=) (\d+)", words):
        unit = "entries" if found[1] == "a list" else "characters"
        if found[2] == ">=":
            return Invalid("is too short", place=where, cure=f"It needs {found[3]} or more {unit}.")
        return Invalid(f"is longer than {found[3]} {unit}", place=where, cure="Shorten it.")
    return Invalid(words, place=where, cure=f"Give {words.removeprefix('Expected ').partition(', got ')[0]}.")


_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def _kinds(found: re.Match[str]) -> str:
    """`str | null` as people say it."""
    return " or ".join(_KINDS.get(each, each) for each in found[1].split(" | "))


def request_fields(request: Ask) -> dict[str, Any]:
    """The fields of a request that differ from their defaults, as plain values."""
    return cast("dict[str, Any]", msgspec.to_builtins(request))


def is_list_field(route: AnyRoute, key: str) -> bool:
    """True where a query may name `key` several times."""
    for each in msgspec.structs.fields(route.request):
        if each.encode_name == key:
            kinds = (each.type, *get_args(each.type))
            return any(get_origin(kind) in (list, tuple, frozenset) for kind in kinds)
    return False
