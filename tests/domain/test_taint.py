"""Which reads touch what strangers wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.taint import EVERYTHING, normal, touches

paths = st.lists(st.sampled_from(["a", "b", "ab", ".", ""]), min_size=1, max_size=4).map("/".join)


@given(paths)
def test_a_path_touches_itself_and_everything_however_it_is_written(path: str) -> None:
    assert touches(path, [path])
    assert touches(f"./{path}", [path])
    assert touches(path, [EVERYTHING])
    assert touches(EVERYTHING, [path])
    assert normal(normal(path)) == normal(path)
    assert not touches(path, [])


@given(paths, paths)
def test_touching_goes_both_ways(one: str, other: str) -> None:
    assert touches(one, [other]) == touches(other, [one])


@pytest.mark.parametrize(
    ("path", "tainted", "does"),
    [
        ("a/b.md", "a/", True), ("a/", "a/b.md", True), ("a", "a/b.md", True), ("a.md", "a", False),
        ("ab", "a/", False), ("ab/c", "a", False), ("b", "a", False), ("", "a", True), (".", "a/b", True),
    ],
)  # fmt: skip
def test_a_folder_touches_what_is_below_it(path: str, tainted: str, does: bool) -> None:
    assert touches(path, [tainted]) is does
