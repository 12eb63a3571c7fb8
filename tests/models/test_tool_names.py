"""Tool names survive the way to a provider and back, whatever they look like."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.models.tool_names import NAME_LENGTH_MAX, ToolNames, wire_name

ALLOWED = re.compile(r"[a-zA-Z0-9_-]{1,64}")
names = st.lists(st.text(max_size=80) | st.from_regex(r"[a-c_.]{1,6}", fullmatch=True), unique=True, max_size=30)


@pytest.mark.slow
@given(names)
def test_every_name_comes_back_and_every_wire_name_is_allowed(found: list[str]) -> None:
    mapping = ToolNames(found)
    theirs = [mapping.to_wire(name) for name in found]
    assert all(ALLOWED.fullmatch(name) for name in theirs)
    assert len(set(theirs)) == len(found)
    assert [mapping.from_wire(name) for name in theirs] == found


@pytest.mark.slow
@given(names)
def test_a_name_added_later_claims_no_name_that_is_taken(found: list[str]) -> None:
    early, late = ToolNames(found), ToolNames(found[:3])
    assert [late.to_wire(name) for name in found] == [early.to_wire(name) for name in found]


def test_a_dot_is_two_underscores_and_twins_are_told_apart() -> None:
    mapping = ToolNames(["files.read", "files__read", "files/read"])
    assert mapping.to_wire("files.read") == "files__read"
    assert re.fullmatch(r"files__read_[0-9a-f]{8}", mapping.to_wire("files__read"))
    assert mapping.to_wire("files/read") == "files_read"


def test_a_long_name_is_cut_and_keeps_a_digest() -> None:
    assert len(wire_name("a." * 100)) == NAME_LENGTH_MAX
    assert wire_name("a." * 100) != wire_name("a." * 101)


def test_a_name_that_was_never_sent_comes_back_as_it_is() -> None:
    assert ToolNames(["files.read"]).from_wire("files__write") == "files__write"
