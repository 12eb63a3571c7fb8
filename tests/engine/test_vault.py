"""Secrets come whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.errors import NotFound
from ostinato.domain.secret import STARS, Redactor, Secret
from ostinato.engine.vault import SECRET_BYTES_MAX, read_secret


def test_a_file_that_is_too_long_for_a_secret_is_refused_by_its_place_and_not_cut(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("vault-Long-4711-" + "x" * (SECRET_BYTES_MAX - 16))
    assert len(read_secret("LONG_KEY", {"LONG_KEY_FILE": str(file)}).reveal()) == SECRET_BYTES_MAX
    file.write_text("y" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(NotFound, match="more than 65536 bytes: write the secret, and nothing else") as refused:
        read_secret("LONG_KEY", {"LONG_KEY_FILE": str(file)})
    assert str(file) in str(refused.value)


def test_no_text_of_a_value_is_passed_over() -> None:
    redactor = Redactor([Secret("KEY", "a-Secret-4711-x")])
    held = {"to": ["ann", ("a-Secret-4711-x", 7)], "a-Secret-4711-x": {"deep": ["x a-Secret-4711-x y"]}}
    assert redactor.value(held) == {"to": ["ann", (STARS, 7)], STARS: {"deep": [f"x {STARS} y"]}}
