"""Conditions that people write (`when`), in CEL: typed, without side effects, checked when they are read.

Knows nothing of gates, heartbeats or routes: each place declares its variables. The library parses and evaluates but
does not check types, so names, fields, functions and the kind of the answer are checked here before anything runs, and
work is bounded before each run, because a run cannot be interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ostinato.domain.errors import Invalid, unknown_name

TEXT_BYTES_MAX = 2_048
DEPTH_MAX = 24
"""Brackets within brackets; the library's own limit is somewhat higher."""
INPUT_DEPTH_MAX = 16
INPUT_CHARACTERS_MAX = 65_536
INPUT_VALUES_MAX = 20_000
WORK_MAX = 1_000_000
"""Steps of a condition with `all`, `exists` and the like; a step takes about 0.4 microseconds."""
CHARACTERS_OF_A_STEP = 64
"""Characters that are copied in a step: the library copies a variable each time that it is named, and what `map` has
made with each element that it adds."""
PATTERN_WORK = 50
"""Steps that one use of `matches` counts for: the library compiles the pattern each time."""
REPEATS_MAX = 200
"""Product of the counts in a pattern: `(a{1,100}){1,100}` took 8 s over 64 kB, and time grows with the product."""

FUNCTIONS = frozenset(
    {"size", "int", "uint", "double", "string", "bytes", "type", "dyn", "timestamp", "duration"}
    | {"contains", "startsWith", "endsWith", "matches"}
    | {"getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_TYPE_NAMES = frozenset({"int", "uint", "double", "string", "bytes", "bool", "list", "map", "type", "null_type"})
_WORDS = frozenset({"true", "false", "null", "in"})
_CURE = "Conditions are CEL, such as \"args.to != 'operator' && size(args.text) > 100\"."

Kind = type | Mapping[str, Any]
"""What a variable is: bool, int, float, str, list, dict (any keys), or a mapping of its fields to their kinds."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>[rRbB]{0,2}(?:\"{3}(?s:.)*?\"{3}|'{3}(?s:.)*?'{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\.?\d(?:[\w.]|(?<=[eE])[+-])*)
    |(?P<sign>(?s:.))""",
    re.VERBOSE,
)

Token = tuple[str, str]


class CompiledCondition:
    """A checked condition: call it with the variables, get true or false. Raises Invalid where it cannot be evaluated.

    Safe to call from several threads.
    """

    __slots__ = ("_adds", "_copies", "_names_outer", "_power", "_program", "_weight", "fields", "names", "text")

    def __init__(self, text: str, *, program: Any, names: frozenset[str], tokens: Sequence[Token]) -> None:
        self.text = text
        """As it was written."""
        self.names = names
        """Variables that it reads."""
        self.fields = _fields_read(tokens)
        """Variable -> all that it reads of it; missing where that is the whole of it, or cannot be told."""
        self._program = program
        maps = sum(token == ("name", "map") for token in tokens)
        self._power = max(1, _macro_depth(tokens) + maps)
        self._names_outer = _names_in_macros(tokens, names)
        self._copies = self._names_outer or maps > 0
        self._adds = sum(token == ("sign", "+") for token in tokens)
        uses = sum(token == ("name", "matches") for token in tokens)
        self._weight = max(1, PATTERN_WORK * uses)
        self._weight *= 1 if uses or _macro_depth(tokens) else 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompiledCondition) and (self.text, self.names) == (other.text, other.names)

    def __hash__(self) -> int:
        return hash((self.text, self.names))

    def __repr__(self) -> str:
        return f"CompiledCondition({self.text!r})"

    def __call__(self, variables: Mapping[str, Any]) -> bool:
        """True or false for these variables; more than it reads may be given, less is an error."""
        given = {name: variables[name] for name in self.names if name in variables}
        values, characters = _measure(given)
        count = values + self.text.count(",")
        if self._weight * count**self._power * self._copied(count, characters) > WORK_MAX:
            raise Invalid(f"The condition {self.text!r} would take too long over {count} values", cure=_CURE)
        answer = self._run(given)
        if answer is not True and answer is not False:
            raise Invalid(f"The condition {self.text!r} answers {type(answer).__name__}, not true or false", cure=_CURE)
        return answer

    def _copied(self, count: int, characters: int) -> int:
        """Steps that it takes to copy what one step names."""
        if not self._copies:
            return 1
        copied = count + characters // CHARACTERS_OF_A_STEP
        return (1 + self._adds) * (copied if self._names_outer else 1 + copied // max(1, count))

    def _run(self, given: dict[str, Any]) -> Any:
        try:
            return self._program.execute(given)
        except Exception as error:  # the library raises many types; to a caller they all mean: no answer
            raise Invalid(f"The condition {self.text!r} cannot be evaluated: {_words(error)}", cure=_CURE) from error
        except BaseException as error:  # a panic of the library is no ordinary exception
            if type(error).__name__ != "PanicException":
                raise
            words = f"The condition {self.text!r} cannot be evaluated: the library gave up"
            raise Invalid(words, cure=_CURE) from error


def compile_condition(text: str, *, variables: Mapping[str, Kind]) -> CompiledCondition:
    """A condition over `variables` (name -> kind), checked as far as that is possible before it runs.

    Raises Invalid for text over 2 kB, deep nesting, wrong syntax, unknown variables, fields or functions, operators
    that do not fit their kinds, patterns that cost too much, and answers that are not true or false.
    """
    if not text.strip():
        raise Invalid("The condition is empty", cure=_CURE)
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        raise Invalid(f"The condition is longer than {TEXT_BYTES_MAX} bytes", cure="Say it in fewer words.")
    tokens = [each for each in _tokens(text) if each[0] != "space"]
    _check_depth(tokens)
    program = _compile(text)
    bound = frozenset(_bound_names(tokens))
    _check_names(program, tokens, bound=bound, variables=variables)
    _check_patterns(tokens)
    names = frozenset(program.variables()) & frozenset(variables)
    condition = CompiledCondition(text, program=program, names=names, tokens=tokens)
    for full in (False, True):
        _try_out(condition, {name: _sample(variables[name], full=full) for name in names})
    return condition


@lru_cache(maxsize=1_024)
def _compile(text: str) -> Any:
    import cel

    try:
        return cel.compile(text)
    except Exception as error:  # the library promises ValueError; whatever it is, the text is at fault
        raise Invalid(f"The condition {text[:200]!r} is not CEL: {_words(error)}", cure=_CURE) from None
    except BaseException as error:  # a panic of the library is no ordinary exception
        if type(error).__name__ != "PanicException":
            raise
        raise Invalid(f"The condition {text[:200]!r} is not CEL", cure=_CURE) from None


def _tokens(text: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        yield str(found.lastgroup), found[0]


def _check_depth(tokens: Sequence[Token]) -> None:
    depth = run = 0
    for _, text in tokens:
        depth += (text in "([{") - (text in ")]}")
        run = run + 1 if text in {"!", "-", "?", ":"} else run if text in {"true", "false"} else 0
        if depth > DEPTH_MAX or run > DEPTH_MAX:
            raise Invalid(f"The condition is nested deeper than {DEPTH_MAX}", cure="Say it in simpler words.")


def _calls(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Index and name of each word that is followed by an opening bracket."""
    for at, (kind, text) in enumerate(tokens[:-1]):
        if kind == "name" and tokens[at + 1][1] == "(":
            yield at, text


def _bound_names(tokens: Sequence[Token]) -> Iterator[str]:
    """Names that a macro gives to the elements of a list: `x` in `l.all(x, x > 0)`."""
    for at, name in _calls(tokens):
        if name in MACROS and tokens[at - 1][1] == "." and len(tokens) > at + 3 and tokens[at + 3][1] == ",":
            yield tokens[at + 2][1]


def _macro_depth(tokens: Sequence[Token]) -> int:
    """How deep macros stand within each other."""
    macros = {at + 1 for at, name in _calls(tokens) if name in MACROS}
    open_macros: list[bool] = []
    deepest = 0
    for at, (_, text) in enumerate(tokens):
        if text == "(":
            open_macros.append(at in macros)
            deepest = max(deepest, sum(open_macros))
        elif text == ")" and open_macros:
            open_macros.pop()
    return deepest


def _names_in_macros(tokens: Sequence[Token], names: frozenset[str]) -> bool:
    """True where a macro names a variable for each element of its list."""
    macros = {at + 1 for at, name in _calls(tokens) if name in MACROS}
    open_macros: list[bool] = []
    for at, (kind, text) in enumerate(tokens):
        if text == "(":
            open_macros.append(at in macros)
        elif text == ")" and open_macros:
            open_macros.pop()
        elif kind == "name" and text in names and any(open_macros) and tokens[at - 1][1] != ".":
            return True
    return False


def _check_names(
    program: Any, tokens: Sequence[Token], *, bound: frozenset[str], variables: Mapping[str, Kind]
) -> None:
    for name in sorted(bound & frozenset(variables)):
        raise Invalid(f"{name!r} already has a meaning here", cure="Choose another name for the elements of the list.")
    for name in program.variables():
        if name not in bound and name not in variables and name not in _TYPE_NAMES:
            raise Invalid(unknown_name("variable", name, variables))
    for name in program.functions():
        if name[:1].isalpha() and name not in FUNCTIONS:
            raise Invalid(unknown_name("function", name, FUNCTIONS | MACROS | {"has"}))
    for at, (kind, text) in enumerate(tokens):
        after_dot = at > 0 and tokens[at - 1][1] == "."
        if kind == "name" and not after_dot and text in variables:
            _check_fields(tokens[at:], variables[text])
        elif kind == "name" and text not in _WORDS and tokens[at + 1 : at + 2] == [("sign", "{")]:
            raise Invalid(f"The condition makes a {text!r}, which is not possible here", cure=_CURE)


def _check_fields(tokens: Sequence[Token], kind: Kind) -> None:
    """Follow `inbox.files` along the declared kinds; what has open keys ends the way."""
    path = tokens[0][1]
    for at in range(1, len(tokens) - 1, 2):
        is_field = tokens[at][1] == "." and tokens[at + 1][0] == "name" and tokens[at + 2 : at + 3] != [("sign", "(")]
        if not is_field or not isinstance(kind, Mapping):
            return
        name = tokens[at + 1][1]
        if name not in kind:
            raise Invalid(unknown_name(f"field of {path!r}", name, kind))
        path, kind = f"{path}.{name}", kind[name]


def _check_patterns(tokens: Sequence[Token]) -> None:
    for at, name in _calls(tokens):
        if name != "matches":
            continue
        literal = tokens[at + 2 : at + 4]
        if len(literal) < 2 or literal[0][0] != "text" or literal[1][1] != ")":
            raise Invalid("The pattern of 'matches' must be a text in quotes", cure="For example: s.matches('^a+$').")
        work = 1
        for found in re.finditer(r"\{(\d+)?(?:,(\d+)?)?\}", literal[0][1], re.ASCII):
            work *= max(1, *(int(each[:6]) for each in found.groups() if each))
        if work > REPEATS_MAX:
            raise Invalid(f"The pattern {literal[0][1]} repeats too much", cure=f"Counts up to {REPEATS_MAX} in all.")
        try:
            _compile(f"''.matches({literal[0][1]})").execute({})
        except Exception as error:  # whatever is wrong with it, it is the pattern
            raise Invalid(f"The pattern {literal[0][1]} is not a regular expression: {_words(error)}") from None


def _try_out(condition: CompiledCondition, given: dict[str, Any]) -> None:
    """Run once over a sample: kinds that do not fit show at once. Other errors may be the sample's fault."""
    try:
        answer = condition._run(given)
    except Invalid as error:
        wrong_kinds = isinstance(error.__cause__, TypeError)
        unknown = isinstance(error.__cause__, RuntimeError) and "Undefined" in str(error.__cause__)
        if wrong_kinds or unknown:
            raise Invalid(error.message, cure=_CURE) from None
        return
    if answer is not True and answer is not False:
        raise Invalid(f"The condition {condition.text!r} does not answer true or false", cure=_CURE)


def _fields_read(tokens: Sequence[Token]) -> Mapping[str, frozenset[str]]:
    """What is read of names that are always followed by a field: `tasks.pending`, but not `size(tasks)`."""
    found: dict[str, set[str]] = {}
    whole: set[str] = set()
    for place, (kind, name) in enumerate(tokens):
        if kind != "name":
            continue
        (_, dot), (what, field), (_, then) = [*tokens[place + 1 : place + 4], *[("", "")] * 3][:3]
        if dot == "." and what == "name" and then != "(":
            found.setdefault(name, set()).add(field)
        else:
            whole.add(name)
    return {name: frozenset(fields) for name, fields in found.items() if name not in whole}


def _sample(kind: Kind, *, full: bool) -> Any:
    if isinstance(kind, Mapping):
        return {name: _sample(each, full=full) for name, each in kind.items()}
    samples: dict[type, Callable[[], Any]] = {int: lambda: int(full), float: lambda: float(full), bool: lambda: full}
    return samples.get(kind, kind)()


_PLAIN = frozenset({int, float, bool, type(None)})
"""Values that have no size of their own."""


def _measure(given: Mapping[str, Any]) -> tuple[int, int]:
    """The numbers of values and of characters in the input. Raises Invalid where it is too deep or too large, or no
    plain data."""
    count = characters = 0
    pending: list[tuple[Any, int]] = [(given, 0)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, Mapping):
            for key, each in value.items():
                if not isinstance(key, str):
                    raise Invalid(f"A condition cannot look into a mapping with the key {key!r}")
                characters += len(key)
                if type(each) in _PLAIN and depth < INPUT_DEPTH_MAX:  # a third of a heartbeat's check was waiting here
                    count += 1
                else:
                    pending.append((each, depth + 1))
        elif isinstance(value, list | tuple):
            pending.extend((each, depth + 1) for each in value)
        elif value is not None and not isinstance(value, bool | int | float):
            raise Invalid(f"A condition cannot look into a value of type {type(value).__name__}")
        if depth > INPUT_DEPTH_MAX or count + len(pending) > INPUT_VALUES_MAX or characters > INPUT_CHARACTERS_MAX:
            raise Invalid(
                "The input of the condition is too large or too deep",
                cure=f"At most {INPUT_VALUES_MAX} values, {INPUT_CHARACTERS_MAX} characters, depth {INPUT_DEPTH_MAX}.",
            )
    return count, characters


def _words(error: BaseException) -> str:
    """The first lines of the library's message, without its drawing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("|")]
    text = " ".join(lines[:2])
    text = re.sub(r"^Failed to parse expression .*?ERROR: <input>:\d+:(\d+): ", r"at character \1: ", text)
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)  # it quotes what it was given
    return (f"there is no {text}" if isinstance(error, KeyError) else text)[:300]
