"""The model cannot be had at first, in each of two calls, and a tool fails; the turn takes another way."""

from __future__ import annotations

from tests.crash.scenario import FREE, Fault, Scenario, goal, script

SCENARIO = Scenario(
    name="retries",
    agents={"smith": {"AGENTS.md": FREE}},
    script=script("""
rules:
  - when: {user: mend, call: 1}
    calls:
      - {tool: world.stumble, args: {what: the short way}}
  - when: {asked: mend, call: 2}
    calls:
      - {tool: world.fire, args: {what: the long way}}
"""),
    arrivals=(goal("mend", "smith", key="mend"),),
    faults=(Fault(call=1), Fault(call=2)),
    ends=1,
    deeds=("the long way",),
)
