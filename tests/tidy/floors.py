"""Rules about what a room may know and how it behaves: imports, purity, frozen facts, narrow excepts, honest tests.

The order of the floors itself is import-linter's (pyproject.toml).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from tests.tidy.rule import Finding, Function, Source, functions, rule

HEAVY = {
    "pydantic_ai", "httpx2",
    "typer", "rich", "aiohttp", "h11", "uvicorn", "starlette", "genai_prices", "jinja2", "structlog",
    "ruamel", "tomlkit", "jsonschema_rs", "cel", "cronsim", "zoneinfo", "sqlite3", "ssl",
    "bs4", "markdownify", "yarl",
}  # fmt: skip
"""Libraries that cost start-up time, which may be imported where they are needed."""

LATE_LOADERS = ("ostinato.app", "ostinato.cli", "ostinato.__main__", "ostinato")
"""Rooms that may load rooms of our own late: adapters by name, and the floors that `--version` does not need."""

PURE = {
    "__future__", "abc", "base64", "bisect", "collections", "contextlib", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fnmatch", "fractions", "functools", "graphlib", "hashlib", "heapq", "hmac", "html", "itertools",
    "json", "math", "operator", "re", "shlex", "statistics", "string", "struct", "textwrap", "types", "typing",
    "ipaddress", "unicodedata", "urllib.parse", "zoneinfo", "cel", "cronsim", "jsonschema_rs", "msgspec", "ostinato",
}  # fmt: skip
"""What the domain may import: computation only."""

IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input", "exec", "eval", "compile_command", "fromtimestamp"}

ADAPTERS = {"ostinato.store.sqlite": "ostinato.app", "ostinato.store.postgres": "ostinato.app"}
"""A room that only one other may name, beside itself and `ostinato.testing`."""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module with its line, as a full dotted name; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{each.name}") for each in node.names)


INNER_IMPORT = re.compile(r"^[ \t]+(?:import|from)\b|[:;][ \t]*(?:import|from)\b", re.MULTILINE)
"""Where none is found, no function needs to be looked through."""


def top(module: str) -> str:
    """The first part of a dotted name."""
    return module.partition(".")[0]


def is_in(module: str, *rooms: str) -> bool:
    """True where `module` is one of `rooms` or below one."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@rule(
    breaks={
        "src/ostinato/engine/x.py": "def f():\n    import json",
        "src/ostinato/engine/y.py": "def f():\n    from ostinato.domain import task",
    },
    keeps={
        "src/ostinato/engine/x.py": "import json\ndef f():\n    import rich.table",
        "src/ostinato/cli/x.py": "def f():\n    from ostinato.app import App",
    },
)
def an_import_in_a_function_is_of_a_heavy_library(source: Source) -> Iterator[Finding]:
    late = source.module == "ostinato" or is_in(source.module, *LATE_LOADERS[:3])
    allowed = HEAVY | {"ostinato"} if late else HEAVY
    for function in functions(source) if INNER_IMPORT.search(source.text) else ():
        for line, module in imports(function):
            if top(module) not in allowed:
                yield line, f"import {module} at the top"


@rule(
    breaks={
        "src/ostinato/domain/a.py": "import os",
        "src/ostinato/domain/b.py": "from random import random",
        "src/ostinato/domain/c.py": "import datetime\nx = datetime.datetime.now()",
        "src/ostinato/domain/d.py": "async def f(): ...",
        "src/ostinato/domain/e.py": "def f(): return open('x')",
        "src/ostinato/domain/f.py": "from ostinato.store import port",
        "src/ostinato/domain/g.py": "import urllib.request",
    },
    keeps={
        "src/ostinato/domain/a.py": "import msgspec\nfrom ostinato.domain.task import Task\ndef f(now): return now",
        "src/ostinato/engine/a.py": "import os",
    },
    within=("src/ostinato/domain/",),
)
def the_domain_is_pure(source: Source) -> Iterator[Finding]:
    for line, module in imports(source.tree):
        if not is_in(module, *PURE) or (top(module) == "ostinato" and not is_in(module, "ostinato.domain")):
            yield line, f"import of {module}"
    for node in source.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Global):
            yield getattr(node, "lineno", 1), f"{type(node).__name__}: no await and no global state here"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in IMPURE_CALLS:
                yield node.lineno, f"{name}(): time and bytes are passed in"


@rule(
    breaks={"src/ostinato/supervisor.py": "import msgspec", "src/ostinato/supervisor/x.py": "import ostinato.domain"},
    keeps={"src/ostinato/supervisor.py": "import os\nimport ostinato.supervisor"},
    within=("src/ostinato/supervisor",),
)
def the_supervisor_stands_on_the_standard_library(source: Source) -> Iterator[Finding]:
    for line, module in imports(source.tree):
        if top(module) not in sys.stdlib_module_names and not is_in(module, "ostinato.supervisor"):
            yield line, f"import of {module}"


@rule(
    breaks={"src/ostinato/engine/x.py": "from ostinato.store.sqlite import Store"},
    keeps={
        "src/ostinato/app.py": "from ostinato.store.sqlite import Store",
        "src/ostinato/store/sqlite/x.py": "from ostinato.store.sqlite.writer import Writer",
        "src/ostinato/testing/x.py": "import ostinato.store.sqlite",
    },
    within=("src/",),
)
def only_the_app_names_an_adapter(source: Source) -> Iterator[Finding]:
    for line, module in imports(source.tree):
        for adapter, owner in ADAPTERS.items():
            if is_in(module, adapter) and not is_in(source.module, adapter, owner, "ostinato.testing"):
                yield line, f"{module} is named by {owner} alone"


@rule(
    breaks={
        "src/ostinato/x.py": "class A(msgspec.Struct): ...",
        "src/ostinato/y.py": "class A(Struct, frozen=True): ...",
    },
    keeps={"src/ostinato/x.py": "class A(msgspec.Struct, frozen=True, kw_only=True): ...\nclass B(A): ..."},
    within=("src/",),
)
def a_fact_is_frozen_with_keywords_only(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef):
            continue
        if any(ast.unparse(base).rpartition(".")[2] == "Struct" for base in node.bases):
            options = {each.arg for each in node.keywords if ast.unparse(each.value) == "True"}
            if not ({"frozen", "kw_only"} <= options or any(each.arg == "metaclass" for each in node.keywords)):
                yield node.lineno, f"{node.name}: frozen=True, kw_only=True"


BROAD = {"Exception", "BaseException"}


@rule(
    breaks={
        "src/ostinato/x.py": "try:\n    f()\nexcept Exception:\n    g()",
        "src/ostinato/y.py": "try:\n    f()\nexcept (OSError, BaseException) as e:\n    g()",
    },
    keeps={
        "src/ostinato/x.py": "try:\n    f()\nexcept Exception:  # a handler may raise anything\n    g()",
        "src/ostinato/y.py": "try:\n    f()\nexcept Exception:\n    # a handler may raise anything\n    g()",
        "src/ostinato/z.py": "try:\n    f()\nexcept OSError:\n    g()",
        "src/ostinato/w.py": "try:\n    f()\nexcept BaseException:\n    g()\n    raise",
    },
)
def a_broad_except_gives_its_reason(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = {ast.unparse(each) for each in ast.walk(node.type)} if node.type else BROAD
        if not caught & BROAD:
            continue
        said = any(line in source.comments for line in range(node.lineno, node.body[0].lineno + 1))
        passed_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if not said and not passed_on:
            yield node.lineno, "catch the narrow type, or say in a comment why not"


# --- tests --------------------------------------------------------------------------------------------------------

SLEEPS_HERE = "tests/conftest.py"


@rule(
    breaks={
        "tests/test_a.py": "import time\ndef test_a(): time.sleep(1)",
        "tests/test_b.py": "async def f(): await asyncio.sleep(0.1)",
    },
    keeps={"tests/test_a.py": "async def f(): await asyncio.sleep(0)", SLEEPS_HERE: "time.sleep(0.01)"},
    within=("tests/",),
)
def a_test_does_not_sleep(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if not isinstance(node, ast.Call) or source.path == SLEEPS_HERE:
            continue
        sleeps = ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "sleep"}
        if sleeps and [ast.unparse(each) for each in node.args] != ["0"]:
            yield node.lineno, "move the clock, wait for an event, or use wait_until for another process"


@rule(
    breaks={
        "tests/test_a.py": "from unittest.mock import Mock",
        "tests/test_b.py": "import unittest.mock",
        "tests/test_c.py": "@pytest.mark.skip\ndef test_c(): ...",
        "tests/test_d.py": "def test_d(): pytest.skip()",
    },
    keeps={
        "tests/test_a.py": "@pytest.mark.skip(reason='no such kernel')\ndef test_a(): pytest.skip('no such kernel')"
    },
    within=("tests/",),
)
def a_test_uses_real_parts_and_gives_reasons(source: Source) -> Iterator[Finding]:
    for line, module in imports(source.tree):
        if is_in(module, "unittest.mock", "mock"):
            yield line, "real parts made cheap, not mocks"
    for node in source.nodes:
        if isinstance(node, Function):
            for each in node.decorator_list:
                if ast.unparse(each) == "pytest.mark.skip":
                    yield each.lineno, "a skip gives its reason"
        elif (
            isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.skip" and not (node.args or node.keywords)
        ):
            yield node.lineno, "a skip gives its reason"
