"""A person denies a deed; then the turn meets its limit of steps, and goes on when it is allowed to."""

from __future__ import annotations

from tests.crash.person import FORBIDDEN
from tests.crash.scenario import GATED, Scenario, goal, script

SCENARIO = Scenario(
    name="denial and limit",
    agents={"smith": {"AGENTS.md": GATED.replace("---\n", "---\nlimits: {steps: 1}\n", 1)}},
    script=script(f"""
rules:
  - when: {{user: forge, call: 1}}
    calls:
      - {{tool: world.fire, args: {{what: {FORBIDDEN}}}}}
  - when: {{user: lets you go on, not_called: [world.put]}}
    calls:
      - {{tool: world.put, args: {{what: instead}}}}
"""),
    arrivals=(goal("forge", "smith", key="forge"),),
    ends=1,
    deeds=("instead",),
)
