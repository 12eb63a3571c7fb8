"""Rules about names: one word for one thing, and rooms that are called what they hold.

The words themselves are explained in docs/reference/glossary.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

from tests.tidy.rule import CODE, Finding, Function, Source, rule

NO_ROOMS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "core", "misc", "stuff", "lib"}

SYNONYMS = {
    "job": "task",
    "jobs": "tasks",
    "conversation": "session",
    "conversations": "sessions",
    "lane": "session",
    "bot": "agent",
    "guardrail": "gate",
    "handoff": "delegation",
    "daemon": "node",
    "dlq": "dead letter",
    "subagent": "sub_agent",
    "workflow_instance": "run",
    "circuit_breaker": "breaker",
    "side_effect": "effect",
    "cron_job": "schedule",
    "hibernate": "park",
    "cfg": "config",
    "mgr": "a trade, such as worker",
    "msg": "message",
    "ctx": "context",
    "cnt": "count",
    "resp": "reply",
    "idx": "index",
}
"""A word that stays out of names, and the glossary's word for it (or the whole word for an abbreviation)."""


@cache
def words(name: str) -> str:
    """A name as words: `JobQueue` and `job_queue` both give `_job_queue_`."""
    return f"_{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower().strip('_')}_"


def defined_names(source: Source) -> Iterator[tuple[int, str]]:
    """Names that this file gives: of classes, functions, arguments, variables and fields."""
    for node in source.nodes:
        if isinstance(node, ast.ClassDef | Function):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


@rule(
    breaks={"src/ostinato/utils.py": "", "src/ostinato/core/x.py": "", "src/ostinato/x.py": "class TaskManager: ..."},
    keeps={"src/ostinato/worker.py": "class Worker: ...", "src/ostinato/commons.py": ""},
    within=(*CODE, "tests/"),
)
def a_room_is_named_for_what_it_holds(source: Source) -> Iterator[Finding]:
    for part in PurePosixPath(source.path).with_suffix("").parts:
        if NO_ROOMS & set(words(part).split("_")):
            yield 1, f"a room called {part!r} could hold anything"
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and NO_ROOMS & set(words(node.name).split("_")):
            yield node.lineno, f"{node.name}: a service is a trade, such as worker, scheduler, rescuer"


@rule(
    breaks={
        "src/ostinato/x.py": "def start_job(): ...",
        "src/ostinato/y.py": "class JobQueue: ...",
        "src/ostinato/z.py": "class Turn:\n    side_effect: int = 0",
        "src/ostinato/v.py": "def f(cfg): ...",
    },
    keeps={"src/ostinato/x.py": "from x import job\ndef start_task(other): other.conversation()\njobless = 1"},
)
def a_name_uses_the_word_of_the_glossary(source: Source) -> Iterator[Finding]:
    for line, name in defined_names(source):
        said = words(name)
        for word, ours in SYNONYMS.items():
            if f"_{word}_" in said:
                yield line, f"{name}: the word here is {ours!r}, not {word!r}"


@rule(
    breaks={"src/ostinato/x.sql": "-- name: f\n-- Why.\nSELECT * FROM jobs;"},
    keeps={"src/ostinato/x.sql": "-- name: f\n-- Some job to do.\nSELECT * FROM tasks;"},
    suffixes=(".sql",),
)
def a_table_uses_the_word_of_the_glossary(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        for name in re.findall(r"\w+", line.partition("--")[0]):
            for word, ours in SYNONYMS.items():
                if f"_{word}_" in words(name):
                    yield number, f"{name}: the word here is {ours!r}, not {word!r}"
