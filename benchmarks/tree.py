"""A node with a tree of 56 sub-agents, killed with -9 three times in the middle: how soon the tree goes on.

`ostinato up` with its supervisor, and a model in a process of its own, whose log says when it is asked again. That
nothing is begun twice or lost is for `tests/crash/test_forest.py`; here the tree has to be whole in the end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.node import Fleet, children, requests_of, until
from benchmarks.places import real_directory
from benchmarks.result import Result, at_most

WIDTH = 7
_BRANCHES = "\n".join(f'      - {{tool: spawn, args: {{goal: "branch {each}"}}}}' for each in range(WIDTH))
_LEAVES = "\n".join(f'      - {{tool: spawn, args: {{goal: "leaf {{b}}-{each}"}}}}' for each in range(WIDTH))
SCRIPT = f"""
rules:
  - when: {{user: top, call: 1}}
    calls:
{_BRANCHES}
  - when: {{user: 'branch (?P<b>\\d)', call: 1}}
    calls:
{_LEAVES}
  - when: {{tool: spawn}}
    calls: [{{tool: children.wait, args: {{}}}}]
  - when: {{user: 'leaf', call: 1}}
    delay: 400ms
    text: a leaf
default: {{text: all done}}
"""
KILLS_AT = (8, 22, 40)
"""Requests after which the node is killed: while branches begin, while leaves work, while results come back."""


def takeover_s() -> Sequence[Result]:
    """`takeover_s.tree`: from each kill until the model is asked again; the slowest counts. The bound is
    the node's first start in the same run."""
    times = []
    with real_directory() as directory:
        fleet = Fleet(directory, agents=1, heartbeat="", script=SCRIPT)
        agent = directory / "agents" / "agent-0"
        (agent / "HEARTBEAT.md").unlink()
        (agent / "AGENTS.md").write_text("---\nconcurrency: 8\n---\n")
        (agent / "TOOLS.md").write_text("---\nallow: [spawn, children.wait]\n---\n")
        with fleet.model(), fleet.up() as process:
            start_s = until(fleet.healthy)
            top = str(fleet.command("tasks", "add", "top", "--agent", "agent-0")["id"])
            for count in KILLS_AT:
                until(lambda: requests_of(fleet) >= count)  # noqa: B023 - called before it changes
                times.append(_kill(fleet, process.pid))
            until(lambda: _ended(fleet, top), pause_s=0.5, deadline_s=120.0)
            tree: Any = fleet.command("tasks", "show", top, "--tree")
    titles = {each["task"]["title"] for each in tree["nodes"]}
    if tree["states"] != {"done": 1 + WIDTH + WIDTH * WIDTH} or len(titles) != len(tree["nodes"]):
        raise AssertionError(f"the tree is not whole: {tree['states']}")
    each = ", ".join(f"{time_s:.2f}" for time_s in times)
    note = f"{len(titles) - 1} sub-agents, each once; kills took {each} s; bound: the first start"
    return (at_most("takeover_s.tree", max(times), "s", floor=1.0, bound=start_s, note=note),)


def _kill(fleet: Fleet, supervisor: int) -> float:
    """Seconds from a kill of the node until the next one asks the model."""
    began = time.perf_counter()
    (node,) = children(supervisor)
    os.kill(node, signal.SIGKILL)
    until(lambda: children(supervisor) not in ([], [node]))
    before = requests_of(fleet)  # what the dead node had asked for is in the log by now
    until(lambda: requests_of(fleet) > before)
    return time.perf_counter() - began


def _ended(fleet: Fleet, task: str) -> bool:
    return fleet.command("tasks", "show", task)["task"]["state"] == "done"  # type: ignore[index]  # a document
