"""A mail to somebody outside waits for a person, becomes a delivery, and lies in the outbox once; the operator is told
without being asked."""

from __future__ import annotations

from tests.crash.scenario import GATED, Scenario, goal, script

SCENARIO = Scenario(
    name="delivery",
    agents={"clerk": {"AGENTS.md": GATED}},
    script=script("""
rules:
  - when: {user: write, call: 1}
    calls:
      - {tool: message.send, args: {to: "mail:customer@example.com", subject: Your order, text: It is on its way.}}
      - {tool: message.send, args: {to: operator, text: A letter is on its way.}}
"""),
    arrivals=(goal("write", "clerk", key="write"),),
    ends=2,
)
