"""Inputs that once did harm, kept as cases of a family of their own.

Knows nothing of sending them.
"""

from __future__ import annotations

from tests.security.hostile.case import Case, Command, Content, Exchange, Kind, Sent, Surface
from tests.security.hostile.command_form import FLEET
from tests.security.hostile.front_matter_form import document
from tests.security.hostile.http_form import request

FAMILY = "found before"
JOINED, HALF = '"\\ud83d\\ude00"', '"\\ud83d"'
"""A character as JSON escapes it, and half of one."""

BEYOND = str(2**63)
JSON_TYPE = (b"content-type: application/json",)

FRONT_MATTER = (
    Content(document("AGENTS.md", {"limits": '{wall: ""}'}).encode(), "AGENTS.md"),
    Content(document("AGENTS.md", {"description": JOINED}).encode(), "AGENTS.md"),
    Content(document("AGENTS.md", {"description": HALF}).encode(), "AGENTS.md"),
    Content(document("AGENTS.md", {"model": "goood"}).encode(), "AGENTS.md"),
    Content(document("HEARTBEAT.md", {"every": "null"}).encode(), "HEARTBEAT.md"),
    Content(document("HEARTBEAT.md", {"check": '{when: "tasks.failed\ufeff > 0"}'}).encode(), "HEARTBEAT.md"),
)
SCRIPTS = (
    Content(f"rules: [{{text: {HALF}}}]\n".encode()),
    Content(f"rules: [{{text: {JOINED}}}]\n".encode()),
    Content(kind=Kind.PIPE),
    Content(b'rules: [{text: x, stop: "a\rb"}]\n'),
)
INBOX = (
    Content(f"---\ntitle: {HALF}\nagent: clerk\n---\nHello.\n".encode(), "inbox/half.md"),
    Content(f"---\ntitle: {JOINED}\nagent: clerk\n---\nHello.\n".encode(), "inbox/joined.md"),
    Content(b"---\ntitle: Hello\nsession: main:nobody\nagent: clerk\n---\nHello.\n", "inbox/session.md"),
)
COMMANDS = (
    Command(("sessions", "send", FLEET, "clerk", "-"), given=b"Gr\xfc\xdfe"),
    Command(("tasks", "add", FLEET, "\x9b31m", "--agent", "clerk", "--json")),
    Command(("tasks", "list", FLEET, "--agent", "x" * 70_000)),
    Command(("init", "new", "--template", "word " * 3_000)),
    Command(("init", "kinds/link to itself/fleet", "--yes")),
    Command(("events", FLEET, "--after", BEYOND)),
    Command(("approvals", "allow", FLEET, "Q1", "--arguments", '{"a": ' + "[" * 60 + "]" * 60 + "}")),
)
REQUESTS = (
    Exchange((b"\x16\x03\x01\x02\r\n\r\n",), hangs_up=True),
    Exchange((request("GET", b"/api/v1/agents/clerk%2F"),)),
    Exchange((request("GET", b"/api/v1/in%E2%80%AEvoice"),)),
    Exchange((request("GET", f"/api/v1/events?after={BEYOND}".encode()),)),
    Exchange(
        (request("POST", b"/api/v1/schedules", b'{"name": "a b", "agent": "spare", "text": ""}', heads=JSON_TYPE),)
    ),
)

_ALL: dict[Surface, tuple[Sent, ...]] = {
    Surface.FRONT_MATTER: FRONT_MATTER,
    Surface.SCRIPT: SCRIPTS,
    Surface.INBOX: INBOX,
    Surface.COMMAND_LINE: COMMANDS,
    Surface.API: REQUESTS,
}

FOUND = tuple(
    Case(family=FAMILY, surface=surface, number=number, sent=sent)
    for surface, every in _ALL.items()
    for number, sent in enumerate(every)
)
"""All of them, surface by surface."""
