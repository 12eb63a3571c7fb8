"""What an agent may do: `judge` answers for one call with allow, ask or deny, and says why.

The gate is outside the model and denies by default. A policy can be bound by others (the fleet's, a parent's, the
requester's): what one of them denies is denied. Knows nothing of files, tools or how a condition is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec.structs import replace

from ostinato.domain.errors import OstinatoError
from ostinato.domain.file_rules import FileRules, check_read, check_write, may_list, parts_of
from ostinato.domain.gate import DEFAULT_GATES, Gate
from ostinato.domain.host import matches_host
from ostinato.domain.instant import local, zone_named
from ostinato.domain.permission import Permission, covers_call
from ostinato.domain.schedule import WEEKDAYS
from ostinato.domain.step import Decision, Effect
from ostinato.domain.values import Instant, Trust, Value


class Policy(Value):
    """The rules for one agent, or a bound for several. `tools` are names or patterns as a person wrote them; None, as
    for `recipients`, `network` and `files`, sets no bound."""

    agent: str
    tools: tuple[str, ...] | None = ()
    denied: tuple[str, ...] = ()
    """Names or patterns of tools that no grant covers."""
    gates: tuple[Gate, ...] = tuple(DEFAULT_GATES.values())
    recipients: tuple[str, ...] | None = ()
    network: tuple[str, ...] | None = ()
    """Hosts that tools may reach for the agent: `api.example.com`, `*.example.com`, `api.example.com:8443`."""
    files: FileRules | None = None
    """None: whoever opens files judges them alone."""
    places: Mapping[str, str] = {}
    """Rule -> file and line where a person wrote it: `allow`, `allow files.read`, `recipients`, `network`, `files`."""
    within: tuple[Policy, ...] = ()
    """Further policies that must agree."""
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
    reaches: tuple[str, ...] = ()
    """Declared hosts that it may reach beside those: what a command is let through to, who searches for the fleet."""
    reads: tuple[str, ...] = ()
    """Paths that it reads; one that ends with `/` is a folder, of which it is given what the rules cover."""
    writes: tuple[str, ...] = ()
    cost_usd_micros: int = 0
    budget_left_usd_micros: int | None = None
    """What the agent may still spend today; None: no limit."""
    requester: str = "operator"
    trust: Trust = Trust.OPERATOR
    private: bool = False
    """The session has read what may be private, through a tool."""
    remembers: bool = False
    """Its prompt holds what the agent remembers."""
    now: Instant = 0
    timezone: str = "UTC"
    stopped: str = ""
    """Why nothing may be done at all: who halted what."""
    always_allowed: bool = False
    """Tools that act on nothing but the turn itself (`finish`, `ask`)."""
    harmless: bool = False
    """The effect stays inside the fleet: a message to the operator."""
    refusal: str = ""
    """Why the tool itself is not for this call: a command that is not granted. Nobody can allow it by an answer."""
    bound: dict[str, Any] = msgspec.field(default_factory=dict)
    """What an approval is bound to beside the arguments."""

    def variables(self) -> dict[str, Any]:
        """What a gate's condition can ask about."""
        here = local(self.now, zone_named(self.timezone))
        return {
            "args": self.arguments,
            "tool": self.tool,
            "effect": self.effect.value,
            "outward": self.outward,
            "harmless": self.harmless,
            "recipient": self.recipient or "",
            "hosts": [*self.hosts, *self.reaches],
            "cost": self.cost_usd_micros / 1_000_000,
            "requester": self.requester,
            "trust": self.trust.value,
            "tainted": self.trust is Trust.EXTERNAL,
            "private": self.private,
            "remembers": self.remembers,
            "now": here.isoformat(timespec="minutes")[:16],
            "hour": here.hour,
            "weekday": WEEKDAYS[here.weekday()],
        }


class Verdict(Value):
    """The gate's answer. `rule` is file and line of the rule, or the name of one that nobody wrote."""

    decision: Decision
    reason: str
    rule: str
    gate: Gate | None = None
    """Which one asks; where the decision is ask, and only there."""

    @property
    def expires_s(self) -> float:
        """Seconds for which a person can answer."""
        return self.gate.expires_s if self.gate else 0.0


def judge(facts: CallFacts, policy: Policy, permissions: Sequence[Permission] = ()) -> Verdict:
    """Allow, ask or deny one call. Deny by default; a wildcard never covers irreversible effects; never raises.

    `permissions` are what people have allowed for good: each answers one gate, and no denial.
    """
    if facts.stopped:
        return _deny(facts.stopped, "stop")
    if facts.always_allowed:
        return Verdict(decision=Decision.ALLOW, reason="acts on nothing but this turn", rule="built in")
    verdict = _judge_alone(facts, policy, permissions)
    for each in policy.within:
        verdict = stricter(verdict, judge(facts, each, permissions))
    return verdict


def intersect(policy: Policy, *bounds: Policy) -> Policy:
    """A policy that allows what all of these allow, asks where one of them asks, and denies what one of them denies."""
    return replace(policy, within=(*policy.within, *bounds))


_STRICTNESS = {Decision.ALLOW: 0, Decision.ASK: 1, Decision.DENY: 2}


def stricter(one: Verdict, other: Verdict) -> Verdict:
    """The verdict that allows less; of two that ask, the one that asks further up; the first where both are alike."""
    return other if _weight(other) > _weight(one) else one


def _weight(verdict: Verdict) -> tuple[int, int]:
    return _STRICTNESS[verdict.decision], verdict.gate.rank if verdict.gate else 0


def is_visible(tool: str, effect: Effect, policy: Policy, *, unaddressed: bool = False) -> bool:
    """True where the agent's model is shown the tool at all. `unaddressed`: strangers see what it does, and it names
    neither recipient nor host."""
    facts = CallFacts(tool=tool, effect=effect, outward=unaddressed)
    return _is_denied(facts, policy) is None and all(
        is_visible(tool, effect, each, unaddressed=unaddressed) for each in policy.within
    )


def reaches(host: str, policy: Policy) -> bool:
    """True where the policy, and each within it, declares a host."""
    covered = policy.network is None or matches_host(host, policy.network)
    return covered and all(reaches(host, each) for each in policy.within)


def matches_recipient(recipient: str, declared: tuple[str, ...]) -> bool:
    """True where a declared recipient covers this one; `*` stands for any text within a name."""
    return any(fnmatchcase(recipient.casefold(), each.casefold()) for each in declared)


def granted_by(facts: CallFacts, policy: Policy) -> str | None:
    """The entry of `allow` that covers the call. A pattern covers neither what cannot be undone, nor what is seen
    outside by nobody whom a person has declared."""
    if policy.tools is None:
        return "*"
    if facts.tool in policy.tools:
        return facts.tool
    if facts.effect is Effect.IRREVERSIBLE:
        return None
    if facts.outward and facts.recipient is None and not (facts.hosts or facts.reaches):
        return None
    return next((each for each in policy.tools if "*" in each and fnmatchcase(facts.tool, each)), None)


def _judge_alone(facts: CallFacts, policy: Policy, permissions: Sequence[Permission]) -> Verdict:
    for check in _CHECKS:
        refused = check(facts, policy)
        if refused is not None:
            return refused
    variables = facts.variables() if policy.gates else {}
    asking = [each for each in policy.gates if each.holds(facts.tool, facts.effect, variables)]
    open_gates = [each for each in asking if _leave_for(each, facts, permissions) is None]
    if open_gates:
        gate = max(open_gates, key=lambda each: each.rank)
        return Verdict(decision=Decision.ASK, reason=gate.words(facts.tool), rule=gate.place, gate=gate)
    if asking:
        leave = _leave_for(asking[0], facts, permissions)
        assert leave is not None
        said = f"{leave.by} allows this for good ({leave.name})"
        return Verdict(decision=Decision.ALLOW, reason=said, rule=leave.name)
    granted = granted_by(facts, policy)
    place = _place(policy, f"allow {granted}", "allow")
    return Verdict(decision=Decision.ALLOW, reason=f"granted by {granted!r}", rule=place)


def _leave_for(gate: Gate, facts: CallFacts, permissions: Sequence[Permission]) -> Permission | None:
    return next(
        (
            each
            for each in permissions
            if each.gate == gate.identity
            and covers_call(each, tool=facts.tool, arguments=facts.arguments, bound=facts.bound)
        ),
        None,
    )


def _is_denied(facts: CallFacts, policy: Policy) -> Verdict | None:
    for each in policy.denied:
        if fnmatchcase(facts.tool, each):
            return _deny(f"{facts.tool} is denied by {each!r}", _place(policy, f"deny {each}", "deny"))
    if granted_by(facts, policy) is not None:
        return None
    pattern = next((each for each in policy.tools or () if fnmatchcase(facts.tool, each)), None)
    place = _place(policy, "allow", default="default: deny")
    if pattern is None:
        return _deny(f"{facts.tool} is not among the tools that TOOLS.md allows", place)
    what = "is irreversible" if facts.effect is Effect.IRREVERSIBLE else "is seen outside by nobody who is declared"
    return _deny(f"{facts.tool} {what}, which the pattern {pattern!r} does not cover: allow it by its name", place)


def _is_wrong_recipient(facts: CallFacts, policy: Policy) -> Verdict | None:
    if facts.recipient is None or policy.recipients is None or matches_recipient(facts.recipient, policy.recipients):
        return None
    known = ", ".join(policy.recipients) or "none"
    reason = f"{facts.recipient!r} is not a declared recipient (TOOLS.md, recipients: {known})"
    return _deny(reason, _place(policy, "recipients"))


def _is_wrong_host(facts: CallFacts, policy: Policy) -> Verdict | None:
    for host in facts.hosts if policy.network is not None else ():
        if not matches_host(host, policy.network or ()):
            known = ", ".join(policy.network or ()) or "none"
            reason = f"{host[:255]!r} is not a declared host (TOOLS.md, network: {known})"
            return _deny(reason, _place(policy, "network"))
    return None


def _is_wrong_path(facts: CallFacts, policy: Policy) -> Verdict | None:
    if policy.files is None:
        return None
    try:
        for path in facts.reads:
            if not (path.endswith("/") and may_list(parts_of(path), policy.files)):
                check_read(parts_of(path), policy.files)
        for path in facts.writes:
            check_write(parts_of(path), policy.files)
    except OstinatoError as error:
        return _deny(error.message, _place(policy, "files"))
    return None


def _is_refused(facts: CallFacts, policy: Policy) -> Verdict | None:
    if not facts.refusal:
        return None
    family = facts.tool.partition(".")[0]
    return _deny(facts.refusal, _place(policy, family, default=f"TOOLS.md, for {facts.tool}"))


def _is_beyond_budget(facts: CallFacts, _policy: Policy) -> Verdict | None:
    left = facts.budget_left_usd_micros
    if left is None or facts.cost_usd_micros <= left:
        return None
    cost, rest = facts.cost_usd_micros / 1_000_000, max(left, 0) / 1_000_000
    return _deny(f"{facts.tool} may cost ${cost:.2f}, and ${rest:.2f} of today's budget is left", "budget")


_CHECKS: tuple[Callable[[CallFacts, Policy], Verdict | None], ...] = (
    _is_denied,
    _is_refused,
    _is_wrong_path,
    _is_wrong_recipient,
    _is_wrong_host,
    _is_beyond_budget,
)


def _deny(reason: str, rule: str) -> Verdict:
    return Verdict(decision=Decision.DENY, reason=reason, rule=rule)


def _place(policy: Policy, *rules: str, default: str = "") -> str:
    """Where the first of these rules stands that has a place; its name where nobody wrote it."""
    return next((policy.places[each] for each in rules if each in policy.places), default or rules[-1])
