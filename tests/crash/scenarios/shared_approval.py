"""In a shared session a gated action must not freeze the session: it is stored, performed once when a person allows it,
and its result arrives as a message that wakes the session again."""

from __future__ import annotations

from ostinato.domain.message import NewMessage, main_session
from ostinato.domain.values import Source
from tests.crash.scenario import GATED, Mail, Scenario, script

SCENARIO = Scenario(
    name="shared approval",
    agents={"smith": {"AGENTS.md": GATED}},
    script=script("""
rules:
  - when: {user: please launch, call: 1}
    calls:
      - {tool: world.fire, args: {what: launch, after: 0.001}}
      - {tool: world.put, args: {what: note}}
  - when: {user: allowed by operator, call: 1}
    calls:
      - {tool: world.put, args: {what: thanks}}
"""),
    arrivals=(
        Mail(
            session=main_session("smith"),
            agent="smith",
            message=NewMessage(source=Source.OPERATOR, text="please launch", client_id="launch"),
        ),
    ),
    ends=3,
    deeds=("launch", "note", "thanks"),
)
