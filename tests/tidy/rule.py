"""The house style as rules: each is a function over one source file, with a text that breaks it and one that keeps it.

`tests/test_tidy.py` runs them over the whole tree, and over their own seeds, so that no rule can fall silent.
Knows nothing of what the code does; formatting, plain mistakes and types belong to ruff and mypy.
"""

from __future__ import annotations

import ast
import io
import os
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src/", "examples/", "benchmarks/")
TEXT_SUFFIXES = {".py", ".sql", ".md", ".toml", ".yaml", ".yml", ".html", ".css", ".js", ".txt", ".json", ""}
NOT_OURS = {".git", ".venv", ".ostinato", ".hypothesis", "__pycache__", "build", "dist", "node_modules", "vendor"}
NOT_OURS_ENDS = ("_cache", ".egg-info")

Finding = tuple[int, str]
"""Line and what is wrong there."""


@dataclass(frozen=True)
class Source:
    """One text file of the repository: its path from the root, and what it says."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the module: most rules look at them all."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def lines(self) -> list[str]:
        """The text by line, without line ends."""
        return self.text.splitlines()

    @cached_property
    def module(self) -> str:
        """Dotted name below `src/`: `ostinato.store.sqlite`; empty elsewhere."""
        if not self.path.startswith("src/"):
            return ""
        return ".".join(PurePosixPath(self.path).with_suffix("").parts[1:]).removesuffix(".__init__")

    @cached_property
    def comments(self) -> dict[int, str]:
        """Comments by line."""
        if "#" not in self.text:
            return {}
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


@dataclass(frozen=True)
class Rule:
    """A sentence, the files it speaks of, the check, and the seeds that prove that the check works."""

    name: str
    suffixes: frozenset[str]
    within: tuple[str, ...]
    check: Callable[[Source], Iterator[Finding]]
    breaks: tuple[Source, ...]
    keeps: tuple[Source, ...]

    def findings(self, source: Source) -> list[str]:
        """What is wrong in `source`, one line each; empty where the rule does not speak of that file."""
        if PurePosixPath(source.path).suffix not in self.suffixes or not source.path.startswith(self.within):
            return []
        return [f"{source.path}:{line}: {what}" for line, what in self.check(source)]


RULES: list[Rule] = []

Seeds = dict[str, str]


def rule(
    *, breaks: Seeds, keeps: Seeds, within: tuple[str, ...] = CODE, suffixes: Iterable[str] = (".py",)
) -> Callable[[Callable[[Source], Iterator[Finding]]], Callable[[Source], Iterator[Finding]]]:
    """Register a check; `breaks` and `keeps` map a path to a text that does so. No rule goes without both."""
    assert breaks
    assert keeps

    def register(check: Callable[[Source], Iterator[Finding]]) -> Callable[[Source], Iterator[Finding]]:
        seeds = [tuple(Source(path, text) for path, text in each.items()) for each in (breaks, keeps)]
        RULES.append(Rule(check.__name__, frozenset(suffixes), within, check, seeds[0], seeds[1]))
        return check

    return register


def paths_of_sources() -> Iterator[str]:
    """Every text file of the repository, from its root."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(each for each in folders if each not in NOT_OURS and not each.endswith(NOT_OURS_ENDS))
        for path in (Path(folder, each) for each in sorted(files) if each not in NOT_OURS):
            if path.suffix in TEXT_SUFFIXES and not path.is_symlink():
                yield path.relative_to(ROOT).as_posix()


def sources() -> Iterator[Source]:
    """Their texts."""
    for path in paths_of_sources():
        yield Source(path, (ROOT / path).read_text(encoding="utf-8", errors="replace"))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    """Every function, however deep."""
    return (node for node in source.nodes if isinstance(node, Function))
