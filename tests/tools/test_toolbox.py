"""The box shows what is allowed, lets no hostile argument through, and turns every failure into a result.

Tools here are made on the spot, or the real ones.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.policy import Policy, judge
from ostinato.domain.step import Decision, Effect, ResultStatus, entry_to_json
from ostinato.domain.values import Trust, to_json
from ostinato.store.port import Tx
from ostinato.tools.port import (
    RESULT_BYTES_MAX,
    AnyTool,
    OutsideTool,
    StoreTool,
    ToolContext,
    ToolResult,
    TurnTool,
    capped,
    object_schema,
    text_schema,
)
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import ARGUMENTS_BYTES_MAX, Toolbox, perform, perform_in, usage
from tests.conftest import run
from tests.tools.desk import Desk

BOX = standard_toolbox()
CONTEXT = ToolContext(
    task=1, call_id="1.0", key="k", agent="a", session="s", workspace=Path(), now=0, policy=Policy(agent="a")
)


def check(name: str, arguments: object) -> str:
    """What is wrong with arguments of a real tool."""
    tool = BOX.get(name)
    assert tool is not None
    return BOX.check_arguments(tool, arguments)


def outside(act: Any, *, effect: Effect = Effect.READ, timeout_s: float = 5.0) -> OutsideTool:
    """A tool that acts like `act`."""
    return OutsideTool(
        name="x.try", description="Try.", parameters=object_schema(), effect=effect, act=act, timeout_s=timeout_s
    )


def test_a_bare_agent_is_shown_only_what_needs_no_grant() -> None:
    assert [spec.name for spec in BOX.specs(Policy(agent="bare"))] == ["finish", "ask"]


def test_an_agent_is_shown_exactly_what_it_may_use_in_a_fixed_order() -> None:
    names = [spec.name for spec in BOX.specs(Policy(agent="a", tools=("memory.*", "files.read", "*.send")))]
    assert names == ["finish", "ask", "files.read", "memory.read", "memory.search", "memory.note", "memory.curate"]


def test_the_specs_of_all_tools_together_stay_small() -> None:
    everything = Policy(agent="a", tools=("*", "message.send"))
    shown = BOX.specs(everything)
    sizes = {each.name: len(to_json(each)) for each in shown}
    assert max(sizes.values()) <= 750, sizes
    assert sum(sizes.values()) <= 250 * len(sizes), sizes
    assert len(to_json(BOX.specs(Policy(agent="bare")))) <= 450
    assert all(len(tool.description) <= 100 and "\n" not in tool.description for tool in BOX)


def test_a_model_is_not_told_bounds_that_only_the_check_needs() -> None:
    shown = next(spec for spec in BOX.specs(Policy(agent="a", tools=("message.send",))) if spec.name == "message.send")
    assert shown.parameters == {
        "type": "object",
        "properties": {"to": {"type": "string"}, "subject": {"type": "string"}, "text": {"type": "string"}},
        "required": ["to", "text"],
    }


def test_a_box_that_is_prepared_checks_as_before() -> None:
    box = standard_toolbox()
    box.prepare()
    tool = box.get("files.read")
    assert tool is not None
    assert (box.check_arguments(tool, {"path": "a"}), box.check_arguments(tool, {}) != "") == ("", True)


def test_two_tools_cannot_share_a_name() -> None:
    with pytest.raises(Invalid, match=r"x\.try"):
        Toolbox([outside(None), outside(None)])


def family(*names: str, schema: dict[str, Any] | None = None) -> tuple[AnyTool, ...]:
    """Tools of one maker."""

    async def act(context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(text="done")

    return tuple(
        OutsideTool(name=name, description="Try.", parameters=schema or object_schema(), effect=Effect.READ, act=act)
        for name in names
    )


def test_a_family_is_replaced_as_one_and_what_it_no_longer_has_cannot_be_called() -> None:
    box, policy = standard_toolbox(), Policy(agent="a", tools=("x.*",))
    before, generation = len(list(box)), box.generation
    box.put_family("x", family("x.one", "x.two"))
    assert [spec.name for spec in box.specs(policy)] == ["finish", "ask", "x.one", "x.two"]
    box.put_family("x", family("x.two", "x.three"), withheld={"x.one": "it has changed"})
    assert [spec.name for spec in box.specs(policy)] == ["finish", "ask", "x.two", "x.three"]
    with pytest.raises(Invalid, match="it has changed"):
        box.tool("x.one", policy)
    box.put_family("x", ())
    assert (len(list(box)), box.generation) == (before, generation + 3)
    with pytest.raises(Invalid, match="Unknown tool"):
        box.tool("x.one", policy)


def test_a_family_cannot_take_a_name_that_is_taken_and_then_stays_as_it_was() -> None:
    box = standard_toolbox()
    box.put_family("x", family("x.one"))
    with pytest.raises(Invalid, match=r"files\.read"):
        box.put_family("x", family("x.two", "files.read"))
    assert box.get("x.one") is not None
    assert box.get("x.two") is None


def test_a_tool_that_comes_anew_under_its_name_is_checked_by_its_new_schema() -> None:
    box = standard_toolbox()
    for required in ("a", "b"):
        box.put_family("x", family("x.one", schema=object_schema(required, **{required: text_schema()})))
        tool = box.get("x.one")
        assert tool is not None
        assert box.check_arguments(tool, {required: "text"}) == ""
        assert box.check_arguments(tool, {"c": "text"}) != ""


def test_an_unknown_tool_is_told_with_the_ones_that_this_agent_has() -> None:
    with pytest.raises(Invalid, match=r"'files\.raed'.*'files\.read'.*Did you mean 'files\.read'") as caught:
        BOX.tool("files.raed", Policy(agent="a", tools=("files.read",)))
    assert "message.send" not in str(caught.value)
    with pytest.raises(Invalid) as caught:
        BOX.tool("x" * 10**6, Policy(agent="a"))
    assert len(str(caught.value)) < 600


def test_wrong_arguments_are_told_with_the_right_form() -> None:
    said = check("files.read", {"pth": "a.md", "from": 0})
    assert '"path" is a required property' in said
    assert "'pth' was unexpected" in said
    assert "from: 0 is less than the minimum of 1" in said
    assert said.endswith("Right: files.read(path: string, from?: integer, lines?: integer)")
    assert check("files.read", {"path": "a.md", "from": 2}) == ""
    assert check("files.read", {}).startswith('"path" is a required property')


@pytest.mark.parametrize("arguments", [None, [], "text", 5, True, math.nan])
def test_arguments_that_are_no_object_are_refused(arguments: object) -> None:
    assert check("files.read", arguments).startswith("the arguments are not a JSON object")


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = "end"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        (-math.inf, "not finite"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        pytest.param(10**5_000, "64 bits", id="huge"),
        (nested(40), "32 deep"),
        (nested(100_000), "32 deep"),
        (["x"] * 20_000, "10000 values"),
        ({str(each): 1 for each in range(20_000)}, "10000 values"),
        ("x" * (ARGUMENTS_BYTES_MAX + 1), "bytes of text"),
        (["x" * 200_000] * 6, "bytes of text"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({5: 1}, "key is no text"),
        ({1, 2}, "JSON"),
        (b"bytes", "JSON"),
        (object(), "JSON"),
    ],
)
def test_hostile_values_are_refused_before_any_schema_sees_them(value: object, said: str) -> None:
    problem = check("finish", {"result": "done", "data": {"value": value}})
    assert said in problem
    assert len(problem) < 400


def test_a_finding_quotes_a_huge_value_only_in_part() -> None:
    problem = check("files.read", {"path": "a", "from": "9" * 500_000, "lines": "\x1b[31m\u202e"})
    assert len(problem) < 1_000
    assert "\x1b" not in problem
    assert "\u202e" not in problem


def test_many_findings_are_counted_not_listed() -> None:
    problem = check("tasks.create", {"title": "t", "skills": [5] * 15, **{f"a{each}": 1 for each in range(3)}})
    assert "and 11 more" in problem


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.sampled_from(list(BOX)), st.lists(json_values, max_size=4), st.booleans())
def test_whatever_a_model_sends_is_checked_without_a_crash_and_can_be_kept_once_it_fits(
    tool: AnyTool, values: list[Any], known: bool
) -> None:
    names = list(tool.parameters["properties"]) if known else ["a", "", "\0", "ü"]
    arguments = dict(zip(names, values, strict=False))
    problem = BOX.check_arguments(tool, arguments)
    assert isinstance(problem, str)
    if not problem:
        to_json(arguments)
        BOX.facts(tool, arguments, CONTEXT)


def test_the_gate_is_told_that_a_message_to_the_operator_stays_inside() -> None:
    tool = BOX.get("message.send")
    assert tool is not None
    context = CONTEXT.__class__(
        **{**{f: getattr(CONTEXT, f) for f in CONTEXT.__struct_fields__}, "trust": Trust.EXTERNAL}
    )
    inside = BOX.facts(tool, {"to": "operator", "text": "hello"}, context)
    assert (inside.harmless, inside.outward, inside.recipient, inside.trust) == (
        True,
        False,
        "operator",
        Trust.EXTERNAL,
    )
    beyond = BOX.facts(tool, {"to": "mail:ann@example.com", "text": "hello"}, context)
    assert (beyond.harmless, beyond.outward, beyond.recipient) == (False, True, "mail:ann@example.com")
    policy = Policy(agent="a", tools=("message.send",), recipients=("operator", "mail:*@example.com"))
    assert judge(inside, policy).decision is Decision.ALLOW
    assert judge(beyond, policy).decision is Decision.ASK


NO_RECIPIENTS = (
    "mail:eve@example.org,ann@example.com", "mail:eve@example.org ann@example.com", "mail:ann@example.com\n",
    "mail:eve@example.org;x@example.com", "mail:<eve@example.org>ann@example.com", "mail:a@b@example.com", "mail:",
    "mail:ann@example.com\nBcc: eve@example.org", "mail:ann", "operator ", "Operator", "slack:#updates", "",
    'mail:"a b"@example.com', "mail:eve@example.org%00@example.com", "mail:ann@exam_ple.com", "mailto:ann@example.com",
)  # fmt: skip


@pytest.mark.parametrize("to", NO_RECIPIENTS)
def test_a_recipient_is_one_plain_address_or_the_operator(to: str) -> None:
    assert "to: " in check("message.send", {"to": to, "text": "hello"})


def test_a_refusal_is_a_result_with_its_cure() -> None:
    async def refuses(_context: ToolContext, _arguments: dict[str, Any]) -> ToolResult:
        raise Conflict("It is locked", cure="Unlock it.")

    result = run(perform(outside(refuses), CONTEXT, {}))
    assert (result.status, result.text) == (ResultStatus.ERROR, "It is locked. Unlock it.")


def test_a_store_tool_that_refuses_late_has_written_nothing(at_desk: Callable[[Any], None]) -> None:
    def refuses(tx: Tx, _context: ToolContext, _arguments: dict[str, Any]) -> ToolResult:
        tx.set_setting("written", "half")
        raise Conflict("It is locked", cure="Unlock it.")

    tool = StoreTool(name="x.try", description="Try.", parameters=object_schema(), act=refuses)

    async def scene(desk: Desk) -> None:
        def call(tx: Tx) -> ToolResult:
            tx.set_setting("before", "kept")
            return perform_in(tx, tool, context=desk.context(), arguments={})

        result = await desk.store.run(call)
        assert (result.status, result.text) == (ResultStatus.ERROR, "It is locked. Unlock it.")
        assert await desk.see(lambda tx: (tx.setting("before"), tx.setting("written"))) == ("kept", None)

    at_desk(scene)


@pytest.mark.parametrize("error", [ValueError("odd"), RecursionError(), MemoryError(), KeyError("x")])
@pytest.mark.parametrize("effect", Effect)
def test_a_surprise_is_an_error_where_it_may_be_repeated_and_unknown_where_not(
    error: Exception, effect: Effect
) -> None:
    async def breaks(_context: ToolContext, _arguments: dict[str, Any]) -> ToolResult:
        raise error

    result = run(perform(outside(breaks, effect=effect), CONTEXT, {}))
    if effect in (Effect.READ, Effect.IDEMPOTENT):
        assert (result.status, "failed" in result.text) == (ResultStatus.ERROR, True)
    else:
        assert (result.status, "may have happened" in result.text) == (ResultStatus.UNKNOWN, True)


def test_a_tool_that_takes_too_long_is_given_up() -> None:
    async def hangs(_context: ToolContext, _arguments: dict[str, Any]) -> ToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    result = run(perform(outside(hangs, effect=Effect.IRREVERSIBLE, timeout_s=0.01), CONTEXT, {}))
    assert result.status is ResultStatus.UNKNOWN
    assert "no result within 0.01 s" in result.text


def test_a_result_is_cut_at_its_limit_and_says_so() -> None:
    assert capped("x" * RESULT_BYTES_MAX) == "x" * RESULT_BYTES_MAX
    cut = capped("€" * RESULT_BYTES_MAX)
    assert cut.endswith(f"[truncated: the first {RESULT_BYTES_MAX} of {3 * RESULT_BYTES_MAX} bytes]")
    assert len(cut.encode()) < RESULT_BYTES_MAX + 100


@given(st.text(st.characters(codec=None)))
def test_the_journal_can_keep_any_result(text: str) -> None:
    outcome = ToolResult(text=text).outcome(call_id="1.0", tool="x")
    assert entry_to_json(outcome)


def test_finish_gives_its_result_and_ask_its_question() -> None:
    finish, ask = BOX.get("finish"), BOX.get("ask")
    assert isinstance(finish, TurnTool)
    assert isinstance(ask, TurnTool)
    done = run(perform(finish, CONTEXT, {"result": "sorted", "data": {"mails": 3}}))
    assert (done.status, done.text, done.data) == (ResultStatus.OK, "sorted", {"mails": 3})
    asked = run(perform(ask, CONTEXT, {"question": "Which?", "choices": ["a", "b"]}))
    assert (asked.status, asked.text) == (ResultStatus.PENDING, "asked: Which? [a | b]")
    assert finish.always_allowed
    assert ask.always_allowed


def test_every_tool_can_say_how_it_is_called() -> None:
    for tool in BOX:
        assert usage(tool).startswith(f"{tool.name}(")
        assert isinstance(tool, StoreTool | OutsideTool | TurnTool)
        assert tool.parameters["additionalProperties"] is False
    schema = object_schema(
        "a", a=text_schema("said", least=1, most=2), from_={"enum": ["x", "y"]}, many={"type": "array"}
    )
    odd = TurnTool(name="odd", description="", parameters=schema, act=lambda _c, _a: ToolResult())
    assert usage(odd) == "odd(a: string, from?: x|y, many?: [any])"
