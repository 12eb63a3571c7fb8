"""What a person is shown before a command runs: all of it, and every character seen for what it is."""

from __future__ import annotations

from typing import Any

import pytest

from ostinato.cli.approvals_commands import _show
from ostinato.cli.screen import Screen
from ostinato.domain.question import Action, Question, QuestionKind, QuestionState
from ostinato.gateway.views import question_view


def shown(capsys: pytest.CaptureFixture[str], argv: list[str], **bound: Any) -> str:
    action = Action(tool="exec.run", arguments={"argv": argv, "cwd": "."}, agent="me", bound=bound)
    question = Question(
        id=7,
        kind=QuestionKind.APPROVAL,
        state=QuestionState.PENDING,
        text="May me call exec.run?",
        agent="me",
        task=1,
        session="main",
        action=action,
        created_at=1_800_000_000_000_000,
    )
    _show(Screen(), question_view(question))
    return capsys.readouterr().out


def test_a_command_of_100_kb_is_shown_to_its_evil_end(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, ["sh", "-c", "echo good; " * 10_000 + "rm -rf ~"])
    joined = "".join(said.split())
    assert len(joined) > 90_000
    assert "rm-rf~" in joined
    assert "..." not in joined.replace('--reason"..."', "")


@pytest.mark.parametrize(
    "letter",
    ["\x1b[2K", "\x08", "\r", "\u202e", "\u2066", "\u200b", "\u00ad", "\u2028", "\x9b", "\U000e0041", "\ufeff", "\x00"],
)
def test_no_character_hides_or_turns_another(capsys: pytest.CaptureFixture[str], letter: str) -> None:
    said = shown(capsys, ["git", f"log{letter} && evil"], program=f"/usr/bin/git{letter}")
    assert letter not in said
    assert "evil" in said
    assert "\\" in said


def test_words_are_parted_as_the_program_gets_them(capsys: pytest.CaptureFixture[str]) -> None:
    one = shown(capsys, ["rm", "a b"])
    two = shown(capsys, ["rm", "a", "b"])
    assert '["rm","a b"]' in one
    assert '["rm","a","b"]' in two


def test_what_it_is_bound_to_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, ["git"], program="/usr/bin/git", sha256="ab" * 32, folder="/fleet/agents/me")
    for each in ("/usr/bin/git", "ab" * 32, "/fleet/agents/me"):
        assert each in said
