"""Every case of the shipped contract, over SQLite in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.store.port import Tx
from ostinato.store.sqlite import open_store
from ostinato.testing.contract import Case, Scene, cases, check
from tests.conftest import run
from tests.contract.commits import Commits, Keep

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_store_in_memory_keeps_the_contract(case: Case) -> None:
    run(check(case, lambda: open_store(None)))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_store_in_a_file_keeps_the_contract(case: Case, tmp_path: Path, record_property: Keep) -> None:
    commits = Commits()
    run(check(case, lambda: open_store(tmp_path / ".ostinato", hook=commits)))
    commits.keep(case, "commits in SQLite", record_property)


def test_the_contract_speaks_of_every_verb() -> None:
    files = {Path(case.__code__.co_filename) for case in CASES} | {Path(Scene.add.__code__.co_filename)}
    words = "".join(file.read_text(encoding="utf-8") for file in files)
    parts = [part for part in Tx.__mro__ if part.__module__.startswith("ostinato.store.")]
    verbs = [name for part in parts for name in vars(part) if not name.startswith("_")]
    assert len(verbs) > 80
    assert [verb for verb in verbs if f".{verb}(" not in words and f'("{verb}"' not in words] == []
