"""Changes the gate's modules in one place at a time, and counts how many of these mutants their tests find.

    python -m tests.mutation [MODULE ...] [--most N] [--seed N] [--jobs N]

Each mutant lives in a forked process, in memory alone: no file is changed. Libraries for this exist; they copy the tree
and start an interpreter for each mutant, which costs ten times as much. Of a module with more than `--most` mutants a
sample is tried, the same for the same seed. Not part of the suite: it takes minutes.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest
from hypothesis import is_hypothesis_test, settings

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "domain.gate": ("domain/test_policy.py",),
    "domain.policy": ("domain/test_policy.py",),
    "domain.permission": ("domain/test_permission.py", "domain/test_policy.py"),
    "domain.question": ("domain/test_question.py", "domain/test_deciders.py"),
    "domain.host": ("domain/test_host.py",),
    "domain.taint": ("domain/test_taint.py",),
    "agents.turn_gate": ("agents/test_turn_gate.py", "agents/test_turns.py", "security/test_taint.py"),
}
"""Module -> its tests."""

SHARE = 0.85
"""The part of the mutants that tests have to find."""

MUTANT_S = 60
"""Seconds after which a mutant that runs for ever counts as found."""

EXAMPLES = 25
"""Examples of each law: enough to find what a law is there to find, and four times as fast as in the suite."""

REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
"""Hypothesis is there before pytest is, so that each fork begins with it."""

_COMPARES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


class Mutant(NamedTuple):
    """A module that differs in one place."""

    line: int
    words: str
    """What stands there now."""
    code: CodeType


def mutated(node: ast.AST) -> Iterator[ast.AST]:
    """What a place in the code could be instead."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARES:
            yield ast.Compare(left=node.left, ops=[_COMPARES[type(op)]()], comparators=node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(op=ast.Or() if isinstance(node.op, ast.And) else ast.And(), values=node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(value=not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(value=node.value + 1)
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield ast.BinOp(
                left=node.left, op=ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), right=node.right
            )
        case ast.IfExp():
            yield ast.IfExp(test=node.test, body=node.orelse, orelse=node.body)
        case ast.Return(value=ast.expr()) if not _is_falsy(node.value):
            yield ast.Return(value=ast.Constant(value=None))
        case ast.If():
            yield ast.If(test=ast.UnaryOp(op=ast.Not(), operand=node.test), body=node.body, orelse=node.orelse)
        case _:
            pass


def _is_falsy(node: ast.AST | None) -> bool:
    """None for None is no change, and none for False where only the truth of it counts."""
    return isinstance(node, ast.Constant) and node.value in (None, False)


def mutants(source: str, path: str) -> Iterator[Mutant]:
    """Every one of a module."""
    tree = ast.parse(source)
    places = [
        (parent, name, index, node)
        for parent in ast.walk(tree)
        for name, value in ast.iter_fields(parent)
        for index, node in enumerate(value if isinstance(value, list) else [value])
        if isinstance(node, ast.AST)
    ]
    for parent, name, index, node in places:
        for changed in mutated(node):
            ast.copy_location(changed, node)
            _put(parent, name, index=index, node=changed)
            line = getattr(node, "lineno", 0)
            words = ast.unparse(changed).splitlines()[0]
            yield Mutant(line, words, compile(ast.fix_missing_locations(tree), path, "exec"))
            _put(parent, name, index=index, node=node)


def _put(parent: ast.AST, name: str, *, index: int, node: ast.AST) -> None:
    value = getattr(parent, name)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, name, node)


class CasesFirst:
    """A plugin of pytest: cases before laws, since a case finds a mutant sooner."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Laws to the end."""
        items.sort(key=lambda item: is_hypothesis_test(getattr(item, "obj", None)))


def begin(name: str, code: CodeType) -> int:
    """Runs the module's tests against a mutant, in a process of its own. Which."""
    child = os.fork()
    if child:
        return child
    signal.alarm(MUTANT_S)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            _install(f"ostinato.{name}", code)
            paths = [str(ROOT / "tests" / each) for each in MODULES[name]]
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", REWRITTEN, *paths]
            failed = int(pytest.main(options, plugins=[CasesFirst()])) != 0
        except BaseException:  # a mutant that cannot even be imported is found
            failed = True
    os._exit(failed)


def _install(name: str, code: CodeType) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(code, module.__dict__)
    above, _, last = name.rpartition(".")
    setattr(sys.modules[above], last, module)


def survivors(name: str, chosen: Sequence[Mutant], *, jobs: int) -> list[Mutant]:
    """Those that no test finds."""
    waiting, running, kept = list(reversed(chosen)), dict[int, Mutant](), list[Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            running[begin(name, mutant.code)] = mutant
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            kept.append(mutant)
    return sorted(kept, key=lambda each: each.line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def try_module(name: str, wanted: Any) -> tuple[int, int]:
    """How many mutants were found, and how many were tried. Raises SystemExit where the tests fail as they are."""
    path = ROOT / "src" / "ostinato" / f"{name.replace('.', '/')}.py"
    source = path.read_text(encoding="utf-8")
    asis = Mutant(0, "", compile(source, str(path), "exec"))
    if not survivors(name, [asis], jobs=1):
        _say(f"{name}: its tests fail as it is")
        raise SystemExit(1)
    everything = list(mutants(source, str(path)))
    chosen = everything
    if len(everything) > wanted.most:
        chosen = random.Random(wanted.seed).sample(everything, wanted.most)
    kept = survivors(name, chosen, jobs=wanted.jobs)
    for each in kept:
        _say(f"  {path.name}:{each.line} survives: {each.words[:100]}")
    found = len(chosen) - len(kept)
    _say(f"{name}: {found} of {len(chosen)} found ({found / len(chosen):.0%}), of {len(everything)} that there are")
    return found, len(chosen)


def main() -> int:
    """Prints each survivor and the share of those that were found; 1 where it is below `SHARE` in any module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("--most", type=int, default=120, help="mutants of each module that are tried")
    parser.add_argument("--seed", type=int, default=4, help="which ones, where there are more")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    wanted = parser.parse_args()
    settings.register_profile("mutants", max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    os.environ["OSTINATO_EXAMPLES"] = "mutants"
    shares = {name: try_module(name, wanted) for name in wanted.modules}
    found, tried = (sum(column) for column in zip(*shares.values(), strict=True))
    _say(f"{found} of {tried} mutants found ({found / tried:.0%})")
    return 0 if all(found >= SHARE * tried for found, tried in shares.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
