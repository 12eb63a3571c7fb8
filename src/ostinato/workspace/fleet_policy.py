"""`[policy]` of ostinato.toml: what holds for every agent, whatever its own files say.

It takes away and asks; it grants nothing. Knows nothing of agents.
"""

from __future__ import annotations

from ostinato.domain.policy import Policy
from ostinato.domain.values import digest_of, to_json
from ostinato.workspace.fields import Fields
from ostinato.workspace.gate_rules import parse_gates
from ostinato.workspace.tools_file import declared_hosts, declared_recipients, tool_patterns

POLICY_KEYS = ("deny", "gates", "recipients", "network")

FLEET = "fleet"
"""The name under which verdicts know this policy."""


def parse_fleet_policy(fields: Fields) -> Policy | None:
    """The bound of all agents' policies; None where the table says nothing. Raises Invalid."""
    if not fields.names():
        return None
    places = {key: fields.place(key).partition(",")[0] for key in fields.names()}
    return Policy(
        agent=FLEET,
        tools=None,
        denied=tool_patterns(fields, "deny"),
        gates=parse_gates(fields),
        recipients=declared_recipients(fields) if "recipients" in fields.names() else None,
        network=declared_hosts(fields) if "network" in fields.names() else None,
        places=places,
        version=digest_of(to_json([[key, fields.plain(key)] for key in fields.names()])),
    )
