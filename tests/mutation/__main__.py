"""Changes the gate's modules in one place at a time, and counts how many of these mutants the tests of the domain find.

    python -m tests.mutation [MODULE ...] [--every N]

Each mutant lives in a forked process, in memory alone: no file is changed. Libraries for this exist; they copy the tree
and start an interpreter for each mutant, which costs ten times as much. Not part of the suite: it takes minutes.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.util
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "gate": ("test_policy.py",),
    "policy": ("test_policy.py",),
    "permission": ("test_permission.py", "test_policy.py"),
    "question": ("test_question.py", "test_deciders.py"),
    "host": ("test_host.py",),
    "taint": ("test_taint.py",),
}
"""Module of the domain -> its tests."""

MUTANT_S = 60
"""Seconds after which a mutant that runs for ever counts as found."""

REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
"""Hypothesis is there before pytest is, so that each fork begins with it."""

_COMPARES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


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
        case ast.Return(value=ast.expr()):
            yield ast.Return(value=ast.Constant(value=None))
        case ast.If():
            yield ast.If(test=ast.UnaryOp(op=ast.Not(), operand=node.test), body=node.body, orelse=node.orelse)
        case _:
            pass


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, what stands there now, and the whole module with it changed."""
    tree = ast.parse(source)
    places = [each for each in ast.walk(tree) if any(True for _ in mutated(each))]
    for number, place in enumerate(places):
        for changed in mutated(place):
            again = copy.deepcopy(tree)
            target = [each for each in ast.walk(again) if any(True for _ in mutated(each))][number]
            for parent in ast.walk(again):
                _replace(parent, target, changed)
            yield getattr(place, "lineno", 0), ast.unparse(changed).splitlines()[0], ast.fix_missing_locations(again)


def _replace(parent: ast.AST, target: ast.AST, changed: ast.AST) -> None:
    for name, value in ast.iter_fields(parent):
        if value is target:
            setattr(parent, name, changed)
        elif isinstance(value, list):
            setattr(parent, name, [changed if each is target else each for each in value])


def survives(name: str, tree: ast.Module, tests: tuple[str, ...]) -> bool:
    """True where no test finds the mutant, in a process of its own."""
    child = os.fork()
    if child == 0:
        signal.alarm(MUTANT_S)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                _install(f"ostinato.domain.{name}", tree)
                paths = [str(ROOT / "tests" / "domain" / each) for each in tests]
                code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", REWRITTEN, *paths])
            except BaseException:  # a mutant that cannot even be imported is found
                code = 1
        os._exit(int(code) != 0)
    _, status = os.waitpid(child, 0)
    return status == 0


def _install(name: str, tree: ast.Module) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(tree, str(spec.origin), "exec"), module.__dict__)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Prints each survivor and the share of those that were found; 1 where it is below 85 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(MODULES))
    parser.add_argument("--every", type=int, default=1, help="try one mutant in so many")
    wanted = parser.parse_args()
    settings.register_profile("mutants", max_examples=60, deadline=None, database=None)
    settings.load_profile("mutants")
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    tried = found = 0
    for name in wanted.modules:
        source = (ROOT / "src" / "ostinato" / "domain" / f"{name}.py").read_text(encoding="utf-8")
        if not survives(name, ast.parse(source), MODULES[name]):
            _say(f"{name}: its tests fail as it is")
            return 1
        here = kept = 0
        for number, (line, words, tree) in enumerate(mutants(source)):
            if number % wanted.every:
                continue
            here += 1
            if survives(name, tree, MODULES[name]):
                kept += 1
                _say(f"{name}.py:{line} survives: {words[:100]}")
        _say(f"{name}: {here - kept} of {here} found")
        tried, found = tried + here, found + here - kept
    _say(f"{found} of {tried} mutants found ({found / max(tried, 1):.0%})")
    return 0 if found >= 0.85 * tried else 1


if __name__ == "__main__":
    sys.exit(main())
