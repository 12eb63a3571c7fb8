"""Keys come from the environment or from a file, and never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.models.keys import KeyMissing, read_key


def test_a_key_comes_from_its_variable_else_from_the_file_that_a_variable_names(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert read_key("K", {"K": " from-variable "}) == "from-variable"
    assert read_key("K", {"K_FILE": str(file)}) == "from-file"
    assert read_key("K", {"K": "first", "K_FILE": str(file)}) == "first"
    assert read_key("", {}) == ""


@pytest.mark.parametrize("key", ["a\nb", "a\x00b", "schlüssel", "a\u2028b"])
def test_a_key_that_would_break_a_header_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(KeyMissing) as caught:
        read_key("K", {"K": key})
    assert key not in str(caught.value)
    assert "K" in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for environment, word in [
        ({}, "K_FILE"),
        ({"K": "  "}, "K_FILE"),
        ({"K_FILE": str(tmp_path / "gone")}, "No such file"),
        ({"K_FILE": str(tmp_path)}, "directory"),
        ({"K_FILE": str(tmp_path / "binary")}, "not text"),
    ]:
        with pytest.raises(KeyMissing, match=word):
            read_key("K", environment)
