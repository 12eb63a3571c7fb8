"""The program that loads a fleet's Python tools and performs their calls, one after the other; and what such files
import: `tool`, `Call`, `Refused`.

Standard library only, and handed over as text: it runs in a room where this package need not be readable, under
whatever Python the fleet's owner has. There it stands in for `ostinato` itself. Own code turns annotations into schemas
for the same reason. It is spoken to in lines of JSON; what functions print goes to standard error.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import enum
import inspect
import json
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

EFFECTS = ("read", "idempotent", "reversible", "irreversible")
RESULT_CHARS_MAX = 200_000
"""Characters of a result that leave the worker: three times what a model is shown."""

SOURCE = "ostinato-tools:"
"""What stands before the names of files in tracebacks here."""


class Refused(Exception):
    """A tool raises it where it has done nothing, and says why."""


class Call:
    """The call that is being performed; a parameter annotated with it is not shown to models."""

    def __init__(self, *, key: str, agent: str, task: int, repeated: bool) -> None:
        self.key = key
        """Idempotency key: equal for a repeat, different for every other call."""
        self.agent = agent
        self.task = task
        self.repeated = repeated
        """True: an earlier attempt may have done it already, with the same key."""


def tool(
    *, effect: str = "irreversible", secrets: str | tuple[str, ...] = (), timeout_s: float = 60.0,
    outward: bool = False, outside: bool = False,
) -> Callable[[F], F]:  # fmt: skip
    """Makes a typed function a tool, `<file>.<function>`; its docstring is what models are told.

    `effect`: read, idempotent, reversible or irreversible (asks a person, and is never repeated by itself). `secrets`:
    names of variables that it finds in its environment, where the agent's TOOLS.md declares them, too. `outward`:
    somebody outside may see it. `outside`: its result holds text of strangers.
    """
    if effect not in EFFECTS:
        raise ValueError(f"effect {effect!r} is none of {', '.join(EFFECTS)}")
    names = (secrets,) if isinstance(secrets, str) else tuple(secrets)
    marks = {"effect": effect, "secrets": names, "timeout_s": float(timeout_s), "outward": outward, "outside": outside}

    def mark(function: F) -> F:
        function.__ostinato_tool__ = marks  # type: ignore[attr-defined]  # the mark that a worker looks for
        return function

    return mark


_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(hint: Any) -> dict[str, Any]:
    """The JSON Schema of an annotation. Raises TypeError for one that none describes."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object):
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is typing.Annotated:
        words = " ".join(each for each in parts[1:] if isinstance(each, str))
        return schema_of(parts[0]) | ({"description": words} if words else {})
    if origin is typing.Literal:
        return {"enum": list(parts)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in parts]}
    if hint in (list, tuple) or origin in (list, tuple):
        items = [each for each in parts if each is not Ellipsis]
        if origin is tuple and Ellipsis not in parts:
            return {
                "type": "array",
                "prefixItems": [schema_of(e) for e in items],
                "minItems": len(items),
                "items": False,
            }
        return {"type": "array", **({"items": schema_of(items[0])} if items else {})}
    if hint is dict or origin is dict:
        if parts and parts[0] is not str:
            raise TypeError("keys of objects are texts")
        return {"type": "object", **({"additionalProperties": schema_of(parts[1])} if parts else {})}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [each.value for each in hint]}
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return _object_of(hint)
    raise TypeError(f"{getattr(hint, '__name__', hint)} cannot be described to a model")


def _object_of(hint: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(hint, include_extras=True)
    if dataclasses.is_dataclass(hint):
        missing = dataclasses.MISSING
        needed = [e.name for e in dataclasses.fields(hint) if e.default is missing and e.default_factory is missing]
    else:
        needed = sorted(hint.__required_keys__)
    properties = {name: schema_of(each) for name, each in hints.items()}
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def made_of(hint: Any, value: Any) -> Any:
    """A value that fits the schema, as the annotation wants it: enums and dataclasses are made, the rest stays."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return made_of(parts[0], value)
    if origin in (typing.Union, types.UnionType):
        chosen = next((each for each in parts if (value is None) == (each is type(None))), parts[0])
        return made_of(chosen, value)
    if isinstance(value, list) and (origin in (list, tuple) or hint is tuple):
        inner = [each for each in parts if each is not Ellipsis] or [Any]
        made = [made_of(inner[min(at, len(inner) - 1)], each) for at, each in enumerate(value)]
        return tuple(made) if tuple in (origin, hint) else made
    if isinstance(value, dict) and origin is dict:
        return {name: made_of(parts[1], each) for name, each in value.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if isinstance(value, dict) and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint, include_extras=True)
        return hint(**{name: made_of(hints[name], each) for name, each in value.items()})
    return float(value) if hint is float and isinstance(value, int) and not isinstance(value, bool) else value


class _Function:
    """A function that is a tool."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.hints = typing.get_type_hints(function, include_extras=True)
        self.call_as = ""
        properties, needed = {}, []
        for each in inspect.signature(function).parameters.values():
            if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                raise TypeError(f"the parameter {each.name!r} has no name of its own that a model could give")
            if each.name not in self.hints:
                raise TypeError(f"the parameter {each.name!r} has no type")
            if self.hints[each.name] is Call:
                self.call_as = each.name
                continue
            properties[each.name] = schema_of(self.hints[each.name])
            if each.default is each.empty:
                needed.append(each.name)
        self.schema = {
            "type": "object", "properties": properties, "required": needed, "additionalProperties": False
        }  # fmt: skip

    def described(self) -> dict[str, Any]:
        """What the node is told of it."""
        words = inspect.getdoc(self.function) or f"The tool {self.name}."
        return {"name": self.name, "description": words, "schema": self.schema, **self.function.__ostinato_tool__}  # type: ignore[attr-defined]  # the mark

    async def perform(self, arguments: dict[str, Any], call: Call) -> Any:
        """One call."""
        given = {name: made_of(self.hints[name], each) for name, each in arguments.items()}
        if self.call_as:
            given[self.call_as] = call
        found = self.function(**given)
        return await found if inspect.isawaitable(found) else found


class _Finder:
    """Finds the fleet's own files as modules, in the texts that the node handed over."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As `sys.meta_path` wants it."""
        return ModuleSpec(name, self) if name in self.texts else None  # type: ignore[arg-type]  # a loader is what has these two methods

    def create_module(self, spec: Any) -> None:
        """The usual kind."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Runs the file's text."""
        name = module.__name__
        exec(compile(self.texts[name], f"{SOURCE}{name}.py", "exec"), module.__dict__)


def load(texts: dict[str, str], only: str | None = None) -> tuple[dict[str, _Function], list[dict[str, Any]]]:
    """The tools of these files (name without `.py` -> text), and what is wrong with them."""
    sys.meta_path.insert(0, _Finder(texts))
    found: dict[str, _Function] = {}
    problems: list[dict[str, Any]] = []
    for name in sorted(texts) if only is None else [only]:
        if name.startswith("_"):
            continue
        try:
            module = __import__(name)
        except BaseException as error:  # whatever a file does when it is loaded is a finding
            problems.append({"file": f"{name}.py", "line": _line(error, name), "message": _words(error)})
            continue
        for each in vars(module).values():
            if hasattr(each, "__ostinato_tool__") and getattr(each, "__module__", "") == name:
                try:
                    full = f"{name}.{each.__name__}"
                    found[full] = _Function(full, each)
                except Exception as error:  # a function that cannot be described is a finding
                    line = each.__code__.co_firstlineno if hasattr(each, "__code__") else 1
                    message = f"{each.__name__}: {error}"
                    problems.append({"file": f"{name}.py", "line": line, "message": message})
    return found, problems


def _line(error: BaseException, name: str) -> int:
    if isinstance(error, SyntaxError) and error.filename == f"{SOURCE}{name}.py":
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((each.lineno or 1 for each in reversed(frames) if each.filename == f"{SOURCE}{name}.py"), 1)


def _words(error: BaseException) -> str:
    words = f"{type(error).__name__}: {error}" if not isinstance(error, SyntaxError) else f"SyntaxError: {error.msg}"
    return " ".join(words.split())[:300]


def _text(result: Any) -> str:
    if isinstance(result, str):
        text = result
    elif result is None:
        text = "done"
    else:
        plain = (
            dataclasses.asdict(result) if dataclasses.is_dataclass(result) and not isinstance(result, type) else result
        )
        text = json.dumps(plain, default=repr, ensure_ascii=False)
    return text[:RESULT_CHARS_MAX].encode(errors="replace").decode()


def main() -> None:
    """Loads what the first line holds, then performs what each further line asks, until there are no more."""
    heard, said = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    stand_in = types.ModuleType("ostinato")
    stand_in.__dict__.update(tool=tool, Call=Call, Refused=Refused)
    sys.modules["ostinato"] = stand_in
    first = json.loads(heard.readline())
    sys.path += first["path"]
    functions, problems = load(first["files"], first.get("only"))

    def answer(message: dict[str, Any]) -> None:
        said.write(json.dumps(message).encode() + b"\n")
        said.flush()

    answer({"tools": [each.described() for each in functions.values()], "problems": problems})
    loop = asyncio.new_event_loop()
    for line in heard:
        wanted = json.loads(line)
        try:
            call = Call(**wanted["call"])
            result = loop.run_until_complete(functions[wanted["tool"]].perform(wanted["arguments"], call))
            answer({"id": wanted["id"], "text": _text(result)})
        except Refused as error:
            answer({"id": wanted["id"], "refused": " ".join(str(error).split())[:2_000]})
        except BaseException as error:  # a tool may raise anything, and the next call must find its worker
            answer({"id": wanted["id"], "raised": _words(error), "line": _line(error, wanted["tool"].split(".")[0])})


def syntax_problem(text: str) -> tuple[int, str] | None:
    """Line and words of what keeps a text from being Python at all; None where nothing does."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return getattr(error, "lineno", 1) or 1, _words(error)
    return None


if __name__ == "__main__":
    main()
