"""Standing permissions: never wider than the action and the arguments that a person named, never for runners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import Denied, Invalid, OstinatoError
from ostinato.domain.permission import PATTERNS_MAX, NewPermission, covers_call, permission_from

texts = st.text(alphabet="ab*?[]x ", max_size=5)
values = st.one_of(st.booleans(), st.integers(0, 2), texts, st.lists(texts, max_size=3))
calls = st.dictionaries(st.sampled_from(["to", "text", "argv", "n"]), values, max_size=3)
patterns = st.lists(
    st.just("exact") | st.builds("{}={}".format, st.sampled_from(["to", "text", "n"]), texts), max_size=3
)


def leave(*given_patterns: str, arguments: dict[str, Any], bound: dict[str, Any] | None = None) -> NewPermission:
    """What a person means by these patterns."""
    return permission_from(given_patterns, agent="a", tool="t", arguments=arguments, bound=bound or {})


def covers(permission: NewPermission, arguments: dict[str, Any], **bound: Any) -> bool:
    """Whether it is for this call of the same tool."""
    return covers_call(permission, tool="t", arguments=arguments, bound=bound)


@given(patterns, calls, calls)
def test_what_is_not_named_must_be_as_it_was(named: list[str], action: dict[str, Any], other: dict[str, Any]) -> None:
    try:
        permission = leave(*named, arguments=action)
    except OstinatoError:
        return
    assert covers(permission, action), "it covers what it came from"
    free = {each.partition("=")[0] for each in named if each != "exact"}
    if covers(permission, other):
        assert other.keys() == action.keys()
        for name in action.keys() - free:
            assert (type(other[name]), other[name]) == (type(action[name]), action[name])


@given(calls, calls)
def test_an_exact_permission_is_for_that_call_alone(action: dict[str, Any], other: dict[str, Any]) -> None:
    permission = leave("exact", arguments=action)
    assert permission.like == {}
    if other != action:
        assert not covers(permission, other)


@pytest.mark.parametrize(
    ("pattern", "value", "does"),
    [
        ("mail:*@example.com", "mail:bob@example.com", True),
        ("mail:*@example.com", "mail:bob@example.com.evil.org", False),
        ("mail:?@example.com", "mail:bb@example.com", False),
        ("mail:[ab]*", "mail:[ab]c", True),
        ("mail:[ab]*", "mail:ac", False),
    ],
)
def test_a_pattern_means_what_it_says(pattern: str, value: str, does: bool) -> None:
    permission = NewPermission(agent="a", tool="t", gate="g", like={"to": pattern}, by="ann", question=1)
    assert covers(permission, {"to": value}) is does
    assert not covers_call(permission, tool="other", arguments={"to": value}, bound={})
    assert not covers(permission, {"to": 3})
    assert not covers(permission, {"to": value, "more": ""})


def test_a_command_is_covered_word_by_word() -> None:
    permission = leave("argv=pytest -q tests/*", arguments={"argv": ["pytest", "-q", "tests/a.py"]})
    assert covers(permission, {"argv": ["pytest", "-q", "tests/b.py"]})
    assert not covers(permission, {"argv": ["pytest", "-q", "tests/b.py", "--pdb"]})
    assert not covers(permission, {"argv": ["pytest", "-q", "x"]})
    more = leave("argv=pytest *", arguments={"argv": ["pytest"]})
    assert covers(more, {"argv": ["pytest", "-q", "x"]})
    assert not covers(more, {"argv": ["pytest2"]})


def test_a_program_that_has_changed_is_another_one_but_its_files_may() -> None:
    bound = {"program": "/usr/bin/deploy", "sha256": "aa", "files": {"a": "1"}}
    permission = leave("exact", arguments={"argv": ["deploy"]}, bound=bound)
    assert covers(permission, {"argv": ["deploy"]}, program="/usr/bin/deploy", sha256="aa", files={"a": "2"})
    assert not covers(permission, {"argv": ["deploy"]}, program="/usr/bin/deploy", sha256="bb")


@pytest.mark.parametrize(
    ("argv", "bound"),
    [
        (["sh", "-c", "x"], {}), (["python3.12", "a.py"], {}), (["env", "x"], {}), (["git", "log"], {}),
        (["harmless"], {"program": "/bin/bash"}), (["harmless"], {"program": "/x/y", "file": "/usr/bin/dash"}),
    ],
)  # fmt: skip
def test_no_permission_lasts_for_what_runs_other_programs(argv: list[str], bound: dict[str, Any]) -> None:
    for pattern in ("exact", f"argv={argv[0]} *"):
        with pytest.raises(Denied, match="no permission for it can last"):
            leave(pattern, arguments={"argv": argv}, bound=bound)


@pytest.mark.parametrize(
    ("given_patterns", "arguments", "words"),
    [
        ((), {}, "Name 1 to"),
        (("exact",) * (PATTERNS_MAX + 1), {}, "Name 1 to"),
        (("to",), {"to": "x"}, "is no pattern"),
        (("to=",), {"to": "x"}, "is no pattern"),
        ((f"to={'*' * 1_001}",), {"to": "x"}, "is no pattern"),
        (("too=x",), {"to": "x"}, "Did you mean 'to'"),
        (("to=y*",), {"to": "x"}, "does not cover what is asked for"),
        (("n=3",), {"n": 3}, "does not cover what is asked for"),
        (("argv=* b",), {"argv": ["a", "b"]}, "name cannot be a pattern"),
        (("argv=*",), {"argv": ["a", "b"]}, "name cannot be a pattern"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(
    given_patterns: tuple[str, ...], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        leave(*given_patterns, arguments=arguments)


def test_truth_is_no_number() -> None:
    permission = replace(leave("exact", arguments={"n": 1}), gate="g")
    assert not covers(permission, {"n": True})
    assert not covers(permission, {"n": 1.0})


@pytest.mark.parametrize(("pattern", "argv"), [(" ", []), ("*", []), ("\t", [])])
def test_a_pattern_for_no_command_is_refused(pattern: str, argv: list[str]) -> None:
    with pytest.raises(Invalid, match="covers none"):
        leave(f"argv={pattern}", arguments={"argv": argv})
