"""The house style holds over the whole tree, and each of its rules can fail.

The rules are in `tests/tidy/`, each with a text that breaks it and one that keeps it. The floors are import-linter's.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tidy import floors, names, size, words
from tests.tidy.rule import ROOT, RULES, Rule, paths_of_sources, sources

MODULES = (floors, names, size, words)
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def test_the_tree_is_found_with_its_code_its_tests_and_its_words() -> None:
    paths = set(paths_of_sources())
    assert {"src/ostinato/__init__.py", "tests/test_tidy.py", "README.md", "Makefile", ".ci/run"} <= paths
    assert not [path for path in paths if ".venv" in path or "__pycache__" in path]


def test_every_file_keeps_every_rule() -> None:
    """In one pass, by one worker of a run: each file is read and parsed once for all rules, and forgotten."""
    wrong: list[str] = []
    gc.disable()  # it would look through a million nodes of syntax again and again, none of which it could free
    try:
        for source in sources():
            wrong += (f"{found} ({rule.name.replace('_', ' ')})" for rule in RULES for found in rule.findings(source))
    finally:
        gc.enable()
    assert not wrong, "\n".join(wrong)


@every_rule
def test_the_rule_finds_each_violation_that_is_planted(rule: Rule) -> None:
    for source in rule.breaks:
        assert rule.findings(source), f"{rule.name} did not notice {source}"


@every_rule
def test_the_rule_lets_pass_what_is_fine(rule: Rule) -> None:
    for source in rule.keeps:
        assert not rule.findings(source), rule.findings(source)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over `folder` with the contract of this project."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": "src"}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_imports_go_down_only() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("domain/task.py", "from ostinato.engine import worker"),
        ("tools/files.py", "import ostinato.models.openai"),
        ("cli/main.py", "import ostinato.web.app"),
        ("engine/worker.py", "import ostinato.testing.clock"),
        ("attic/box.py", ""),
    ],
)
def test_an_import_that_goes_up_or_a_room_without_a_floor_is_found(tmp_path: Path, path: str, text: str) -> None:
    contract = (ROOT / "pyproject.toml").read_text()
    assert tomllib.loads(contract)["tool"]["importlinter"]["contracts"]
    (tmp_path / "pyproject.toml").write_text(contract)
    rooms = ["domain/task", "engine/worker", "tools/files", "models/openai", "cli/main", "web/app", "testing/clock"]
    for room in [f"{each}.py" for each in rooms] + [path]:
        file = tmp_path / "src" / "ostinato" / room
        file.parent.mkdir(parents=True, exist_ok=True)
        for package in (file.parent, file.parent.parent):
            (package / "__init__.py").touch()
        file.write_text(text if room == path else "")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Imports go down only BROKEN" in done.stdout or "attic" in done.stdout
