"""A result that another agent returns with notes once, and accepts the next time."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

TOOLS = """\
---
allow: [world.fire]
---
"""

SCENARIO = Scenario(
    name="review",
    agents={
        "smith": {"AGENTS.md": FREE.replace("---\n", "---\nreview: {agent: clerk}\n", 1), "TOOLS.md": TOOLS},
        "clerk": {"AGENTS.md": FREE, "TOOLS.md": TOOLS},
    },
    script=script("""
rules:
  - when: {user: "(?s)Review the result.*what is missing", call: 1}
    calls: [{tool: review.accept, args: {}}]
  - when: {user: "Review the result", call: 1}
    calls: [{tool: review.reject, args: {notes: what is missing}}]
  - when: {user: "was not accepted"}
    calls: [{tool: world.fire, args: {what: second}}]
  - when: {user: forge, call: 1}
    calls: [{tool: world.fire, args: {what: first}}]
"""),
    arrivals=(goal("forge", "smith", key="forge"),),
    ends=3,
    deeds=("first", "second"),
)
