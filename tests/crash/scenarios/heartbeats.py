"""Two heartbeats of one agent: one fires each minute, the check of the other finds nothing to do, and costs no model.

They run in the main session: where a death leaves a doubt, it is the model that is told.
"""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, script

EACH_MINUTE = "every: 1m\nanchor: '2026-01-05T08:00'\n"

SCENARIO = Scenario(
    name="heartbeats",
    agents={
        "watch": {
            "AGENTS.md": FREE,
            "HEARTBEAT.md": f"---\n{EACH_MINUTE}---\nlook around\n",
            "heartbeats/idle.md": f'---\n{EACH_MINUTE}check: {{when: "tasks.failed > 0"}}\n---\nnever\n',
        }
    },
    script=script("""
rules:
  - when: {user: 'heartbeat, \\S*T(?P<minute>\\d\\d:\\d\\d)\\S*\\s+look around', call: 1}
    calls:
      - {tool: world.fire, args: {what: "round at {minute}"}}
"""),
    services=frozenset({"calendar"}),
    ends=3,
    deeds=("round at 08:01", "round at 08:02", "round at 08:03"),
)
