"""Fifty-six sub-agents of one task: seven with seven of their own.

Much happens at the same time, so that journals of two runs need not be equal; it is killed in the middle, repeatedly.
"""

from __future__ import annotations

from tests.crash.scenario import Scenario, goal, script

FREE = """\
---
concurrency: 16
gates_off: [irreversible, outward]
---
"""
TOOLS = """\
---
allow: [world.fire, spawn, children.wait]
---
"""
WIDTH = 7
_BRANCHES = "\n".join(f'      - {{tool: spawn, args: {{goal: "branch {each}"}}}}' for each in range(WIDTH))
_LEAVES = "\n".join(f'      - {{tool: spawn, args: {{goal: "leaf {{b}}-{each}"}}}}' for each in range(WIDTH))

SCENARIO = Scenario(
    name="forest",
    agents={"smith": {"AGENTS.md": FREE, "TOOLS.md": TOOLS}},
    script=script(f"""
rules:
  - when: {{user: top, call: 1}}
    calls:
{_BRANCHES}
  - when: {{user: 'branch (?P<b>\\d)', call: 1}}
    calls:
{_LEAVES}
  - when: {{tool: spawn}}
    calls: [{{tool: children.wait, args: {{}}}}]
  - when: {{user: '(?P<leaf>leaf \\d-\\d)', call: 1}}
    calls: [{{tool: world.fire, args: {{what: "{{leaf}}"}}}}]
"""),
    arrivals=(goal("top", "smith", key="top"),),
    ends=1 + WIDTH + WIDTH * WIDTH,
    deeds=tuple(f"leaf {branch}-{leaf}" for branch in range(WIDTH) for leaf in range(WIDTH)),
)
