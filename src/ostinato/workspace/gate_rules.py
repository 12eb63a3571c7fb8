"""Gates as people write them, in AGENTS.md for one agent and in ostinato.toml for all.

Knows nothing of the gates that every agent has, nor of what a gate does.
"""

from __future__ import annotations

import re

from ostinato.domain.condition import Kind, compile_condition
from ostinato.domain.gate import EXPIRES_S, OPERATOR, Gate
from ostinato.domain.person import PERSON
from ostinato.domain.step import Effect
from ostinato.workspace.fields import Fields

GATE_KEYS = ("tool", "effect", "when", "ask", "expires", "remind", "escalate")
ESCALATE_KEYS = ("to", "after")

GATE_VARIABLES: dict[str, Kind] = {
    "args": dict,
    "tool": str,
    "effect": str,
    "outward": bool,
    "recipient": str,
    "hosts": list,
    "cost": float,
    "requester": str,
    "trust": str,
    "tainted": bool,
    "private": bool,
    "now": str,
    "hour": int,
    "weekday": str,
}
"""What a gate's condition can ask about."""

REMIND_LEAST_S = 60.0


def parse_gates(fields: Fields) -> tuple[Gate, ...]:
    """The gates in the list below `gates`. Raises Invalid with file, line and key."""
    return tuple(_gate(each) for each in fields.groups("gates", GATE_KEYS))


def _gate(fields: Fields) -> Gate:
    if not any(fields.has(each) for each in ("tool", "effect", "when")):
        raise fields.wrong("", "The gate does not say what it asks about", cure="Give it 'tool', 'effect' or 'when'.")
    tool = fields.text("tool", "*")
    if not re.fullmatch(r"[A-Za-z0-9_.*-]{1,100}", tool):
        raise fields.wrong("tool", f"{tool[:64]!r} is not a tool", cure="For example 'message.send' or 'files.*'.")
    when = fields.text("when")
    effect = fields.choice("effect", tuple(Effect), Effect.IRREVERSIBLE) if fields.has("effect") else None
    condition = fields.read("when", lambda text: compile_condition(text, variables=GATE_VARIABLES))
    escalate = fields.group("escalate", ESCALATE_KEYS)
    if escalate is not None and not (escalate.has("to") and escalate.has("after")):
        raise escalate.wrong("", "It does not say whom else to ask, and when", cure="Write {to: admin, after: 8h}.")
    return Gate(
        tool=tool,
        effect=Effect(effect) if effect else None,
        when=condition,
        when_text=when,
        ask=_somebody(fields, "ask"),
        expires_s=fields.duration_s("expires", EXPIRES_S, least=1.0),
        remind_s=fields.duration_s("remind", 0.0, least=REMIND_LEAST_S) if fields.has("remind") else None,
        escalate=_somebody(escalate, "to") if escalate else "",
        escalate_s=escalate.duration_s("after", 0.0, least=1.0) if escalate else 0.0,
        place=fields.place().partition(",")[0],
    )


def _somebody(fields: Fields, key: str) -> str:
    """A role, or a person's name."""
    text = fields.text(key, OPERATOR)
    if not PERSON.fullmatch(text):
        raise fields.wrong(key, f"{text[:64]!r} is nobody", cure="Write operator, admin, or a person's name.")
    return text
