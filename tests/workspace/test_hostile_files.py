"""Whatever bytes lie where a workspace file should be: a clear refusal with place and cure or a working agent, never a
surprise, and a good file works right afterwards."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.workspace.agent import AGENT_FILES
from ostinato.workspace.file_text import text_of
from ostinato.workspace.fleet_file import parse_fleet, read_fleet
from ostinato.workspace.front_matter import split_front_matter
from ostinato.workspace.inbox_item import ItemSource, parse_items
from ostinato.workspace.registry import Workspaces
from tests.workspace.hostile import FAMILIES, VALID

VARIANTS = 4
FILES = (*AGENT_FILES, "heartbeats/daily.md")


def assert_is_clear(error: OstinatoError, place: str) -> None:
    """An error that helps: a code, a place, words that can be printed, no tale of Python."""
    assert error.code in {"invalid", "not_found"}
    assert error.place.startswith(place), str(error)
    text = str(error)
    assert text.encode()
    assert len(text) < 2_000
    assert "Traceback" not in text
    assert "object at 0x" not in text


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_any_contents_of_any_file_load_or_are_refused_with_their_place(tmp_path: Path, family: str) -> None:
    folder = tmp_path / "agents" / "triage"
    (folder / "heartbeats").mkdir(parents=True)
    workspaces = Workspaces(tmp_path)
    for name in FILES:
        for variant in range(VARIANTS):
            (folder / name).write_bytes(FAMILIES[family](random.Random(f"{family} {name} {variant}")))
            try:
                agent = workspaces.current("triage")
            except OstinatoError as error:
                assert_is_clear(error, f"agents/triage/{name}")
                assert [each.agent for each in workspaces.problems()] == ["triage"]
            else:
                assert name in agent.digests
        (folder / name).unlink()
    (folder / "AGENTS.md").write_bytes(VALID)
    assert workspaces.current("triage").skills == ("triage",)
    assert workspaces.problems() == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_any_contents_grant_no_tool_that_they_do_not_name(tmp_path: Path, family: str) -> None:
    folder = tmp_path / "agents" / "triage"
    folder.mkdir(parents=True)
    (folder / "TOOLS.md").write_bytes(data := FAMILIES[family](random.Random(f"{family} tools")))
    try:
        tools = Workspaces(tmp_path).current("triage").policy.tools
    except OstinatoError:
        return
    assert all(each.encode() in data for each in tools)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_fleet_file_is_read_or_refused_with_its_place(tmp_path: Path, family: str) -> None:
    for variant in range(VARIANTS):
        (tmp_path / "ostinato.toml").write_bytes(FAMILIES[family](random.Random(f"{family} fleet {variant}")))
        try:
            read_fleet(tmp_path)
        except OstinatoError as error:
            assert_is_clear(error, "ostinato.toml")
    (tmp_path / "ostinato.toml").write_text('[fleet]\nname = "good"\n')
    assert read_fleet(tmp_path).name == "good"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", ["md", "json", "txt"])
def test_any_dropped_file_is_taken_or_refused_with_its_place(family: str, suffix: str) -> None:
    source = ItemSource(name=f"a.{suffix}", file=f"inbox/a.{suffix}", key="file:1")
    for variant in range(VARIANTS):
        data = FAMILIES[family](random.Random(f"{family} inbox {variant}"))
        try:
            items = parse_items(data, source)
        except OstinatoError as error:
            assert_is_clear(error, f"inbox/a.{suffix}")
        else:
            assert all(item.title for item in items)
            assert items


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda data: b"---\n" + data + b"\n---\n"))
def test_any_bytes_are_a_text_with_or_without_settings_or_refused(data: bytes) -> None:
    try:
        file = text_of(data, name="AGENTS.md", place="AGENTS.md")
        split = split_front_matter(file.text, place="AGENTS.md", keys=("skills",))
    except Invalid as error:
        assert str(error).startswith("AGENTS.md")  # noqa: PT017 - both ends are fine, and each is checked
        return
    assert split.settings is not None or split.prose == file.text
    again = text_of(file.text.encode(), name="AGENTS.md", place="AGENTS.md")
    assert (again.text, again.digest) == (file.text, file.digest)


@given(st.text(max_size=200))
def test_any_text_is_a_fleet_file_or_refused(text: str) -> None:
    try:
        parse_fleet(text_of(text.encode("utf-8", "replace"), name="ostinato.toml", place="ostinato.toml"), name="x")
    except Invalid as error:
        assert str(error).startswith("ostinato.toml")  # noqa: PT017 - both ends are fine, and each is checked


def test_there_are_enough_families() -> None:
    assert len(FAMILIES) >= 25
