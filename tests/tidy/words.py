"""Rules about the words around the code: heads, docstrings, reasons, SQL, and what does not belong in a repository.

Knows nothing of what a floor may import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.tidy.rule import CODE, ROOT, TEXT_SUFFIXES, Finding, Function, Source, rule


def is_public(name: str) -> bool:
    """True for a name without a leading underscore."""
    return not name.startswith("_")


def decorated_by(node: Function, *names: str) -> bool:
    """True where a decorator's last part is one of `names`."""
    return any(ast.unparse(each).partition("(")[0].rpartition(".")[2] in names for each in node.decorator_list)


@rule(
    breaks={"src/ostinato/x.py": "x = 1", "tests/test_x.py": '"""Short."""\nx = 1'},
    keeps={
        "src/ostinato/x.py": '"""What it is for; knows nothing of the rest."""\nx = 1',
        "src/ostinato/__init__.py": "",
    },
    within=(*CODE, "tests/"),
)
def a_module_says_what_it_is_for(source: Source) -> Iterator[Finding]:
    if source.text.strip() and len(ast.get_docstring(source.tree) or "") < 30:
        yield 1, "begin with a docstring: what this room is for, and what it knows nothing about"


def is_protocol(node: ast.ClassDef) -> bool:
    """True for a class that only names verbs: what they do is said beside them, once, in the form that reads best."""
    return any(ast.unparse(base).partition("[")[0].rpartition(".")[2] == "Protocol" for base in node.bases)


@rule(
    breaks={
        "src/ostinato/x.py": "class A:\n    '''Says.'''\n    def f(self): ...",
        "src/ostinato/y.py": "class A: ...",
        "src/ostinato/z.py": "async def f(): ...",
    },
    keeps={
        "src/ostinato/x.py": "class _A:\n    def f(self): ...\ndef g():\n    '''Says.'''\n    def h(): ...",
        "src/ostinato/y.py": "class A:\n '''Says.'''\n def __len__(self): ...\n @override\n def f(self): ...",
        "src/ostinato/v.py": "class A(Protocol):\n '''Says of all its verbs.'''\n def f(self): ...",
        "src/ostinato/_z.py": "def f(): ...",
        "src/ostinato/testing/contract/x.py": "@case\nasync def what_is_asked_twice_is_answered_once(scene): ...",
    },
    within=("src/",),
)
def a_public_name_says_what_it_is(source: Source) -> Iterator[Finding]:
    if any(part.startswith("_") and part != "__main__" for part in source.module.split(".")):
        return
    pending: list[ast.stmt] = list(source.tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If | ast.Try):
            pending.extend(node.body)
        if not isinstance(node, ast.ClassDef | Function) or not is_public(node.name):
            continue
        if isinstance(node, Function) and decorated_by(node, "override", "overload", "setter", "case"):
            continue
        if not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring"
        if isinstance(node, ast.ClassDef) and not is_protocol(node):
            pending.extend(node.body)


@rule(
    breaks={"src/ostinato/x.py": "x = 1  # noqa: E501", "tests/test_x.py": "x = 1  # type: ignore[misc]"},
    keeps={"src/ostinato/x.py": "x = 1  # noqa: E501 - a URL\ny = 1  # type: ignore[misc]  # no stubs yet"},
    within=(*CODE, "tests/"),
)
def an_exception_from_the_tools_gives_its_reason(source: Source) -> Iterator[Finding]:
    if "noqa" not in source.text and "type: ignore" not in source.text:
        return  # most files have none, and comments are dear to find
    for number, comment in source.comments.items():
        if re.search(r"# (noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])$", comment.strip()):
            yield number, "say why after the code"


@rule(
    breaks={"src/ostinato/x.py": "x = 1  # " + "TO" + "DO later", "docs/a.md": "FIX" + "ME"},
    keeps={"src/ostinato/x.py": "x = 1  # nothing to do"},
    within=("",),
    suffixes=TEXT_SUFFIXES,
)
def nothing_is_left_for_later(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := re.search(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b", line):
            yield number, f"{found[0]}: do it, or leave it out"


@rule(
    breaks={
        "src/ostinato/a.sql": "SELECT 1;",
        "src/ostinato/b.sql": "-- name: one\nSELECT 1;",
        "src/ostinato/c.sql": "-- name: One Query\n-- Why.\nSELECT 1;",
        "src/ostinato/migrations/0001_x.sql": "CREATE TABLE a (b) STRICT;",
        "src/ostinato/schema.sql": "-- Why.\nCREATE TABLE a (b);",
    },
    keeps={
        "src/ostinato/a.sql": "-- Head.\n\n-- name: one\n-- Why.\nSELECT 1;\n\n-- name: two\n-- Why.\nSELECT 2;",
        "src/ostinato/migrations/0001_x.sql": "-- Why.\nCREATE TABLE a (b) STRICT;\nCREATE VIRTUAL TABLE c USING d(b);",
        "src/ostinato/postgres/migrations/0001_x.sql": "-- Why.\nCREATE TABLE a (b TEXT);",
    },
    suffixes=(".sql",),
)
def sql_says_what_it_is_for(source: Source) -> Iterator[Finding]:
    if re.search(r"(^|/)(migrations/|schema)", source.path):
        if not source.text.startswith("--"):
            yield 1, "begin with a line that says what this changes"
        for found in re.finditer(r"CREATE TABLE[^;]*;", source.text):
            if "/postgres/" not in source.path and not re.search(r"\bSTRICT\b", found[0]):  # a word of SQLite
                yield source.text.count("\n", 0, found.start()) + 1, "tables are STRICT"
        return
    named = False
    for number, line in enumerate(source.lines, 1):
        if line.startswith("-- name:"):
            named = True
            following = source.lines[number] if number < len(source.lines) else ""
            if not re.fullmatch(r"-- name: [a-z][a-z0-9_]*", line):
                yield number, "a query's name is one word in snake_case"
            if not re.match(r"-- \S", following) or following.startswith("-- name:"):
                yield number, "the next line says what the query is for"
        elif line.strip() and not line.startswith("--") and not named:
            yield number, "a query without a name"
            return


# What a stranger's clone must not show: somebody's machine, somebody's notes, or words about how the text came to be.

ELSEWHERE = re.compile(r"(?<![\w.])/(home|Users)/(?!you\b|user\b)\w+|(?<![\w./])/root\b/|\b[A-Z]:\\Users\\")
NOTES = re.compile(
    r"\xa7|co-authored-by|\bas an ai\b|\bissue #?\d|\b(written|generated|made|drafted) (by|with) (an? )?"
    r"(ai|assistant|llm|language model)\b",
    re.IGNORECASE,
)
DOCUMENT = re.compile(r"\b[A-Z][A-Z_]+\.md\b")
FLEET_FILES = {"SOUL.md", "AGENTS.md", "HEARTBEAT.md", "TOOLS.md", "MEMORY.md", "SKILL.md", "TASKS.md", "RUNBOOK.md"}
FLEET_FILES |= {"USER.md", "IDENTITY.md"}


@rule(
    breaks={"docs/a.md": "cd /ho" + "me/ann/x", "src/ostinato/x.py": "# in /ro" + "ot/x"},
    keeps={"docs/a.md": "cd /home/you/fleet, or https://example.org/home/ann, or /srv/fleet"},
    within=("",),
    suffixes=TEXT_SUFFIXES,
)
def no_path_is_somebodys_own(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := ELSEWHERE.search(line):
            yield number, f"{found[0]}: a path of one machine"


@rule(
    breaks={
        "docs/a.md": "see issue" + " 7",
        "src/ostinato/x.py": "# Co-authored" + "-by: x",
        "src/ostinato/y.py": "# \N{SECTION SIGN} 3",
    },
    keeps={"docs/a.md": "An issue with two ways to settle it; written by the runtime."},
    within=("docs/", "src/", "examples/", "benchmarks/", "README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING"),
    suffixes=TEXT_SUFFIXES,
)
def the_project_speaks_of_itself_alone(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := NOTES.search(line):
            yield number, f"{found[0]!r}: say what is so, not where it was decided or who wrote it down"


@rule(
    breaks={"src/ostinato/x.py": "# As PLAN" + "S.md says."},
    keeps={"src/ostinato/x.py": "# As ARCHITECTURE.md says of SOUL.md."},
    within=("",),
    suffixes=TEXT_SUFFIXES,
)
def a_document_that_is_named_exists(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        for name in DOCUMENT.findall(line):
            if name not in FLEET_FILES and not (ROOT / name).exists():
                yield number, f"{name} is not in this repository"
