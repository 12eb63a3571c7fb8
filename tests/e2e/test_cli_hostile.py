"""Whatever is typed at the command line: a short error with a cure or a result, never a traceback, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.cli.application import run
from ostinato.workspace.init import init_fleet

FAMILIES: dict[str, str] = {
    "empty": "",
    "spaces": "   ",
    "dash": "-x",
    "option": "--no-such-option",
    "NUL": "a\0b",
    "control": "\x1b[2J\x07",
    "bidi": "\u202egnirts\u2066",
    "half a character": "\ud800",
    "bytes that are no text": "\udcff\udcfe",
    "line ends": "a\r\nb\nc",
    "long": "x" * 150_000,
    "emoji": "👩‍👩‍👧 done",
    "combining": "Z̗̟̞̬a̗l̝g̮o",
    "quotes": "'\"`$(touch /tmp/x)`",
    "format": "%s%n{0}{agent}",
    "markup": "[bold]x[/bold] <script>",
    "path": "../../../../etc/passwd",
    "absolute path": "/proc/self/mem",
    "SQL": "'; DROP TABLE tasks; --",
    "wildcards": "*%_?[a-z]",
    "number": "99999999999999999999999999",
    "negative": "-1",
    "float": "1e400",
    "not a number": "NaN",
    "JSON": '{"a": [1, 2',
    "deep JSON": "[" * 50_000,
    "other digits": "T١٢",
    "true": "true",
}

COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "tasks show": lambda text: ["tasks", "show", text],
    "tasks add": lambda text: ["tasks", "add", text, "--agent", "clerk"],
    "tasks add --input": lambda text: ["tasks", "add", "x", "--agent", "clerk", "--input", text],
    "tasks list": lambda text: ["tasks", "list", "--text", text, "--agent", text],
    "agents show": lambda text: ["agents", "show", text],
    "agents add": lambda text: ["agents", "add", text],
    "sessions send": lambda text: ["sessions", "send", "clerk", text],
    "schedules add": lambda text: ["schedules", "add", "x", "clerk", "hello", "--cron", text],
    "events": lambda text: ["events", "--since", text],
    "approvals deny": lambda text: ["approvals", "deny", text],
    "backup": lambda text: ["backup", text],
    "status": lambda text: ["status", "--fleet", text],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_any_word_is_understood_or_refused_in_a_few_lines(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fleet"
    init_fleet(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OSTINATO_PERSON", "ann")
    for family, text in FAMILIES.items():
        code = run(COMMANDS[command](text))
        said = capsys.readouterr()
        assert code in (0, 1, 2, 3), (family, code)
        assert "Traceback" not in said.err, family
        assert "This should not happen" not in said.err, (family, said.err)
        if code and command != "status":
            assert 1 <= len(said.err.splitlines()) <= 3, (family, said.err)
            assert len(said.err) < 2_000, family
        assert not any(each in said.out + said.err for each in "\x1b\x07\u202e\u2066\0"), family
    assert run(["tasks", "add", "Still there", "--agent", "clerk", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Still there"
