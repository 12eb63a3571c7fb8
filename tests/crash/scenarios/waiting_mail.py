"""Two mails wait in an agent's inbox until its heartbeat, whose check costs nothing, wakes a turn of its own for each.

One is answered with a letter, after a person has allowed it.
"""

from __future__ import annotations

from tests.crash.scenario import GATED, Scenario, script

MAIL = """\
From: {sender}@example.com
To: desk@example.com
Subject: {subject}
Message-ID: <{sender}@example.com>
Date: Mon, 5 Jan 2026 07:00:00 +0000

{text}
"""

HEARTBEAT = """\
---
every: 1m
check: {when: "inbox.files > 0"}
each: inbox
session: isolated
---
sort it
"""

SCENARIO = Scenario(
    name="waiting mail",
    agents={
        "desk": {
            "AGENTS.md": GATED.replace("---\n", "---\ninbox: heartbeat\n", 1),
            "HEARTBEAT.md": HEARTBEAT,
        }
    },
    script=script("""
rules:
  - when: {user: charged twice, call: 1}
    calls:
      - {tool: message.send, args: {to: "mail:ann@example.com", subject: "Re: invoice", text: We look into it.}}
      - {tool: world.put, args: {what: invoice}}
  - when: {user: lovely, call: 1}
    calls:
      - {tool: memory.note, args: {text: "logged: thanks"}}
      - {tool: world.put, args: {what: thanks}}
"""),
    dropped={
        "agents/desk/inbox/1.eml": MAIL.format(sender="ann", subject="invoice", text="I was charged twice."),
        "agents/desk/inbox/2.eml": MAIL.format(sender="bob", subject="thanks", text="It is lovely."),
    },
    services=frozenset({"calendar", "inbox"}),
    ends=3,
    deeds=("invoice", "thanks"),
)
