"""One turn calls a tool of every effect at the same time, and gives a colleague a task of its own."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

SCENARIO = Scenario(
    name="parallel tools",
    agents={"smith": {"AGENTS.md": FREE}, "clerk": {"AGENTS.md": FREE}},
    script=script("""
rules:
  - when: {user: forge, call: 1}
    text: everything at once
    calls:
      - {tool: world.look, args: {what: look}}
      - {tool: world.put, args: {what: put, after: 0.001}}
      - {tool: world.fire, args: {what: fire, after: 0.002}}
      - {tool: world.fire, args: {what: late, before: 0.003}}
      - {tool: world.swap, args: {what: swap, after: 0.004}}
      - {tool: tasks.create, args: {title: keep the books, agent: clerk}}
  - when: {asked: forge, call: 2}
    calls:
      - {tool: world.fire, args: {what: last}}
  - when: {user: keep the books, call: 1}
    calls:
      - {tool: world.fire, args: {what: books}}
"""),
    arrivals=(goal("forge", "smith", key="forge"),),
    ends=2,
    deeds=("look", "put", "fire", "late", "swap", "last", "books"),
)
