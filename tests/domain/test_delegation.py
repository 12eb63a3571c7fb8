"""The same work has one key, however it is written; other work has another."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.delegation import delegation_key
from ostinato.domain.task import NewTask, TaskKind, TaskSpec

WORDS = st.lists(st.text("abcÄß", min_size=1, max_size=4), min_size=1, max_size=4)
DATA = st.dictionaries(
    st.text("xyz", min_size=1, max_size=2), st.integers(0, 3) | st.lists(st.integers(0, 3)), max_size=3
)


def work(words: list[str], **more: Any) -> NewTask:
    spec = TaskSpec(goal=more.pop("goal", ""), skills=more.pop("skills", ()), input=more.pop("data", {}))
    return NewTask(kind=TaskKind.GOAL, title=" ".join(words), spec=spec, **more)


@given(WORDS, DATA, st.randoms())
def test_letters_case_spaces_and_the_order_of_fields_are_the_same_work(
    words: list[str], data: dict[str, Any], by: Any
) -> None:
    shuffled = list(data.items())
    by.shuffle(shuffled)
    other = [each.upper() if each.upper().casefold() == each.casefold() else each for each in words]
    again = work(other, goal="  Do\n IT ", data=dict(shuffled), skills=("B", "a"))
    assert delegation_key(work(words, goal="do it", data=data, skills=("A", "b"))) == delegation_key(again)


@given(WORDS, DATA, WORDS, DATA)
def test_other_words_or_data_are_other_work(words: list[str], data: Any, others: list[str], other: Any) -> None:
    same = (" ".join(words).casefold(), data) == (" ".join(others).casefold(), other)
    assert (delegation_key(work(words, data=data)) == delegation_key(work(others, data=other))) is same


def test_who_does_it_and_for_what_project_is_part_of_the_work() -> None:
    keys = [delegation_key(work(["x"], **more)) for more in ({}, {"agent": "a"}, {"project": "p"}, {"type": "t"})]
    assert len(set(keys)) == 4
