"""Three tasks that wait for each other: the second for the first, the third for both. No parent, no children."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

SCENARIO = Scenario(
    name="chain",
    agents={"smith": {"AGENTS.md": FREE}, "clerk": {"AGENTS.md": FREE}},
    script=script("""
rules:
  - when: {user: '(?P<step>step \\w+)', call: 1}
    calls:
      - {tool: world.fire, args: {what: "{step}"}}
"""),
    arrivals=(
        goal("step one", "smith", key="one"),
        goal("step two", "clerk", key="two", after=(1,)),
        goal("step three", "smith", key="three", after=(1, 2)),
    ),
    ends=3,
    deeds=("step one", "step two", "step three"),
)
