"""One deed that takes its time after its effect, so that its node can be stopped in the middle of it."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

AFTER_S = 0.3
"""How long the deed still takes after its effect."""

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
      - {{tool: world.fire, args: {{what: cool}}}}
"""),
    arrivals=(goal("forge", "smith", key="forge"),),
    ends=1,
    deeds=("forge", "cool"),
)
