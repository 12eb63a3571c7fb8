"""Two files lie in inboxes: a task for an agent in the fleet's, and an attachment in an agent's own. Each is taken
once."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, script

SCENARIO = Scenario(
    name="inbox file",
    agents={"clerk": {"AGENTS.md": FREE}},
    script=script("""
rules:
  - when: {user: 'count the (?P<what>\\w+)', call: 1}
    calls:
      - {tool: world.fire, args: {what: "{what}"}}
"""),
    dropped={
        "inbox/chairs.md": "---\nagent: clerk\ntitle: chairs\n---\ncount the chairs\n",
        "agents/clerk/inbox/tables.txt": "count the tables\n",
    },
    services=frozenset({"inbox"}),
    ends=2,
    deeds=("chairs", "tables"),
)
