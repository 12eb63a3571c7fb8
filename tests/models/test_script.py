"""What a script answers: rules in order, conditions, items, captures, counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.chat import StopReason, Usage
from ostinato.models.scripted.player import REMEMBERED_MAX, Player
from ostinato.models.scripted.reading import parse_script
from ostinato.models.scripted.script import FaultKind, Plan, Result, Seen, plan


def answer(script: str, seen: Seen | str = "hello", **counts: int) -> Plan:
    seen = Seen(model="m", user=(seen,), asked=(seen,)) if isinstance(seen, str) else seen
    return plan(parse_script(script), seen, counts)


def arguments(found: Plan) -> list[Any]:
    return [json.loads(call.arguments) for call in found.calls]


def test_the_first_rule_that_holds_answers() -> None:
    script = """
    rules:
      - {when: {user: bye}, text: one}
      - {when: {user: hel+o}, text: two}
      - {text: three}
    """
    assert answer(script).text == "two"
    assert answer(script, "what").text == "three"
    assert answer(script).rule == "2"


def test_what_no_rule_knows_is_the_defaults_or_an_error_that_quotes_it() -> None:
    rules = "rules: [{when: {user: bye}, text: one}]"
    assert answer(f"{rules}\ndefault: {{text: 'what is {{user}}?'}}").text == "what is hello?"
    found = answer(rules, "Have you seen\nmy dog?")
    assert found.fault is not None
    assert found.fault.status == 422
    assert "no rule of script matches the last message" in found.fault.body
    assert "Have you seen my dog?" in found.fault.body
    found = answer(rules, Seen(model="m", results=(Result(tool="files__read", text="oh"),)))
    assert found.fault is not None
    assert "the result of files__read" in found.fault.body


NEW_RESULT = Seen(
    model="cheap",
    system="You are triage.",
    asked=("sort it",),
    results=(Result(tool="files__read", text="Subject: refund"), Result(tool="ask", text="yes")),
    offered=frozenset({"files__read", "ask", "finish"}),
    called=frozenset({"files__read", "ask", "tasks__create"}),
    called_now=frozenset({"files__read", "ask"}),
    call=2,
    attempt=2,
)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{}", True),
        ("{user: ''}", False),
        ("{asked: sort}", True),
        ("{asked: other}", False),
        ("{result: refund}", True),
        ("{result: 'refund$'}", True),
        ("{result: nothing}", False),
        ("{tool: files.read}", True),
        ("{tool: files__read}", True),
        ("{tool: finish}", False),
        ("{tool: files.read, result: refund}", True),
        ("{tool: ask, result: refund}", False),
        ("{system: '^You are triage'}", True),
        ("{system: billing}", False),
        ("{model: cheap}", True),
        ("{model: strong}", False),
        ("{offered: finish}", True),
        ("{offered: [files.read, ask]}", True),
        ("{offered: [files.read, exec.run]}", False),
        ("{called: tasks.create}", True),
        ("{called: [files.read, message.send]}", False),
        ("{not_called: message.send}", True),
        ("{not_called: [message.send, ask]}", False),
        ("{called_now: files.read}", True),
        ("{called_now: tasks.create}", False),
        ("{not_called_now: tasks.create}", True),
        ("{not_called_now: ask}", False),
        ("{call: 2}", True),
        ("{call: [1, 3]}", False),
        ("{call: '2+'}", True),
        ("{attempt: 1}", False),
        ("{attempt: '2+'}", True),
        ("{nth: 3}", True),
        ("{nth: 1}", False),
        ("{nth: '3+'}", True),
    ],
)
def test_each_condition_holds_where_it_should(when: str, holds: bool) -> None:
    script = f"rules:\n- {{name: r, when: {when}, text: yes}}\ndefault: {{text: no}}"
    assert answer(script, NEW_RESULT, r=2).text == ("yes" if holds else "no")
    script = f"rules:\n- {{name: r, unless: {when}, text: yes}}\ndefault: {{text: no}}"
    if "nth" not in when:
        assert answer(script, NEW_RESULT).text == ("no" if holds else "yes")


def test_captures_fill_texts_and_arguments() -> None:
    found = answer(
        r"""
        rules:
          - when: {user: 'invoice (?P<number>SB-\d+)(?P<rest> again)?', system: '(?P<who>\w+)$'}
            text: "{who}: {number}{rest}"
            calls:
              - {tool: tasks.create, args: {goal: "Look at {number}", n: "{number|int}", tags: [a, "{who}"]}}
        """,
        Seen(model="m", system="You are Ann", user=("one", "about invoice SB-7 now"), asked=("x",)),
    )
    assert found.text == "Ann: SB-7"
    assert found.calls[0].tool == "tasks__create"
    assert arguments(found) == [{"goal": "Look at SB-7", "n": -7, "tags": ["a", "Ann"]}]
    assert found.stop is StopReason.TOOLS


def test_the_result_that_matched_is_the_one_that_is_shown() -> None:
    assert answer("rules: [{when: {result: refund}, text: '{tool} {result}'}]", NEW_RESULT).text == (
        "files__read Subject: refund"
    )
    assert answer("rules: [{text: '{tool} {result}'}]", NEW_RESULT).text == "ask yes"


TRIAGE = r"""
rules:
  - name: sort
    for_each: {in: result, tool: files.read}
    choose:
      - {name: money, when: {item: '(?i)refund'}, calls: [{tool: tasks.create, args: {goal: "{item|header:Subject}"}}]}
      - {name: news, when: {item: unsubscribe}, text: "{number} is news"}
    else:
      calls: [{tool: ask, args: {question: "{number}: {item}"}}]
"""


def test_each_item_gets_its_own_answer_and_none_is_lost() -> None:
    mails = ["Subject: Refund!", "unsubscribe here", "a dog", "Subject: no Refund"]
    found = answer(TRIAGE, Seen(model="m", results=tuple(Result(tool="files__read", text=each) for each in mails)))
    assert found.text == "2 is news"
    assert [call.tool for call in found.calls] == ["tasks__create", "ask", "tasks__create"]
    assert arguments(found) == [{"goal": "Refund!"}, {"question": "3: a dog"}, {"goal": "no Refund"}]
    assert found.rule == "sort/money, sort/news, sort/else"


@pytest.mark.slow
@given(st.lists(st.sampled_from(["Refund", "unsubscribe", "a dog"]), min_size=1, max_size=40))
def test_as_many_answers_as_items(mails: list[str]) -> None:
    found = answer(TRIAGE, Seen(model="m", results=tuple(Result(tool="files__read", text=each) for each in mails)))
    assert len(found.calls) + found.text.count("is news") == len(mails)


def test_matches_are_items_too_and_without_any_the_rule_does_not_hold() -> None:
    script = r"""
    rules:
      - for_each: {in: user, match: 'inbox/(?P<file>[\w.]+)'}
        calls: [{tool: files.read, args: {path: "{item}", name: "{file}", n: "{number|int}"}}]
    default: {text: nothing}
    """
    found = answer(script, "inbox/a.eml and inbox/b.eml")
    assert arguments(found) == [
        {"path": "inbox/a.eml", "name": "a.eml", "n": 1},
        {"path": "inbox/b.eml", "name": "b.eml", "n": 2},
    ]
    assert answer(script, "no files").text == "nothing"


def test_items_within_items() -> None:
    script = r"""
    rules:
      - for_each: {in: asked}
        choose:
          - for_each: {in: item, match: '\d'}
            text: "{item}"
        else: {text: none}
    """
    assert answer(script, Seen(model="m", asked=("a1b2", "c"))).text == "1\n\n2\n\nnone"


def test_rules_can_share_conditions() -> None:
    script = """
    rules:
      - when: {user: 'from (?P<who>\\w+)'}
        choose:
          - {when: {user: mail}, text: "mail of {who}"}
      - {text: other}
    """
    assert answer(script, "mail from Ann").text == "mail of Ann"
    assert answer(script, "call from Ann").text == "other"


def test_usage_is_the_rules_else_a_token_for_four_bytes() -> None:
    assert answer("rules: [{text: a, usage: {input: 9, cached: 4, output: 2}}]").usage == Usage(
        input_tokens=9, cached_tokens=4, output_tokens=2
    )
    found = answer("rules: [{text: 'ÄÄÄÄ'}]", Seen(model="m", prompt_bytes=41))
    assert found.usage == Usage(input_tokens=11, output_tokens=2)


def test_options_of_the_reply_are_taken_over() -> None:
    found = answer("delay: 3s\nrules: [{text: a, stop: length, pace: 10ms, fault: truncate}]")
    assert (found.stop, found.delay_s, found.pace_s) == (StopReason.LENGTH, 3.0, 0.01)
    assert found.fault is not None
    assert found.fault.kind is FaultKind.TRUNCATE
    assert answer("delay: 3s\nrules: [{text: a, delay: 0}]").delay_s == 0.0


def test_raw_arguments_are_sent_as_they_are() -> None:
    found = answer("""rules: [{calls: [{tool: a, raw: '{"x": {user'}, {tool: b}]}]""")
    assert [call.arguments for call in found.calls] == ['{"x": {user', "{}"]


def test_every_key_of_a_script_is_understood() -> None:
    script = parse_script((Path(__file__).parent / "all_keys.yaml").read_text())
    seen = Seen(
        model="m",
        system="You are Ann",
        user=("mail 7 and mail 8",),
        asked=("mail",),
        offered=frozenset({"files__read", "ask"}),
    )
    found = plan(script, seen, {})
    assert found.text == "Ann has mail 7 7"
    assert json.loads(found.calls[0].arguments) == {"path": "a/7", "list": [1, "mail 7", None, True, 1.5]}
    assert found.fault is not None
    assert found.counted == ("sort",)


# --- memory -------------------------------------------------------------------------------------------------------


def body(text: str = "hello", **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


def test_times_are_counted_by_rule_and_by_message() -> None:
    script = """
    rules:
      - {name: first, when: {user: hello, nth: 1}, text: "first {nth}"}
      - {name: again, when: {attempt: '2+'}, text: "attempt {attempt}"}
      - {name: later, when: {user: hello, nth: '1+'}, text: "later {nth}"}
    default: {text: other}
    """
    player = Player(parse_script(script))
    said = [player.answer(body(each), created=0).plan.text for each in ("hello", "x", "hello", "hello 2", "hello 3")]
    assert said == ["first 1", "other", "attempt 2", "later 1", "later 2"]


def test_the_same_messages_have_the_same_digest_whatever_else_is_asked() -> None:
    player = Player(parse_script("default: {text: a}"))
    one = player.answer(body(stream=True), created=0)
    other = player.answer(body(stream=False, temperature=1), created=0)
    assert (one.digest, one.attempt, other.attempt) == (other.digest, 1, 2)
    assert REMEMBERED_MAX > 0


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=10)), max_size=8))
def test_no_conversation_is_an_accident(messages: list[tuple[str, str]]) -> None:
    player = Player(parse_script((Path(__file__).parent / "all_keys.yaml").read_text()))
    sent = {"model": "m", "messages": [{"role": role, "content": text} for role, text in messages]}
    player.answer(json.dumps(sent).encode(), created=0)
