"""Plans: whatever is accepted can run in the order given; circles are refused with their path."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Exhausted, Invalid
from ostinato.domain.plan import DEPTH_MAX, FAN_OUT_MAX, TASKS_MAX, budgets, ordered, read_plan

NAMES = [f"task-{number}" for number in range(8)]
graphs = st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES), max_size=3), min_size=1)


def plan_of(graph: dict[str, set[str]]) -> dict[str, Any]:
    return {"tasks": [{"name": name, "after": sorted(after & graph.keys())} for name, after in graph.items()]}


@given(graphs)
def test_a_plan_is_accepted_in_an_order_in_which_it_can_run_or_refused_with_a_circle_that_is_one(
    graph: dict[str, set[str]],
) -> None:
    needs = {name: after & graph.keys() for name, after in graph.items()}
    try:
        plan = read_plan(plan_of(graph))
    except Invalid as refused:
        path = refused.message.partition(": ")[2].split(" → ")
        assert path[0] == path[-1]
        assert all(other in needs[name] for name, other in itertools.pairwise(path))
        return
    done: set[str] = set()
    for each in ordered(plan):
        assert needs[each.name] <= done
        done.add(each.name)
    assert done == graph.keys()


@given(st.lists(st.none() | st.floats(0, 5), min_size=1, max_size=8), st.none() | st.floats(0, 50))
def test_what_tasks_may_spend_never_sums_to_more_than_the_plan_may(
    sums: list[float | None], whole: float | None
) -> None:
    tasks = [{"name": NAMES[number], "budget": each} for number, each in enumerate(sums)]
    try:
        plan = read_plan({"tasks": tasks, "budget": whole})
    except Exhausted:
        assert sum(each or 0 for each in sums) > (whole or 0)
        return
    if whole is not None:
        assert sum(each or 0 for each in budgets(plan).values()) <= whole * 1_000_000 + len(sums)
        assert None not in budgets(plan).values()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "missing required field `tasks`"),
        ({"tasks": []}, "no tasks"),
        ({"name": "x", "workflow": {}}, "ostinato.testing.graphs"),
        ({"tasks": [{"name": "a"}, {"name": "a"}]}, "Two tasks are called 'a'"),
        ({"tasks": [{"name": "T12"}]}, "cannot be the name"),
        ({"tasks": [{"name": "a", "after": ["bb"]}, {"name": "b"}]}, "Unknown task 'bb'"),
        ({"tasks": [{"name": "a", "after": ["b:never"]}, {"name": "b"}]}, "'a'.*Unknown condition.*Write b:failure"),
        ({"tasks": [{"name": "a", "after": ["T7", "t07:always"]}]}, "'T7' is waited for in two ways"),
        ({"tasks": [{"name": "a", "agnt": "x"}]}, "agnt"),
        ({"tasks": [{"name": "a", "budget": -1}]}, "out of range"),
        ({"tasks": [{"name": "a", "priority": 300}]}, "priority"),
        ({"tasks": [{"name": "a", "after": ["b", "b:failure"]}, {"name": "b"}]}, "'b' is waited for in two ways"),
        ({"tasks": [{"name": "a", "title": "x" * 201}]}, "title"),
        ({"tasks": [{"name": "a", "skills": [""]}]}, "skills"),
    ],
)
def test_a_mistake_is_named(data: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read_plan(data)


def test_number_width_and_depth_have_limits() -> None:
    many = [{"name": f"n{number}"} for number in range(TASKS_MAX + 1)]
    wide = [{"name": "a"}, *({"name": f"n{number}", "after": ["a"]} for number in range(FAN_OUT_MAX + 1))]
    deep = [{"name": f"n{number}", "after": [f"n{number - 1}"] if number else []} for number in range(DEPTH_MAX + 1)]
    for tasks, said in [(many, "tasks"), (wide, "wait for 'a'"), (deep, "in a row")]:
        with pytest.raises(Exhausted, match=said):
            read_plan({"tasks": tasks})
        assert read_plan({"tasks": tasks[:-1]}).tasks
