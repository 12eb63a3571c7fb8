"""Asking for tasks in a line: each key, each comparison, and what is refused.

The tasks are made by hand; no store is asked.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.domain.task import Task, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.task_query import KEYS, QUERY_CHARACTERS_MAX, parse_query
from ostinato.domain.values import SECOND, Source

NOW = 1_800_000_000 * SECOND
DAY = 86_400 * SECOND
TASK = Task(
    id=12,
    kind=TaskKind.GOAL,
    state=TaskState.FAILED,
    title="Refund Order 7",
    agent="billing",
    session="task:12",
    pool="default",
    project="acme",
    type="refund",
    priority=5,
    not_before_at=0,
    created_at=NOW - 3 * DAY,
    updated_at=NOW - DAY,
    finished_at=NOW - DAY,
    attempts=3,
    failures=3,
    losses=0,
    token=1,
    node=None,
    journal=1,
    unfinished=0,
    parent=4,
    depth=1,
    key="mail-7",
    wait=None,
    reason="",
    dismissed=False,
    spec=TaskSpec(skills=("billing", "Refunds"), requester="ann", trigger=Source.FILE, deadline_at=NOW - DAY),
    result=TaskResult(error="no", error_class="permanent"),
    tokens=1_200,
    usd_micros=1_500_000,
    steps=9,
)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "status:failed",
        "state:FAILED,waiting",
        "agent:bill* project:acme type:refund",
        "skill:refunds",
        "kind:goal trigger:file requester:ann session:task:12 parent:t4 key:mail-*",
        "cost:>1 cost:<=1.5 cost:1.5 usd:>=$1.5 -cost:>2",
        "tokens:>1000 priority:5 attempts:>=3 steps:<10 depth:1",
        "age:>2d age:<1w idle:>=1d",
        "is:dead -is:open",
        "refund -invoice 'order 7' title:order",
        "error:permanent",
    ],
)
def test_a_query_finds_the_task_that_it_describes(query: str) -> None:
    assert parse_query(query).holds(TASK, now=NOW)


@pytest.mark.parametrize(
    "query",
    ["status:done", "-status:failed", "cost:>1.5", "age:>3d", "agent:bill", "skill:sales", "is:open", "refund invoice"],
)
def test_one_term_that_does_not_hold_leaves_the_task_out(query: str) -> None:
    assert not parse_query(query).holds(TASK, now=NOW)


def test_a_task_is_late_once_its_deadline_has_passed_and_it_still_wants_something() -> None:
    late = parse_query("is:late")
    assert not late.holds(TASK, now=NOW)
    assert late.holds(replace(TASK, state=TaskState.READY), now=NOW)
    assert not late.holds(replace(TASK, state=TaskState.READY, spec=TaskSpec()), now=NOW)
    stalled, runs = parse_query("is:stalled"), replace(TASK, state=TaskState.RUNNING)
    assert stalled.holds(runs, now=NOW)
    assert not stalled.holds(runs, now=NOW, stalled_s=2 * DAY / SECOND)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("stauts:failed", "Did you mean 'status'?"),
        ("status:faild", "Did you mean 'failed'?"),
        ("is:ded", "Did you mean 'dead'?"),
        ("cost:much", "no number"),
        ("age:>2", "is not a duration"),
        ("agent:", "names no value"),
        ("status:,", "names no value"),
        ("cost:nan", "no number"),
        ("tokens:>1e999", "no number"),
        ("at 10:30", "title:10:30"),
        ("'open", "Close each quotation mark"),
        ("a " * 51, "at most 50"),
        ("x" * (QUERY_CHARACTERS_MAX + 1), "longer than"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_term(query: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_query(query)
    assert said in str(refused.value)
    assert refused.value.place == (f"term {query!r}" if ":" in query and " " not in query else refused.value.place)


def test_an_error_is_found_by_its_class_and_by_what_it_says() -> None:
    failed = replace(TASK, result=TaskResult(error="the server answered 503", error_class="transient"))
    for query, holds in (
        ("error:transient", True),
        ("error:*503*", True),
        ("error:*404*", False),
        ("error:503", False),
    ):
        assert parse_query(query).holds(failed, now=NOW) is holds, query


def test_a_word_alone_is_looked_for_as_it_is_though_a_key_is_called_so() -> None:
    for word in ("usd", "Skills", "state", "source"):
        query = parse_query(word)
        assert query.holds(replace(TASK, title=f"the {word} of it"), now=NOW), word
        assert not query.holds(replace(TASK, title="cost skill status trigger"), now=NOW), word


def test_only_a_star_stands_for_other_signs() -> None:
    odd = replace(TASK, project="[a]?c", key="x?")
    for query in ("project:[a]?c", "project:[A]*", "key:x?"):
        assert parse_query(query).holds(odd, now=NOW), query
        assert not parse_query(query).holds(replace(odd, project="abc", key="xy"), now=NOW), query


def test_what_an_index_can_answer_is_told() -> None:
    assert parse_query("project:Acme").only("project") == ("Acme",), "an index knows one spelling"
    query = parse_query("status:failed,waiting -agent:billing project:a*")
    assert (query.only("status"), query.only("agent"), query.only("project")) == (("failed", "waiting"), (), ())


@given(st.text(max_size=60) | st.lists(st.sampled_from([*KEYS, ":", ">", "1", "-", "d", " "]), max_size=9).map("".join))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    try:
        query = parse_query(text)
    except Invalid:
        return
    assert isinstance(query.holds(TASK, now=NOW), bool)
    if query.terms:
        turned = replace(query, terms=tuple(replace(each, negated=not each.negated) for each in query.terms[:1]))
        assert turned.holds(TASK, now=NOW) is not replace(query, terms=query.terms[:1]).holds(TASK, now=NOW)
