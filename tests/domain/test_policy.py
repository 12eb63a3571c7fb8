"""Laws of the gate: deny by default, no wildcard over what cannot be undone, and a broken condition holds.

Knows nothing of where a policy was read from; conditions are plain functions here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.file_rules import FileRules
from ostinato.domain.gate import ADMIN, DEFAULT_GATES, Gate
from ostinato.domain.instant import parse_instant
from ostinato.domain.permission import Permission
from ostinato.domain.policy import (
    CallFacts,
    Policy,
    Verdict,
    granted_by,
    intersect,
    is_visible,
    judge,
    matches_recipient,
    reaches,
    stricter,
)
from ostinato.domain.step import Decision, Effect
from ostinato.domain.values import Trust

NAMES = ("files.read", "files.write", "tasks.create", "message.send", "http.get", "memory.note")
STRICTNESS = [Decision.ALLOW, Decision.ASK, Decision.DENY]


def raises(_variables: Mapping[str, Any]) -> bool:
    """A condition that cannot be evaluated."""
    raise ValueError("no such field")


def is_big(variables: Mapping[str, Any]) -> bool:
    """A condition over the arguments."""
    return bool(variables["args"]["size"] > 10)


conditions = st.sampled_from([None, raises, is_big, lambda _: True, lambda _: False])
gates = st.builds(
    Gate,
    tool=st.sampled_from([*NAMES, "*", "files.*", "message.*"]),
    effect=st.none() | st.sampled_from(Effect),
    when=conditions,
    ask=st.sampled_from(["operator", "ann", ADMIN]),
    place=st.sampled_from(["AGENTS.md:4", "AGENTS.md:9"]),
)
HOSTS = ("api.example.com", "evil.example.org", "api.example.com:8443")
PATHS = ("notes/a.md", "secret.md", "TOOLS.md", "../up", ".env", "notes/")
facts = st.builds(
    CallFacts,
    tool=st.sampled_from(NAMES),
    effect=st.sampled_from(Effect),
    arguments=st.dictionaries(st.sampled_from(["size", "to"]), st.integers(0, 20)),
    outward=st.booleans(),
    recipient=st.none() | st.sampled_from(["operator", "mail:a@example.com", "mail:b@example.org"]),
    hosts=st.lists(st.sampled_from(HOSTS), max_size=2).map(tuple),
    reads=st.lists(st.sampled_from(PATHS), max_size=2).map(tuple),
    writes=st.lists(st.sampled_from(PATHS), max_size=2).map(tuple),
    cost_usd_micros=st.sampled_from([0, 1, 999_999, 1_000_001, 5_000_000]),
    budget_left_usd_micros=st.none() | st.sampled_from([-1, 0, 1_000_000, 10_000_000]),
    private=st.booleans(),
    remembers=st.booleans(),
    now=st.integers(0, 4_000_000_000_000_000),
    timezone=st.sampled_from(["UTC", "Europe/Zurich", "Asia/Kathmandu"]),
    refusal=st.sampled_from(["", "", "the command is not granted"]),
    stopped=st.sampled_from(["", "", "", "the fleet is halted by ann"]),
    trust=st.sampled_from(Trust),
    always_allowed=st.just(value=False),
    harmless=st.booleans(),
)
patterns = st.lists(st.sampled_from([*NAMES, "*", "files.*", "message.*", "m*"]), max_size=4).map(tuple)
alone = st.builds(
    Policy,
    agent=st.just("triage"),
    tools=patterns | st.none(),
    denied=st.lists(st.sampled_from(["http.*", "files.write"]), max_size=1).map(tuple),
    gates=st.lists(gates | st.sampled_from(list(DEFAULT_GATES.values())), max_size=4).map(tuple),
    recipients=st.none() | st.lists(st.sampled_from(["operator", "mail:*@example.com", "*"]), max_size=2).map(tuple),
    network=st.none() | st.lists(st.sampled_from(["api.example.com", "*.example.org"]), max_size=2).map(tuple),
    files=st.none() | st.builds(FileRules, read=st.sampled_from([(".",), ("notes",), ()]),
                                write=st.sampled_from([(".",), ("notes",), ()])),
    places=st.sampled_from([{}, {"allow": "TOOLS.md:2", "network": "TOOLS.md:5", "recipients": "TOOLS.md:6"}]),
)  # fmt: skip
policies = alone | st.builds(intersect, alone, alone) | st.builds(intersect, st.builds(intersect, alone, alone), alone)
permissions = st.lists(
    st.builds(
        Permission,
        agent=st.just("triage"),
        tool=st.sampled_from(NAMES),
        gate=st.sampled_from([*DEFAULT_GATES, "* *", "files.* read"]),
        exact=st.just({}),
        by=st.just("ann"),
        question=st.just(1),
        id=st.integers(1, 9),
        added_at=st.just(0),
    ),
    max_size=3,
)


def strictness(verdict: Verdict) -> int:
    """0 for allow, 2 for deny."""
    return STRICTNESS.index(verdict.decision)


def send(**more: Any) -> CallFacts:
    """An irreversible call to a declared recipient, unless said otherwise."""
    given_facts = {"recipient": "mail:ann@example.com", "outward": True, **more}
    return CallFacts(tool="message.send", effect=Effect.IRREVERSIBLE, **given_facts)


SENDER = Policy(agent="billing", tools=("message.send",), recipients=("operator", "mail:*@example.com"))


@given(facts)
def test_without_a_grant_everything_is_denied(call: CallFacts) -> None:
    assume(not call.stopped)
    verdict = judge(call, Policy(agent="triage", recipients=("*",)))
    assert verdict.decision is Decision.DENY
    assert call.tool in verdict.reason
    assert verdict.rule == "default: deny"


@given(facts, policies)
def test_what_is_not_denied_was_granted_by_a_person(call: CallFacts, policy: Policy) -> None:
    if judge(call, policy).decision is not Decision.DENY:
        for each in (policy, *policy.within):
            if each.tools is not None and call.tool not in each.tools:
                assert any(name == "*" or call.tool.startswith(name.rstrip("*")) for name in each.tools if "*" in name)
                assert call.effect is not Effect.IRREVERSIBLE
                assert not call.outward or call.recipient is not None or call.hosts


@given(facts, policies)
def test_a_wildcard_never_covers_what_cannot_be_undone(call: CallFacts, policy: Policy) -> None:
    assume(policy.tools is not None and call.tool not in policy.tools)
    irreversible = CallFacts(tool=call.tool, effect=Effect.IRREVERSIBLE, arguments=call.arguments)
    assert judge(irreversible, policy).decision is Decision.DENY
    assert not is_visible(call.tool, Effect.IRREVERSIBLE, policy)


@given(facts, policies)
def test_a_model_is_shown_exactly_the_tools_that_are_not_denied_for_their_name(call: CallFacts, policy: Policy) -> None:
    visible = is_visible(call.tool, call.effect, policy, unaddressed=call.outward)
    anyone = CallFacts(tool=call.tool, effect=call.effect, arguments=call.arguments, outward=call.outward)
    assert visible == (judge(anyone, policy).decision is not Decision.DENY)


@given(facts, policies)
def test_a_recipient_that_is_not_declared_is_never_reached(call: CallFacts, policy: Policy) -> None:
    assume(call.recipient is not None)
    if judge(call, policy).decision is not Decision.DENY:
        for each in (policy, *policy.within):
            assert each.recipients is None or matches_recipient(str(call.recipient), each.recipients)


@given(facts, policies, gates)
def test_another_gate_never_allows_more(call: CallFacts, policy: Policy, gate: Gate) -> None:
    gated = replace(policy, gates=(*policy.gates, gate))
    assert strictness(judge(call, gated)) >= strictness(judge(call, policy))


@given(facts, policies)
def test_fewer_tools_never_allow_more(call: CallFacts, policy: Policy) -> None:
    fewer = replace(policy, tools=policy.tools[1:] if policy.tools else ())
    assert strictness(judge(call, fewer)) >= strictness(judge(call, policy))


@given(facts, policies, st.sampled_from([Effect.READ, Effect.IDEMPOTENT, Effect.REVERSIBLE]))
def test_every_verdict_gives_a_reason_and_a_rule(call: CallFacts, policy: Policy, effect: Effect) -> None:
    verdict = judge(CallFacts(tool=call.tool, effect=effect, recipient=call.recipient), policy)
    assert verdict.reason
    assert verdict.rule
    assert (verdict.expires_s > 0) == (verdict.decision is Decision.ASK)


@given(facts, policies, policies)
def test_the_stricter_of_two_verdicts_is_the_one_that_allows_less(call: CallFacts, one: Policy, other: Policy) -> None:
    first, second = judge(call, one), judge(call, other)
    chosen = stricter(first, second)
    assert chosen in (first, second)
    assert strictness(chosen) == max(strictness(first), strictness(second))
    assert strictness(stricter(second, first)) == strictness(chosen)
    if strictness(first) == strictness(second):
        assert chosen is first


@given(facts)
def test_a_gate_whose_condition_cannot_be_evaluated_holds(call: CallFacts) -> None:
    gate = Gate(when=raises, when_text="args.to == 'x'", place="AGENTS.md:7", expires_s=60.0)
    policy = Policy(agent="triage", tools=(call.tool,), gates=(gate,), recipients=("*",), network=None)
    call = replace(call, stopped="", refusal="", budget_left_usd_micros=None)
    assert judge(call, policy) == Verdict(
        decision=Decision.ASK, reason="a gate asks when args.to == 'x'", rule="AGENTS.md:7", gate=gate
    )
    assert judge(call, policy).expires_s == 60.0


def test_a_tool_that_acts_on_nothing_but_the_turn_needs_no_grant() -> None:
    finish = CallFacts(tool="finish", effect=Effect.READ, always_allowed=True)
    assert judge(finish, Policy(agent="triage")).decision is Decision.ALLOW


def test_what_cannot_be_undone_asks_unless_a_person_switched_the_gate_off() -> None:
    asked = judge(send(), SENDER)
    assert (asked.decision, asked.rule, asked.reason) == (
        Decision.ASK,
        DEFAULT_GATES["irreversible"].place,
        "message.send is irreversible",
    )
    off = Policy(agent="billing", tools=SENDER.tools, recipients=SENDER.recipients, gates=())
    assert judge(send(), off).decision is Decision.ALLOW


def test_what_stays_inside_the_fleet_passes_a_gate_on_effects_but_not_one_on_the_tool() -> None:
    to_operator = send(recipient="operator", outward=False, harmless=True)
    assert judge(to_operator, SENDER).decision is Decision.ALLOW
    gate = Gate(tool="message.send", place="AGENTS.md:3")
    policy = Policy(agent="billing", tools=SENDER.tools, recipients=SENDER.recipients, gates=(gate,))
    verdict = judge(to_operator, policy)
    assert (verdict.decision, verdict.reason) == (Decision.ASK, "a gate asks about message.send")


def test_a_gate_holds_only_where_each_of_its_parts_matches() -> None:
    gate = Gate(tool="files.*", effect=Effect.REVERSIBLE, when=is_big, when_text="args.size > 10")
    policy = Policy(agent="triage", tools=("*",), gates=(gate,))

    def decision(tool: str, effect: Effect, size: int) -> Decision:
        return judge(CallFacts(tool=tool, effect=effect, arguments={"size": size}), policy).decision

    assert decision("files.delete", Effect.REVERSIBLE, 11) is Decision.ASK
    assert decision("files.delete", Effect.REVERSIBLE, 10) is Decision.ALLOW
    assert decision("files.write", Effect.IDEMPOTENT, 11) is Decision.ALLOW
    assert decision("tasks.create", Effect.REVERSIBLE, 11) is Decision.ALLOW


def test_a_condition_sees_the_arguments_and_who_stands_behind_the_call() -> None:
    seen: list[Mapping[str, Any]] = []

    def when(variables: Mapping[str, Any]) -> bool:
        seen.append(variables)
        return False

    policy = Policy(agent="billing", tools=("message.send",), gates=(Gate(when=when),), recipients=("*",))
    when_at = parse_instant("2026-03-01T23:30", zone="Europe/Zurich")
    more = {"cost_usd_micros": 500_000, "private": True, "now": when_at, "timezone": "Europe/Zurich"}
    judge(send(arguments={"to": "mail:ann@example.com"}, requester="ann", trust=Trust.EXTERNAL, **more), policy)
    assert seen == [
        {
            "args": {"to": "mail:ann@example.com"},
            "tool": "message.send",
            "effect": "irreversible",
            "outward": True,
            "harmless": False,
            "recipient": "mail:ann@example.com",
            "hosts": [],
            "cost": 0.5,
            "requester": "ann",
            "trust": "external",
            "tainted": True,
            "private": True,
            "remembers": False,
            "now": "2026-03-01T23:30",
            "hour": 23,
            "weekday": "SUN",
        }
    ]


def test_the_first_gate_that_holds_gives_the_reason() -> None:
    policy = Policy(
        agent="billing",
        tools=("message.send",),
        recipients=("*",),
        gates=(Gate(when=lambda _: False, place="a"), Gate(place="b"), Gate(place="c")),
    )
    assert judge(send(), policy).rule == "b"


@pytest.mark.parametrize(
    ("recipient", "covered"),
    [
        ("operator", True),
        ("OPERATOR", True),
        ("mail:ann@example.com", True),
        ("mail:ANN@EXAMPLE.COM", True),
        ("mail:ann@example.com.evil.org", False),
        ("mail:ann@example.org", False),
        ("mail:ann@sub.example.com", False),
        ("mail:ann@notexample.com", False),
        ("operators", False),
        ("", False),
        ("*", False),
    ],
)
def test_a_declared_recipient_covers_what_it_says_and_no_more(recipient: str, covered: bool) -> None:
    assert matches_recipient(recipient, ("operator", "mail:*@example.com")) is covered


def test_a_refused_recipient_is_told_which_ones_there_are() -> None:
    verdict = judge(send(recipient="mail:eve@example.org"), SENDER)
    assert verdict.decision is Decision.DENY
    assert "'mail:eve@example.org'" in verdict.reason
    assert "operator, mail:*@example.com" in verdict.reason
    nobody = judge(send(), Policy(agent="billing", tools=("message.send",)))
    assert "recipients: none" in nobody.reason


def test_a_tool_by_its_own_name_is_granted_whatever_its_effect() -> None:
    policy = Policy(agent="triage", tools=("files.delete", "files.*"), gates=())
    for effect in Effect:
        verdict = judge(CallFacts(tool="files.delete", effect=effect), policy)
        assert (verdict.decision, verdict.reason) == (Decision.ALLOW, "granted by 'files.delete'")
    assert judge(CallFacts(tool="files.read", effect=Effect.READ), policy).reason == "granted by 'files.*'"


# --- several policies at once ---


@given(facts, policies, policies, permissions)
def test_an_intersection_never_allows_more_than_either(
    call: CallFacts, one: Policy, other: Policy, leave: list[Permission]
) -> None:
    both = judge(call, intersect(one, other), leave)
    first, second = judge(call, one, leave), judge(call, other, leave)
    assert strictness(both) == max(strictness(first), strictness(second))
    assert both in (first, second)
    assert strictness(judge(call, intersect(other, one), leave)) == strictness(both)


@given(facts, policies, policies, policies)
def test_intersections_can_be_made_in_any_order(call: CallFacts, one: Policy, other: Policy, third: Policy) -> None:
    left, right = intersect(intersect(one, other), third), intersect(one, intersect(other, third))
    assert strictness(judge(call, left)) == strictness(judge(call, right))
    assert strictness(judge(call, intersect(one, one))) == strictness(judge(call, one))


@given(facts, policies, policies)
def test_a_model_is_shown_no_tool_that_a_bound_hides(call: CallFacts, one: Policy, other: Policy) -> None:
    seen = is_visible(call.tool, call.effect, intersect(one, other))
    assert seen == (is_visible(call.tool, call.effect, one) and is_visible(call.tool, call.effect, other))


@given(facts, policies, permissions)
def test_a_standing_permission_never_lifts_a_denial(call: CallFacts, policy: Policy, leave: list[Permission]) -> None:
    with_it, without = judge(call, policy, leave), judge(call, policy)
    assert strictness(with_it) <= strictness(without)
    assert (with_it.decision is Decision.DENY) == (without.decision is Decision.DENY)


@given(facts, policies)
def test_nothing_is_done_in_what_a_person_has_halted(call: CallFacts, policy: Policy) -> None:
    verdict = judge(replace(call, stopped="the fleet is halted by ann", always_allowed=True), policy)
    assert (verdict.decision, verdict.reason, verdict.rule) == (Decision.DENY, "the fleet is halted by ann", "stop")


@given(facts, policies)
def test_no_undeclared_host_is_reached_and_no_file_outside_the_rules(call: CallFacts, policy: Policy) -> None:
    if judge(call, policy).decision is not Decision.DENY:
        for each in (policy, *policy.within):
            assert each.network is None or not call.hosts or each.network
            assert each.files is None or not {"../up", ".env"} & {*call.reads, *call.writes}
            assert each.files is None or "TOOLS.md" not in call.writes
            assert each.files is None or not call.writes or each.files.write


def test_of_two_gates_the_one_that_asks_further_up_speaks() -> None:
    own, fleets = Gate(place="AGENTS.md:3"), Gate(ask=ADMIN, place="ostinato.toml:9")
    policy = Policy(agent="billing", tools=("message.send",), gates=(own,), recipients=("*",))
    bound = Policy(agent="fleet", tools=None, gates=(fleets,), recipients=None, network=None)
    assert judge(send(), policy).rule == "AGENTS.md:3"
    assert judge(send(), intersect(policy, bound)).rule == "ostinato.toml:9"
    assert judge(send(), replace(policy, gates=(own, replace(own, ask="ann"), fleets))).rule == "ostinato.toml:9"
    assert judge(send(), replace(policy, gates=(own, replace(own, ask="ann", place="x")))).rule == "x"


# --- each rule says where it stands ---

PLACED = Policy(
    agent="billing",
    tools=("http.*", "files.*", "exec.run", "chat.*"),
    denied=("files.delete",),
    gates=(),
    network=("api.example.com",),
    files=FileRules(read=("notes",), write=("notes/out",)),
    places={"allow": "T:2", "allow http.*": "T:3", "deny files.delete": "T:4", "network": "T:5", "recipients": "T:6",
            "files": "T:7", "exec": "T:8"},
)  # fmt: skip
READ = Effect.READ


@pytest.mark.parametrize(
    ("call", "rule", "words"),
    [
        (CallFacts(tool="shell", effect=READ), "T:2", "shell is not among the tools that TOOLS.md allows"),
        (CallFacts(tool="http.post", effect=Effect.IRREVERSIBLE), "T:2", "'http.*' does not cover: allow it by its"),
        (CallFacts(tool="chat.say", effect=READ, outward=True), "T:2", "is seen outside by nobody who is declared"),
        (CallFacts(tool="files.delete", effect=READ), "T:4", "files.delete is denied by 'files.delete'"),
        (CallFacts(tool="http.get", effect=READ, hosts=("a.test",)), "T:5", "'a.test' is not a declared host"),
        (CallFacts(tool="http.get", effect=READ, hosts=("api.example.com", "x")), "T:5", "network: api.example.com)"),
        (CallFacts(tool="http.get", effect=READ, recipient="mail:x@y"), "T:6", "recipients: none"),
        (CallFacts(tool="files.read", effect=READ, reads=("a.md",)), "T:7", "a.md is outside what you may read"),
        (CallFacts(tool="files.read", effect=READ, reads=("notes/../a",)), "T:7", "leads upwards"),
        (CallFacts(tool="files.list", effect=READ, reads=("other/",)), "T:7", "outside what you may read"),
        (CallFacts(tool="files.write", effect=READ, writes=("notes/a.md",)), "T:7", "outside what you may write"),
        (CallFacts(tool="exec.run", effect=READ, refusal="no such command"), "T:8", "no such command"),
        (CallFacts(tool="http.get", effect=READ, cost_usd_micros=2_000_000, budget_left_usd_micros=1_500_000), "budget",
         "http.get may cost $2.00, and $1.50 of today's budget is left"),
        (CallFacts(tool="http.get", effect=READ, cost_usd_micros=1, budget_left_usd_micros=-9), "budget", "$0.00 of"),
    ],
)  # fmt: skip
def test_a_denial_says_why_and_where_its_rule_stands(call: CallFacts, rule: str, words: str) -> None:
    verdict = judge(call, PLACED)
    assert (verdict.decision, verdict.rule) == (Decision.DENY, rule)
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (CallFacts(tool="http.get", effect=READ, hosts=("api.example.com",)), "T:3"),
        (CallFacts(tool="files.read", effect=READ, reads=("notes/a.md",)), "T:2"),
        (CallFacts(tool="files.list", effect=READ, reads=("./",)), "T:2"),
        (CallFacts(tool="files.search", effect=READ, reads=("notes/x/",)), "T:2"),
        (CallFacts(tool="files.write", effect=READ, writes=("notes/out/a",)), "T:2"),
        (CallFacts(tool="http.get", effect=READ, cost_usd_micros=5, budget_left_usd_micros=5), "T:3"),
    ],
)  # fmt: skip
def test_a_grant_says_where_it_stands(call: CallFacts, rule: str) -> None:
    verdict = judge(call, PLACED)
    assert (verdict.decision, verdict.rule) == (Decision.ALLOW, rule)


def test_rules_that_nobody_wrote_have_names() -> None:
    bare = Policy(agent="x", tools=("a", "exec.run"), gates=())
    assert judge(CallFacts(tool="a", effect=READ), bare).rule == "allow"
    assert judge(CallFacts(tool="a", effect=READ, hosts=("b",)), bare).rule == "network"
    assert "network: none" in judge(CallFacts(tool="a", effect=READ, hosts=("b",)), bare).reason
    refused = judge(CallFacts(tool="exec.run", effect=READ, refusal="no"), bare)
    assert refused.rule == "TOOLS.md, for exec.run"
    unbound = Policy(agent="x", tools=None, gates=(), denied=("z.*",))
    assert judge(CallFacts(tool="a", effect=Effect.IRREVERSIBLE), unbound).reason == "granted by '*'"
    assert judge(CallFacts(tool="z.a", effect=READ), unbound).rule == "deny"
    assert judge(CallFacts(tool="a", effect=READ, always_allowed=True), bare).rule == "built in"


# --- the gates that every agent has ---


@pytest.mark.parametrize(
    ("gate", "more"),
    [
        ("outward", {"outward": True}),
        ("cost", {"cost_usd_micros": 1_000_001}),
        ("taint", {"trust": Trust.EXTERNAL, "outward": True, "recipient": "operator", "private": True}),
        ("taint", {"trust": Trust.EXTERNAL, "outward": True, "recipient": "operator", "remembers": True}),
        ("taint", {"trust": Trust.EXTERNAL, "hosts": ("h",), "private": True}),
        ("irreversible", {"effect": Effect.IRREVERSIBLE}),
    ],
)
def test_a_default_gate_asks_until_it_is_switched_off(gate: str, more: dict[str, Any]) -> None:
    call = CallFacts(**{"tool": "t", "effect": READ, **more})
    every = tuple(DEFAULT_GATES.values())
    policy = Policy(agent="a", tools=("t",), gates=every, recipients=None, network=None)
    verdict = judge(call, policy)
    assert (verdict.decision, verdict.rule) == (Decision.ASK, f"default gate '{gate}' (AGENTS.md, gates_off)")
    assert verdict.reason.startswith("t ")
    off = replace(policy, gates=tuple(each for each in every if each.name != gate))
    assert judge(call, off).decision is Decision.ALLOW


@pytest.mark.parametrize(
    "more",
    [
        {"outward": True, "recipient": "operator"},
        {"outward": True, "hosts": ("h",)},
        {"cost_usd_micros": 1_000_000},
        {"trust": Trust.AGENT, "outward": True, "recipient": "operator", "private": True, "remembers": True},
        {"trust": Trust.EXTERNAL, "outward": True, "recipient": "operator"},
        {"trust": Trust.EXTERNAL, "private": True, "remembers": True},
        {"trust": Trust.EXTERNAL, "hosts": ("h",), "remembers": True},
        {"effect": Effect.IRREVERSIBLE, "harmless": True},
        {"effect": Effect.REVERSIBLE},
    ],
)
def test_no_default_gate_asks_about_the_rest(more: dict[str, Any]) -> None:
    call = CallFacts(**{"tool": "t", "effect": READ, **more})
    assert judge(call, Policy(agent="a", tools=("t",), recipients=None, network=None)).decision is Decision.ALLOW


def test_what_an_agent_remembers_is_not_rewritten_by_strangers() -> None:
    policy = Policy(agent="a", tools=("memory.curate", "memory.note"))
    outside = {"effect": Effect.IDEMPOTENT, "trust": Trust.EXTERNAL}
    verdict = judge(CallFacts(tool="memory.curate", **outside), policy)
    assert (verdict.decision, verdict.gate and verdict.gate.name) == (Decision.ASK, "memory")
    assert judge(CallFacts(tool="memory.note", **outside), policy).decision is Decision.ALLOW
    assert judge(CallFacts(tool="memory.curate", effect=Effect.IDEMPOTENT), policy).decision is Decision.ALLOW


def test_a_gate_is_the_same_gate_wherever_it_stands() -> None:
    gate = Gate(tool="files.*", effect=READ, when=is_big, when_text="args.size > 10", place="AGENTS.md:4")
    assert gate.identity == "files.* read args.size > 10" == replace(gate, place="AGENTS.md:9").identity
    assert Gate(tool="files.*").identity == "files.* *"
    assert DEFAULT_GATES["taint"].identity == "taint"


def test_a_permission_answers_the_gate_that_it_was_given_for_and_no_other() -> None:
    leave = Permission(
        agent="billing", tool="message.send", gate="irreversible", by="ann", question=3, id=7, added_at=0
    )
    allowed = judge(send(), SENDER, [leave])
    assert (allowed.decision, allowed.rule, allowed.reason) == (
        Decision.ALLOW,
        "P7",
        "ann allows this for good (P7)",
    )
    tainted = judge(send(trust=Trust.EXTERNAL, private=True), SENDER, [leave])
    assert (tainted.decision, tainted.gate and tainted.gate.name) == (Decision.ASK, "taint")
    other = replace(leave, gate="cost")
    assert judge(send(), SENDER, [other, leave]).decision is Decision.ALLOW
    assert judge(send(), SENDER, [other]).decision is Decision.ASK


def test_a_pattern_covers_an_outward_tool_only_where_somebody_is_named_whom_it_reaches() -> None:
    policy = Policy(agent="a", tools=("web.*",), network=("known.test",), recipients=("ann",))
    facts = CallFacts(tool="web.tell", effect=Effect.READ, outward=True)
    assert granted_by(facts, policy) is None
    assert granted_by(replace(facts, outward=False), policy) == "web.*"
    for named in ({"hosts": ("known.test",)}, {"reaches": ("search.test",)}, {"recipient": "ann"}):
        assert granted_by(replace(facts, **named), policy) == "web.*"
    assert granted_by(replace(facts, reaches=("search.test",), effect=Effect.IRREVERSIBLE), policy) is None


def test_a_host_is_reached_where_every_policy_that_must_agree_declares_it() -> None:
    one, other = Policy(agent="a", network=("x.test", "y.test")), Policy(agent="*", network=("y.test",))
    assert reaches("x.test", one)
    assert not reaches("z.test", one)
    assert not reaches("x.test", intersect(one, other))
    assert reaches("y.test", intersect(one, other))
    assert reaches("x.test", intersect(one, Policy(agent="*", network=None)))
    assert not reaches("x.test", intersect(Policy(agent="*", network=None), one, other))
