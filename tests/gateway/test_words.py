"""How things are put: ids, times and money at the edge, a sentence for every event, a line for every log entry."""

from __future__ import annotations

import io
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid
from ostinato.domain.event import Event, EventName
from ostinato.domain.gate import DEFAULT_GATES, Gate
from ostinato.domain.step import Entry, Step
from ostinato.domain.task import TaskKind
from ostinato.domain.values import SECOND
from ostinato.engine.notice import AttemptCrashed, StoreChecked
from ostinato.gateway.definitions import gate_words
from ostinato.gateway.journal_view import step_view
from ostinato.gateway.log_lines import QUIET, LogLines
from ostinato.gateway.notation import ID_MAX, iso, parse_id, parse_moment
from ostinato.gateway.sentences import sentence

EVENT = Event(id=1, at=SECOND, name=EventName.TASK_DONE, task=12, agent="clerk", actor="ann")


@given(st.integers(1, ID_MAX))
def test_an_id_reads_back_in_each_of_its_forms(number: int) -> None:
    for text in (f"T{number}", f"t{number}", str(number), f" T{number} "):
        assert parse_id(text, "T") == number


@given(st.text(max_size=30))
def test_whatever_is_no_id_is_refused_and_never_breaks(text: str) -> None:
    try:
        assert 0 < parse_id(text, "Q") <= ID_MAX
    except Invalid as error:
        assert "id of a question" in error.message  # noqa: PT017 - both ways are fine, this is what each looks like


@pytest.mark.parametrize("text", ["Q12", "T-1", "T0", "", "T", "1.0", "0x10", "T1 2", "١٢", "T9223372036854775808"])
def test_what_only_looks_like_the_id_of_a_task_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not the id of a task"):
        parse_id(text, "T")


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_time_reads_back(at: int) -> None:
    assert parse_moment(iso(at), now=0) == at


def test_a_moment_may_be_a_distance_from_now_but_never_a_time_without_a_zone() -> None:
    now = 1_000 * SECOND
    assert parse_moment("90s", now=now) == 910 * SECOND
    assert parse_moment("1m30s", now=now, ahead=True) == 1_090 * SECOND
    assert parse_moment("7d", now=now) == 0
    with pytest.raises(Invalid, match="no time zone") as refused:
        parse_moment("2026-01-05T08:00", now=now)
    assert "2026-01-05T08:00Z" in refused.value.cure
    for text in ("yesterday", "", "2026-13-45T00:00Z", "1e400d", "99999-01-01T00:00Z", "1969-12-31T00:00Z"):
        with pytest.raises(Invalid):
            parse_moment(text, now=now)


@pytest.mark.parametrize("name", list(EventName))
def test_every_event_has_a_sentence_also_with_nothing_else_known(name: EventName) -> None:
    bare = sentence(Event(id=1, at=0, name=name))
    assert bare
    assert name.value not in bare
    assert not bare.endswith(".")
    full = Event(
        id=1, at=0, name=name, task=12, agent="clerk", session="main:clerk", actor="ann", reason="because it is so",
        data={"question": 7, "message": 3, "schedule": "weekly", "to": "operator", "scope": "agent:clerk"},
    )  # fmt: skip
    told = sentence(full)
    assert "{" not in told
    if name is not EventName.DELIVERY_SENT:
        assert told.endswith("because it is so")


@given(st.sampled_from(list(EventName)), st.dictionaries(st.text(max_size=9), st.text() | st.integers() | st.none()))
def test_a_sentence_can_be_made_of_any_data(name: EventName, data: dict[str, Any]) -> None:
    assert sentence(Event(id=1, at=0, name=name, data=data))


EXAMPLES: list[Entry] = [
    msgspec.convert(each, Entry)
    for each in (
        {"type": "input", "messages": [3], "files": {"SOUL.md": "0"}},
        {"type": "model_intent", "call": 1, "model": "m"},
        {"type": "model_answer", "call": 1, "model": "m", "text": "Hi", "usd_micros": None},
        {"type": "verdict", "call_id": "1.0", "tool": "t", "decision": "ask", "reason": "r", "question": 7},
        {"type": "tool_intent", "call_id": "1.0", "tool": "t", "effect": "read", "arguments": {"a": 1}, "key": "k"},
        {"type": "tool_result", "call_id": "1.0", "tool": "t", "status": "ok", "text": "done", "duration_ms": 5.0},
        {"type": "answer", "question": 7, "decision": "allow", "by": "ann", "arguments": {"a": 2}},
        {"type": "limit", "limit": "steps", "value": 40.0, "question": 8},
        {"type": "compaction_intent", "model": "m"},
        {"type": "compaction", "text": "So far", "problem": "no money"},
        {"type": "note", "text": "Look here."},
        {"type": "submitted", "round": 1, "by": "checker", "rounds": 3, "task": 13},
        {"type": "reviewed", "accepted": False, "by": "checker", "notes": "Too long."},
    )
]


def test_every_kind_of_step_is_told() -> None:
    assert {type(each) for each in EXAMPLES} == set(get_args(Entry))
    told = [step_view(Step(task=1, journal=1, seq=1, at=0, attempt=1, entry=each)) for each in EXAMPLES]
    assert [each.text for each in told] == [
        "reads M3; runs with 1 file",
        "asks m, about 0 tokens",
        'm says "Hi"',
        "t: ask, asked in Q7: r",
        'calls t (read) "a=1"',
        't: ok: "done"',
        "Q7: allow by ann, with changed arguments",
        "limit reached: steps 40, asks in Q8",
        "a summary of what came before is written by m",
        'what came before is summarised, by the runtime: no money: "So far"',
        'note by runtime: "Look here."',
        "handed in for review 1 by checker (T13)",
        'rejected by checker: "Too long."',
    ]
    assert told[2].usd is None


def lines_of(output: io.StringIO) -> list[dict[str, Any]]:
    """The log's lines that are JSON."""
    return [msgspec.json.decode(line) for line in output.getvalue().splitlines() if line.startswith("{")]


def test_the_log_has_a_line_for_what_matters_and_none_for_what_happens_every_minute() -> None:
    output = io.StringIO()
    log = LogLines(output)
    log.events([EVENT, *(msgspec.structs.replace(EVENT, name=name) for name in QUIET)])
    (line,) = lines_of(output)
    assert (line["level"], line["event"], line["task"], line["text"]) == (
        "info",
        "task.done",
        "T12",
        "clerk finished T12",
    )


def test_a_notice_of_the_engine_is_logged_with_its_traceback_and_a_sound_database_is_no_error() -> None:
    output = io.StringIO()
    log = LogLines(output)
    log.notice(AttemptCrashed(task=1, kind=TaskKind.GOAL, token=1, error="boom", traceback="Traceback: x"))
    log.notice(StoreChecked(result="ok"))
    crashed, checked = lines_of(output)
    assert (crashed["level"], crashed["event"], crashed["text"]) == ("error", "engine.attempt_crashed", "boom")
    assert checked["level"] == "info"
    assert "Traceback: x" in output.getvalue()


@pytest.mark.parametrize("gate", DEFAULT_GATES.values(), ids=lambda each: each.name)
def test_a_gate_that_asks_now_and_then_does_not_read_as_if_it_always_asked(gate: Gate) -> None:
    assert gate_words(gate).startswith(("any tool that ", f"{gate.tool} that "))
