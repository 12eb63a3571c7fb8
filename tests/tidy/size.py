"""Rules about size: how long a file and a function may be, and how much a call may ask for.

Knows nothing of names or contents.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.rule import CODE, Finding, Function, Source, functions, rule

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
POSITIONAL_MAX = 3


@rule(
    breaks={"src/ostinato/long.py": "x = 1\n" * 601},
    keeps={"src/ostinato/long.py": "x = 1\n" * 600},
    within=(*CODE, "tests/"),
    suffixes=(".py", ".sql"),
)
def a_file_has_at_most_600_lines(source: Source) -> Iterator[Finding]:
    if len(source.lines) > FILE_LINES_MAX:
        yield len(source.lines), f"{len(source.lines)} lines; split the room"


@rule(
    breaks={"tests/test_x.py": "def f():\n" + "    x = 1\n" * 60},
    keeps={"tests/test_x.py": "def f():\n" + "    x = 1\n" * 59},
    within=(*CODE, "tests/"),
)
def a_function_has_at_most_60_lines(source: Source) -> Iterator[Finding]:
    for node in functions(source):
        if (size := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX:
            yield node.lineno, f"{node.name} has {size} lines"


@rule(
    breaks={"src/ostinato/x.py": "def f(a, b, c, d): ...", "src/ostinato/y.py": "class A:\n def f(s, a, b, c, d): ..."},
    keeps={"src/ostinato/x.py": "class A:\n def f(self, a, b, c, *, d, e): ...\ndef g(a, b, c): ..."},
)
def a_function_takes_at_most_three_positional_arguments(source: Source) -> Iterator[Finding]:
    methods = {
        item: not any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in item.decorator_list)
        for node in source.nodes
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, Function)
    }
    for node in functions(source):
        count = len(node.args.posonlyargs) + len(node.args.args) - methods.get(node, False)
        if count > POSITIONAL_MAX:
            yield node.lineno, f"{node.name} takes {count}; put the rest behind `*`, or into one value"
