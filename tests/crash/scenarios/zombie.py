"""Two deeds that take their time after their effects, so that a node can be stopped in the middle of one."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

AFTER_S = 0.5
"""How long each deed still takes after its effect."""

SCENARIO = Scenario(
    name="zombie",
    agents={"smith": {"AGENTS.md": FREE}},
    script=script(f"""
rules:
  - when: {{user: forge, call: 1}}
    calls:
      - {{tool: world.fire, args: {{what: forge, after: {AFTER_S}}}}}
  - when: {{asked: forge, call: 2}}
    calls:
      - {{tool: world.fire, args: {{what: cool, after: {AFTER_S}}}}}
"""),
    arrivals=(goal("forge", "smith", key="forge"),),
    ends=1,
    deeds=("forge", "cool"),
)
