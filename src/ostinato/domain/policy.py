"""What an agent may do: `judge` answers for one call with allow, ask or deny, and says why.

First form: the allow-list of TOOLS.md, declared recipients and gates. The gate is outside the model and denies by
default. Knows nothing of how a condition is written: it is handed in as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from ostinato.domain.host import matches_host
from ostinato.domain.step import Decision, Effect
from ostinato.domain.values import Trust, Value

Condition = Callable[[Mapping[str, Any]], bool]
"""A compiled `when`. Raises on an error of evaluation, and then the gate holds."""


class Gate(Value):
    """A rule that asks. Every part that is set must match. `place` is file and line, for the verdict."""

    tool: str = "*"
    effect: Effect | None = None
    when: Condition | None = None
    when_text: str = ""
    ask: str = "operator"
    expires_s: float = 86_400.0
    place: str = ""


DEFAULT_GATE = Gate(effect=Effect.IRREVERSIBLE, place="default: irreversible effects ask")
"""Holds unless a person switches it off by name (`gates_off: [irreversible]`)."""


class Policy(Value):
    """The rules for one agent. `tools` are names or patterns as a person wrote them."""

    agent: str
    tools: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = (DEFAULT_GATE,)
    recipients: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    """Hosts that tools may reach for the agent: `api.example.com`, `*.example.com`, `api.example.com:8443`."""
    places: Mapping[str, str] = {}
    """Rule -> file and line where a person wrote it: `allow`, `recipients`, `network`."""
    version: str = ""
    """Digest of the files that the policy was read from."""


class CallFacts(Value):
    """What is known about a call when it is judged. `requester` is who stands behind the turn."""

    tool: str
    effect: Effect
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    outward: bool = False
    recipient: str | None = None
    hosts: tuple[str, ...] = ()
    """Names of the hosts that the call reaches, with a port where it is neither 80 nor 443."""
    requester: str = "operator"
    trust: Trust = Trust.OPERATOR
    always_allowed: bool = False
    """Tools that act on nothing but the turn itself (`finish`, `ask`)."""
    harmless: bool = False
    """The effect stays inside the fleet: a message to the operator."""
    refusal: str = ""
    """Why the tool itself is not for this call: a command that is not granted. Nobody can allow it by an answer."""


class Verdict(Value):
    """The gate's answer. `rule` names the rule by file and line; `expires_s` only where the answer is ask."""

    decision: Decision
    reason: str
    rule: str
    expires_s: float = 0.0


def judge(facts: CallFacts, policy: Policy) -> Verdict:
    """Allow, ask or deny one call. Deny by default; a wildcard never covers irreversible effects; never raises."""
    if facts.always_allowed:
        return Verdict(decision=Decision.ALLOW, reason="acts on nothing but this turn", rule="built in")
    granted = _grant(facts, policy)
    if granted is None:
        return Verdict(
            decision=Decision.DENY,
            reason=f"{facts.tool} is not among the tools that TOOLS.md allows",
            rule="default: deny",
        )
    if facts.recipient is not None and not matches_recipient(facts.recipient, policy.recipients):
        known = ", ".join(policy.recipients) or "none"
        return Verdict(
            decision=Decision.DENY,
            reason=f"{facts.recipient!r} is not a declared recipient (TOOLS.md, recipients: {known})",
            rule=_place(policy, "recipients"),
        )
    for host in facts.hosts:
        if not matches_host(host, policy.network):
            known = ", ".join(policy.network) or "none"
            return Verdict(
                decision=Decision.DENY,
                reason=f"{host[:255]!r} is not a declared host (TOOLS.md, network: {known})",
                rule=_place(policy, "network"),
            )
    if facts.refusal:
        return Verdict(decision=Decision.DENY, reason=facts.refusal, rule=f"TOOLS.md, for {facts.tool}")
    for gate in policy.gates:
        if _holds(gate, facts):
            return Verdict(
                decision=Decision.ASK,
                reason=_why(gate, facts),
                rule=gate.place,
                expires_s=gate.expires_s,
            )
    return Verdict(decision=Decision.ALLOW, reason=f"granted by {granted!r}", rule="TOOLS.md allow")


_STRICTNESS = {Decision.ALLOW: 0, Decision.ASK: 1, Decision.DENY: 2}


def stricter(one: Verdict, other: Verdict) -> Verdict:
    """The verdict that allows less; the first where both allow the same."""
    return other if _STRICTNESS[other.decision] > _STRICTNESS[one.decision] else one


def is_visible(tool: str, effect: Effect, policy: Policy) -> bool:
    """True where the agent's model is shown the tool at all."""
    return _grant(CallFacts(tool=tool, effect=effect), policy) is not None


def matches_recipient(recipient: str, declared: tuple[str, ...]) -> bool:
    """True where a declared recipient covers this one; `*` stands for any text within a name."""
    return any(fnmatchcase(recipient.casefold(), each.casefold()) for each in declared)


def _place(policy: Policy, rule: str) -> str:
    """Where a rule stands; its name where nobody wrote it."""
    return policy.places.get(rule, rule)


def _grant(facts: CallFacts, policy: Policy) -> str | None:
    if facts.tool in policy.tools:
        return facts.tool
    if facts.effect is Effect.IRREVERSIBLE:
        return None
    return next((each for each in policy.tools if "*" in each and fnmatchcase(facts.tool, each)), None)


def _holds(gate: Gate, facts: CallFacts) -> bool:
    """True where the gate asks about this call; a condition that cannot be evaluated holds."""
    if not fnmatchcase(facts.tool, gate.tool):
        return False
    if gate.effect is not None and (facts.effect is not gate.effect or facts.harmless):
        return False
    if gate.when is None:
        return True
    variables = {
        "args": facts.arguments,
        "tool": facts.tool,
        "effect": facts.effect.value,
        "outward": facts.outward,
        "requester": facts.requester,
        "trust": facts.trust.value,
    }
    try:
        return gate.when(variables)
    except Exception:  # whatever a condition does wrong, the gate must hold
        return True


def _why(gate: Gate, facts: CallFacts) -> str:
    if gate.when_text:
        return f"a gate asks when {gate.when_text}"
    if gate.effect is not None:
        return f"{facts.tool} is {facts.effect.value}"
    return f"a gate asks about {gate.tool}"
