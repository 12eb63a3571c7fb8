"""The example of tools that a fleet brings with it tells its story to the end."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.slow
def test_the_example_files_its_note_once_after_a_person_has_said_yes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "")  # the story sets it, and it is put back
    assert import_module("examples.plugins.demo").main() == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "Q1 asks: before mcp.notes.add(text='40 chairs: ok: 4320 EUR')",
        "Q1 is allowed",
        "filed: 40 chairs: ok: 4320 EUR",
        "the clerk's function has booked: 40 chairs, 4320 EUR, as entry 7",
    ]
