"""A gate parks a turn while its other tool acts; a person allows it. Then the agent asks something and is answered."""

from __future__ import annotations

from tests.crash.scenario import GATED, Scenario, goal, script

SCENARIO = Scenario(
    name="gate and park",
    agents={"smith": {"AGENTS.md": GATED}},
    script=script("""
rules:
  - when: {user: launch, call: 1}
    calls:
      - {tool: world.put, args: {what: prepare, after: 0.001}}
      - {tool: world.fire, args: {what: launch, after: 0.001}}
  - when: {asked: launch, call: 2}
    calls:
      - {tool: ask, args: {question: Was that right?}}
"""),
    arrivals=(goal("launch", "smith", key="launch"),),
    ends=1,
    deeds=("prepare", "launch"),
)
