"""Which reads touch what strangers wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.taint import EVERYTHING, UNDER_WAY, normal, touches

paths = st.lists(st.sampled_from(["a", "b", "ab", ".", ""]), min_size=1, max_size=4).map("/".join)


@given(paths)
def test_a_path_touches_itself_and_everything_however_it_is_written(path: str) -> None:
    kept = normal(path)
    assert touches(path, [kept])
    assert touches(f"./{path}", [kept])
    assert touches(path, [EVERYTHING])
    assert touches(path, [f"{UNDER_WAY}T1 1.0"]), "nobody knows yet what a call under way will have changed"
    assert touches(EVERYTHING, [kept])
    assert not kept.startswith(UNDER_WAY), "no path of a file can be taken for such a mark"
    assert normal(normal(path)) == normal(path)
    assert not touches(path, [])


@given(paths, paths)
def test_touching_goes_both_ways(one: str, other: str) -> None:
    assert touches(one, [normal(other)]) == touches(other, [normal(one)])


@pytest.mark.parametrize(
    ("path", "tainted", "does"),
    [
        ("a/b.md", "a/", True), ("a/", "a/b.md", True), ("a", "a/b.md", True), ("a.md", "a", False),
        ("ab", "a/", False), ("ab/c", "a", False), ("b", "a", False), ("", "a", True), (".", "a/b", True),
    ],
)  # fmt: skip
def test_a_folder_touches_what_is_below_it(path: str, tainted: str, does: bool) -> None:
    assert touches(path, [tainted]) is does
