"""Laws of the gate: deny by default, no wildcard over what cannot be undone, and a broken condition holds.

Knows nothing of where a policy was read from; conditions are plain functions here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ostinato.domain.policy import (
    DEFAULT_GATE,
    CallFacts,
    Gate,
    Policy,
    Verdict,
    is_visible,
    judge,
    matches_recipient,
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
    place=st.sampled_from(["AGENTS.md:4", "AGENTS.md:9"]),
)
facts = st.builds(
    CallFacts,
    tool=st.sampled_from(NAMES),
    effect=st.sampled_from(Effect),
    arguments=st.dictionaries(st.sampled_from(["size", "to"]), st.integers(0, 20)),
    outward=st.booleans(),
    recipient=st.none() | st.sampled_from(["operator", "mail:a@example.com", "mail:b@example.org"]),
    trust=st.sampled_from(Trust),
    always_allowed=st.just(value=False),
    harmless=st.booleans(),
)
policies = st.builds(
    Policy,
    agent=st.just("triage"),
    tools=st.lists(st.sampled_from([*NAMES, "*", "files.*", "message.*", "m*"]), max_size=4).map(tuple),
    gates=st.lists(gates, max_size=4).map(tuple),
    recipients=st.lists(st.sampled_from(["operator", "mail:*@example.com", "*"]), max_size=2).map(tuple),
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
    verdict = judge(call, Policy(agent="triage", recipients=("*",)))
    assert verdict.decision is Decision.DENY
    assert call.tool in verdict.reason
    assert verdict.rule == "default: deny"


@given(facts, policies)
def test_what_is_not_denied_was_granted_by_a_person(call: CallFacts, policy: Policy) -> None:
    if judge(call, policy).decision is not Decision.DENY:
        by_name = call.tool in policy.tools
        by_pattern = any(each == "*" or call.tool.startswith(each.rstrip("*")) for each in policy.tools if "*" in each)
        assert by_name or (by_pattern and call.effect is not Effect.IRREVERSIBLE)


@given(facts, policies)
def test_a_wildcard_never_covers_what_cannot_be_undone(call: CallFacts, policy: Policy) -> None:
    assume(call.tool not in policy.tools)
    irreversible = CallFacts(tool=call.tool, effect=Effect.IRREVERSIBLE, arguments=call.arguments)
    assert judge(irreversible, policy).decision is Decision.DENY
    assert not is_visible(call.tool, Effect.IRREVERSIBLE, policy)


@given(facts, policies)
def test_a_model_is_shown_exactly_the_tools_that_are_not_denied_for_their_name(call: CallFacts, policy: Policy) -> None:
    visible = is_visible(call.tool, call.effect, policy)
    anyone = CallFacts(tool=call.tool, effect=call.effect, arguments=call.arguments)
    assert visible == (judge(anyone, policy).decision is not Decision.DENY)


@given(facts, policies)
def test_a_recipient_that_is_not_declared_is_never_reached(call: CallFacts, policy: Policy) -> None:
    assume(call.recipient is not None)
    if judge(call, policy).decision is not Decision.DENY:
        assert matches_recipient(str(call.recipient), policy.recipients)


@given(facts, policies, gates)
def test_another_gate_never_allows_more(call: CallFacts, policy: Policy, gate: Gate) -> None:
    gated = Policy(agent=policy.agent, tools=policy.tools, recipients=policy.recipients, gates=(*policy.gates, gate))
    assert strictness(judge(call, gated)) >= strictness(judge(call, policy))


@given(facts, policies)
def test_fewer_tools_never_allow_more(call: CallFacts, policy: Policy) -> None:
    fewer = Policy(agent=policy.agent, tools=policy.tools[1:], recipients=policy.recipients, gates=policy.gates)
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
    policy = Policy(agent="triage", tools=(call.tool,), gates=(gate,), recipients=("*",))
    assert judge(call, policy) == Verdict(
        decision=Decision.ASK, reason="a gate asks when args.to == 'x'", rule="AGENTS.md:7", expires_s=60.0
    )


def test_a_tool_that_acts_on_nothing_but_the_turn_needs_no_grant() -> None:
    finish = CallFacts(tool="finish", effect=Effect.READ, always_allowed=True)
    assert judge(finish, Policy(agent="triage")).decision is Decision.ALLOW


def test_what_cannot_be_undone_asks_unless_a_person_switched_the_gate_off() -> None:
    asked = judge(send(), SENDER)
    assert (asked.decision, asked.rule, asked.reason) == (
        Decision.ASK,
        DEFAULT_GATE.place,
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
    judge(send(arguments={"to": "mail:ann@example.com"}, requester="ann", trust=Trust.EXTERNAL), policy)
    assert seen == [
        {
            "args": {"to": "mail:ann@example.com"},
            "tool": "message.send",
            "effect": "irreversible",
            "outward": True,
            "requester": "ann",
            "trust": "external",
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
