"""WfFormat: what is accepted has the edges that the file tells of, in an order that works; else a message says where.

The files beside this are made for it, in three versions of the schema.
"""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid
from ostinato.testing.graphs import TaskGraph, read_wfformat

FILES = Path(__file__).parent / "files"
SHAPES = {"kitchen-1.5": (8, 7, 6, 3), "field-1.6": (15, 25, 5, 6), "letters-1.4": (5, 5, 4, 2)}
"""Tasks, edges, levels, the widest level: counted by hand."""

Needs = dict[str, set[str]]
IDS = [f"id-{number}" for number in range(9)]
any_graphs = st.dictionaries(st.sampled_from(IDS), st.sets(st.sampled_from(IDS), max_size=4), min_size=1)
ends = st.lists(st.sampled_from(["parents", "children", "both"]), min_size=1, max_size=9)


def read(data: Any) -> TaskGraph:
    """As if it were a file."""
    return read_wfformat(json.dumps(data).encode(), place="f.json")


def told(needs: Needs, ends: list[str], *, by_name: bool) -> list[dict[str, Any]]:
    """Tasks as a file tells them: each edge at one end, or at both."""
    word = {each: f"name of {each}" if by_name else each for each in needs}
    tasks = {each: {"id": each, "name": f"name of {each}", "parents": [], "children": []} for each in needs}
    edges = [(name, each) for name in sorted(needs) for each in sorted(needs[name])]
    for (name, parent), end in zip(edges, itertools.cycle(ends), strict=False):
        if end != "children":
            tasks[name]["parents"].append(word[parent])  # type: ignore[attr-defined]  # a list of texts
        if end != "parents":
            tasks[parent]["children"].append(word[name])  # type: ignore[attr-defined]  # a list of texts
    return list(tasks.values())


def attempted(data: Any) -> tuple[TaskGraph | None, Invalid | None]:
    """The graph, or why there is none."""
    try:
        return read(data), None
    except Invalid as refused:
        return None, refused


@given(any_graphs, ends, st.booleans())
def test_a_graph_has_the_edges_that_either_end_tells_of_or_is_refused_with_a_circle_that_is_one(
    graph: Needs, ends: list[str], older: bool
) -> None:
    needs = {name: before & graph.keys() for name, before in graph.items()}
    tasks = told(needs, ends, by_name=older)
    workflow = {"tasks": tasks} if older else {"specification": {"tasks": tasks}}
    read_graph, refused = attempted({"schemaVersion": "1.4" if older else "1.5", "workflow": workflow})
    if refused is not None:
        path = refused.message.partition(": ")[2].split(" → ")
        assert path[0] == path[-1]
        assert all(other in needs[name] for name, other in itertools.pairwise(path))
        assert repr(path[0]) in refused.place
        return
    assert read_graph is not None
    levels: dict[str, int] = {}
    for each in read_graph.tasks:
        assert set(each.parents) == needs[each.id]
        assert each.level == 1 + max((levels[parent] for parent in each.parents), default=0), "behind its parents"
        levels[each.id] = each.level
    assert levels.keys() == needs.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_the_files_have_the_shape_that_a_person_counts(name: str) -> None:
    graph = read_wfformat((FILES / f"{name}.json").read_bytes(), place=name)
    assert (len(graph.tasks), graph.edges, graph.levels, graph.widest) == SHAPES[name]


def two_tasks() -> dict[str, Any]:
    """`b` behind `a`."""
    tasks = [
        {"name": "first", "id": "a", "parents": [], "children": ["b"]},
        {"name": "second", "id": "b", "parents": ["a"], "children": []},
    ]
    return {"name": "two", "schemaVersion": "1.5", "workflow": {"specification": {"tasks": tasks}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parents": ["c"]}, r"f.json: workflow.specification.tasks\[1\] \('b'\), parents: Unknown task 'c'"),
        ({"children": ["aa"]}, r"tasks\[1\] \('b'\), children: Unknown task 'aa'.*Did you mean 'a'"),
        ({"parents": ["first"]}, r"parents: 'first' is a name, not an id. Write 'a'"),
        ({"children": ["b"]}, r"tasks\[1\] \('b'\): The tasks wait in a circle: b → b"),
        ({"children": ["a"]}, r"wait in a circle: (a → b → a|b → a → b)"),
        ({"id": "a"}, r"tasks\[1\] \('a'\): This id stands at workflow.specification.tasks\[0\] \('a'\) already"),
        ({"id": ""}, r"tasks\[1\]: The task's `id` must be text of 1 to 500"),
        ({"id": 7}, "The task's `id` must be text"),
        ({"name": None}, "The task's `name` must be text"),
        ({"parents": "a"}, r"tasks\[1\] \('b'\): The task's `parents` must be a list of texts"),
        ({"children": [{"id": "a"}]}, "The task's `children` must be a list of texts"),
    ],
)
def test_a_mistake_in_a_task_is_named_with_its_place(change: dict[str, Any], said: str) -> None:
    data = two_tasks()
    data["workflow"]["specification"]["tasks"][1].update(change)
    with pytest.raises(Invalid) as refused:
        read(data)
    refused.match(said)


@pytest.mark.parametrize("key", ["id", "name", "parents", "children"])
def test_a_task_without_a_key_that_it_needs_is_refused(key: str) -> None:
    data = two_tasks()
    del data["workflow"]["specification"]["tasks"][1][key]
    with pytest.raises(Invalid, match=rf"tasks\[1\].*`{key}` is missing"):
        read(data)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "f.json: This is not JSON"),
        (b'{"workflow": ', "This is not JSON"),
        (b"[" * 100_000, "This is not JSON"),
        (b"[]", "This is no WfFormat"),
        (b'{"workflow": []}', "It needs an object `workflow`"),
        (b'{"workflow": {}}', "f.json: workflow: The workflow has no tasks"),
        (b'{"workflow": {"specification": {"tasks": []}}}', "at least one task"),
        (b'{"workflow": {"specification": {"tasks": {}}}}', "must be a list"),
        (b'{"workflow": {"tasks": [7]}}', r"f.json: workflow.tasks\[0\]: A task must be an object"),
        (b'{"schemaVersion": "2.0", "workflow": {}}', "Unknown schemaVersion '2.0'. Known: '1.0'"),
        (b'{"schemaVersion": ["1.5"], "workflow": {}}', "Unknown schemaVersion"),
    ],
)
def test_what_is_no_such_file_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read_wfformat(raw, place="f.json")


def test_older_files_name_tasks_by_name_or_by_id_and_two_of_one_name_are_told_apart() -> None:
    tasks = [{"name": "sort", "id": "1"}, {"name": "sort", "id": "2"}, {"name": "join", "id": "3"}]
    data: dict[str, Any] = {"schemaVersion": "1.3", "workflow": {"tasks": [*tasks]}}
    data["workflow"]["tasks"][2]["parents"] = ["1", "2"]
    assert read(data).tasks[-1].parents == ("1", "2")
    data["workflow"]["tasks"][2]["parents"] = ["sort"]
    with pytest.raises(Invalid, match=r"2 tasks are called 'sort'. Name it by its id"):
        read(data)
    oldest = {"schemaVersion": "1.1", "workflow": {"jobs": [{"name": "b", "parents": ["a"]}, {"name": "a"}]}}
    assert [each.id for each in read(oldest).tasks] == ["a", "b"]


def test_what_is_said_twice_or_of_a_run_elsewhere_changes_nothing() -> None:
    data = two_tasks()
    more = copy.deepcopy(data)
    more["workflow"]["specification"]["tasks"][1]["parents"] *= 2
    more["workflow"]["execution"] = {"tasks": [{"id": "of another run"}]}
    assert read(more) == read(data)
    assert read({**data, "schemaVersion": 1.5}) == read(data)
    assert read_wfformat(b"\xef\xbb\xbf" + json.dumps(data).encode(), place="f.json") == read(data)
