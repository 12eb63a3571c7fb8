"""The program that loads a fleet's Python files and performs their tools and agents, one after the other; and what such
files import: `tool`, `agent`, `Call`, `Context`, `Refused`, `CallFailed`.

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
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
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


class CallFailed(Exception):
    """What an agent's function asked for did not come about. `status`: error, invalid, denied, pending (a person will
    decide, and the turn cannot wait), or unknown (it may have happened)."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def tool(
    *, effect: str = "irreversible", secrets: str | tuple[str, ...] = (), timeout_s: float = 60.0,
    outward: bool = False, outside: bool | None = None, private: bool = True, network: str | tuple[str, ...] = (),
) -> Callable[[F], F]:  # fmt: skip
    """Makes a typed function a tool, `<file>.<function>`; its docstring is what models are told.

    `effect`: read, idempotent, reversible or irreversible (asks a person, and is never repeated by itself). `secrets`:
    names of variables that it finds in its environment, where the agent's TOOLS.md declares them, too. `outward`:
    somebody outside may see it. `outside`: its result holds text of strangers.
    `private=False`: its result is nothing that an agent must not tell outside. `network`: hosts that it reaches, where
    the agent's TOOLS.md declares them, too, by the proxy that its environment names; it is outward then, and its result
    is text of strangers unless `outside=False`.
    """
    if effect not in EFFECTS:
        raise ValueError(f"effect {effect!r} is none of {', '.join(EFFECTS)}")
    names = (secrets,) if isinstance(secrets, str) else tuple(secrets)
    hosts = (network,) if isinstance(network, str) else tuple(network)
    marks = {
        "effect": effect,
        "secrets": names,
        "timeout_s": float(timeout_s),
        "outward": outward or bool(hosts),
        "outside": bool(hosts) if outside is None else outside,
        "private": private,
        "network": hosts,
    }

    def mark(function: F) -> F:
        function.__ostinato_tool__ = marks  # type: ignore[attr-defined]  # the mark that a worker looks for
        return function

    return mark


def agent(
    *, secrets: str | tuple[str, ...] = (), timeout_s: float = 300.0, network: str | tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Makes a function of one `Context`, sync or async, what an agent of `kind: python` does; what it returns is the
    result. `secrets`, `network`: as of tools. `timeout_s`: how long it may work between two steps, in seconds."""
    names = (secrets,) if isinstance(secrets, str) else tuple(secrets)
    hosts = (network,) if isinstance(network, str) else tuple(network)
    marks = {"secrets": names, "timeout_s": float(timeout_s), "network": hosts}

    def mark(function: F) -> F:
        function.__ostinato_agent__ = marks  # type: ignore[attr-defined]  # the mark that a worker looks for
        return function

    return mark


Said = dict[str, Any]
"""What an agent's function and the node say to each other."""

_inside: ContextVar[str] = ContextVar("inside", default="")
"""The key of the step whose function is at work."""


@dataclasses.dataclass(frozen=True)
class Message:
    """What somebody wrote to the agent."""

    text: str
    source: str
    trust: str


class Context:
    """What an agent's function works with. The function is run again from its start whenever its task goes on: steps
    that have their result are not done again, so that it must ask for them in the same order. In a sync function
    `once` and `call` return their result, in an async one they are awaited. One step at a time, in the order in which
    they are asked for."""

    def __init__(self, facts: Said, exchange: Callable[[Said], Awaitable[Said]], *, loop: Any = None) -> None:
        """`loop`: of a sync function, the loop that speaks for it."""
        self.goal: str = facts["goal"]
        self.input: dict[str, Any] = facts["input"]
        self.messages = tuple(Message(**each) for each in facts["messages"])
        self.agent: str = facts["agent"]
        self.task: int = facts["task"]
        self._exchange = exchange
        self._loop = loop
        self._turn = asyncio.Lock()
        self._keys: set[str] = set()
        self.logged: list[str] = []

    def once(self, key: str, fn: Callable[..., Any], *, effect: str = "irreversible", timeout_s: float = 60.0) -> Any:
        """The result of `fn`, called once for this key; what it returned is kept in the journal, as JSON. A
        `fn` with a parameter is given its `Call`. `effect` decides what a crash in the middle of it means."""
        if effect not in EFFECTS:
            raise ValueError(f"effect {effect!r} is none of {', '.join(EFFECTS)}")
        if not 0 < len(key) <= 200:
            raise ValueError("a key is a text of 1 to 200 characters")
        if key in self._keys:
            raise ValueError(f"the key {key!r} is used twice")
        self._keys.add(key)
        return self._wait(self._step({"once": key, "effect": effect, "timeout_s": float(timeout_s)}, fn))

    def call(self, name: str, /, **arguments: Any) -> Any:
        """The text that a tool returns, under the agent's policy and gates. Raises CallFailed."""
        return self._wait(self._step({"call": name, "arguments": _as_json(arguments)}, None))

    def log(self, *words: Any) -> None:
        """Says something in the transcript."""
        self.logged.append(" ".join(map(str, words))[:2_000])

    def said(self, message: Said) -> Said:
        """A message with what was logged before it."""
        logged, self.logged = "\n".join(self.logged)[:20_000], []
        return {**message, "logged": logged}

    def _wait(self, work: Any) -> Any:
        return work if self._loop is None else asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _step(self, wanted: Said, fn: Callable[..., Any] | None) -> Any:
        if _inside.get():
            raise RuntimeError(f"the step {_inside.get()!r} cannot have steps of its own")
        async with self._turn:
            answer = await self._exchange(self.said(wanted))
            if "go" in answer:
                answer = await self._exchange(await self._do(wanted["once"], fn, Call(**answer["go"])))
        if "refused" in answer:
            raise Refused(answer["refused"])
        if "failed" in answer:
            raise CallFailed(answer["failed"], answer["text"])
        return answer["ok"]

    async def _do(self, key: str, fn: Any, call: Call) -> Said:
        before = _inside.set(key)
        try:
            found = fn(call) if inspect.signature(fn).parameters else fn()
            return {"did": _as_json(await found if inspect.isawaitable(found) else found)}
        except Refused as error:
            return {"refused": " ".join(str(error).split())[:2_000]}
        except Exception as error:  # whatever it raises: the node decides what that means
            return {"raised": _words(error), "line": _line(error, None)}
        finally:
            _inside.reset(before)


def _as_json(value: Any) -> Any:
    """What a journal can keep of a value. Raises TypeError for what it cannot."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return json.loads(json.dumps(plain, allow_nan=False))


async def perform_agent(function: Callable[..., Any], facts: Said, exchange: Callable[[Said], Awaitable[Said]]) -> Said:
    """One run of an agent's function; its last word, for the node."""
    plain = not inspect.iscoroutinefunction(function)
    context = Context(facts, exchange, loop=asyncio.get_running_loop() if plain else None)
    try:
        result = await (asyncio.to_thread(function, context) if plain else function(context))
        data = None if result is None or isinstance(result, str) else _as_json(result)
        end: Said = {"end": _text(result), "data": data if data is None or isinstance(data, dict) else {"value": data}}
    except Refused as error:
        end = {"end": "", "refused": " ".join(str(error).split())[:2_000]}
    except CallFailed as error:
        end = {"end": "", "failed": error.status, "text": error.text[:2_000]}
    except Exception as error:  # whatever it raises: the node decides what that means
        end = {"end": "", "raised": _words(error), "line": _line(error, None)}
    return context.said(end)


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


Loaded = tuple[dict[str, _Function], dict[str, Callable[..., Any]], list[dict[str, Any]]]


def load(texts: dict[str, str], only: str | None = None) -> Loaded:
    """The tools and the agents of these files (name without `.py` -> text), and what is wrong with them."""
    sys.meta_path.insert(0, _Finder(texts))
    found: dict[str, _Function] = {}
    agents: dict[str, Callable[..., Any]] = {}
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
            if hasattr(each, "__ostinato_agent__") and getattr(each, "__module__", "") == name:
                wrong = _problem_of(name, each)
                problems += wrong
                agents |= {} if wrong else {f"{name}.{each.__name__}": each}
            if hasattr(each, "__ostinato_tool__") and getattr(each, "__module__", "") == name:
                try:
                    full = f"{name}.{each.__name__}"
                    found[full] = _Function(full, each)
                except Exception as error:  # a function that cannot be described is a finding
                    line = each.__code__.co_firstlineno if hasattr(each, "__code__") else 1
                    message = f"{each.__name__}: {error}"
                    problems.append({"file": f"{name}.py", "line": line, "message": message})
    return found, agents, problems


def _problem_of(file: str, function: Any) -> list[dict[str, Any]]:
    """What keeps a function from being an agent's."""
    if callable(function) and len(inspect.signature(function).parameters) == 1:
        return []
    line = function.__code__.co_firstlineno if hasattr(function, "__code__") else 1
    message = f"{function.__name__}: the function of an agent has one parameter, its context"
    return [{"file": f"{file}.py", "line": line, "message": message}]


def _line(error: BaseException, name: str | None) -> int:
    """The last line of a file (None: of any of the fleet's) that an error has passed."""
    if isinstance(error, SyntaxError) and error.filename == f"{SOURCE}{name}.py":
        return error.lineno or 1
    wanted = SOURCE if name is None else f"{SOURCE}{name}.py"
    frames = traceback.extract_tb(error.__traceback__)
    return next((each.lineno or 1 for each in reversed(frames) if each.filename.startswith(wanted)), 1)


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
    for each in (tool, agent, Call, Context, Refused, CallFailed):
        setattr(stand_in, each.__name__, each)
    sys.modules["ostinato"] = stand_in
    first = json.loads(heard.readline())
    sys.path += first["path"]
    functions, agents, problems = load(first["files"], first.get("only"))

    def answer(message: dict[str, Any]) -> None:
        said.write(json.dumps(message).encode() + b"\n")
        said.flush()

    marks = [{"name": name, **each.__ostinato_agent__} for name, each in agents.items()]  # type: ignore[attr-defined]  # the mark
    answer({"tools": [each.described() for each in functions.values()], "agents": marks, "problems": problems})
    loop = asyncio.new_event_loop()

    async def exchange(message: Said) -> Said:
        answer(message)
        found: Said = json.loads(await loop.run_in_executor(None, heard.readline))
        return found

    for line in heard:
        wanted = json.loads(line)
        if "run" in wanted:
            answer(loop.run_until_complete(perform_agent(agents[wanted["run"]], wanted["facts"], exchange)))
            continue
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
