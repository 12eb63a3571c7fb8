"""A tree of sub-agents: a child has a child of its own, and each waits for the one below it."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

TOOLS = """\
---
allow: [world.fire, spawn, children.wait]
---
"""

SCENARIO = Scenario(
    name="tree",
    agents={"smith": {"AGENTS.md": FREE, "TOOLS.md": TOOLS}, "clerk": {"AGENTS.md": FREE, "TOOLS.md": TOOLS}},
    script=script("""
rules:
  - when: {user: top, call: 1}
    calls: [{tool: spawn, args: {goal: branch, agent: clerk}}]
  - when: {asked: top, tool: spawn}
    calls: [{tool: children.wait, args: {}}]
  - when: {tool: children.wait, result: 'clerk.*branch'}
    calls: [{tool: world.fire, args: {what: top}}]
  - when: {user: branch, call: 1}
    calls: [{tool: spawn, args: {goal: leaf, agent: smith}}]
  - when: {asked: branch, tool: spawn}
    calls: [{tool: children.wait, args: {}}]
  - when: {user: leaf, call: 1}
    calls: [{tool: world.fire, args: {what: leaf}}]
"""),
    arrivals=(goal("top", "smith", key="top"),),
    ends=3,
    deeds=("leaf", "top"),
)
