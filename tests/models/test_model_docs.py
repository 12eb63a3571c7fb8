"""The pages about models and scripts name everything there is, and their example works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from ostinato.models import chat_model, http_transport
from ostinato.models import reply as replies
from ostinato.models.providers import KNOWN
from ostinato.models.scripted import reading
from ostinato.models.scripted.reading import parse_script
from ostinato.models.scripted.script import BUILT_IN, FaultKind, Plan, Result, Seen, plan
from ostinato.models.scripted.template import HELPERS
from ostinato.models.settings import ModelSettings, Timeouts

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCRIPTS = (REFERENCE / "model-scripts.md").read_text()
MODELS = (REFERENCE / "models.md").read_text()


def named(page: str) -> set[str]:
    """Every word that the page sets in code."""
    return {word for code in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"[a-z][a-z0-9_-]*", code)}


@pytest.mark.parametrize(
    "names",
    [
        reading.SCRIPT_KEYS, reading.PRICE_KEYS, reading.WHEN_KEYS, reading.ANSWER_KEYS, reading.RULE_KEYS,
        reading.FOR_EACH_KEYS, reading.CALL_KEYS, reading.USAGE_KEYS, reading.FAULT_KEYS, reading.SOURCES,
        tuple(FaultKind), tuple(HELPERS), BUILT_IN,
    ],
)  # fmt: skip
def test_the_page_names_every_key_condition_helper_and_fault(names: tuple[str, ...]) -> None:
    assert not set(names) - named(SCRIPTS)


def test_the_page_names_every_setting_and_provider() -> None:
    fields = {field.name for each in (ModelSettings, Timeouts) for field in msgspec.structs.fields(each)}
    assert not fields - named(MODELS)
    for name, provider in KNOWN.items():
        assert (
            f"| `{name}` | `{provider.base_url}` | {f'`{provider.api_key_env}`' if provider.api_key_env else 'none'} |"
            in (MODELS)
        )


def test_the_page_gives_the_limits_of_the_code() -> None:
    timeouts = Timeouts()
    for text in (
        f"at most {chat_model.ATTEMPTS_MAX} HTTP attempts",
        f"at most {chat_model.RETRY_WAIT_MAX_S:g} s",
        f"after {chat_model.BACKOFF_S:g} s",
        f"{timeouts.connect_s:g} s until",
        f"{timeouts.first_byte_s:g} s from",
        f"{timeouts.silence_s:g} s between",
        f"{timeouts.total_s:g} s for one",
        f"| reply | {http_transport.REPLY_MAX_BYTES // 2**20} MiB |",
        f"| {replies.CALLS_MAX} |",
        f"| {replies.ARGUMENTS_MAX_BYTES // 2**20} MiB, {replies.NESTING_MAX} levels |",
    ):
        assert text in MODELS, text


def example() -> str:
    return SCRIPTS.partition("<!-- example: triage -->\n```yaml\n")[2].partition("```")[0]


def answered(seen: Seen) -> Plan:
    return plan(parse_script(example(), "example"), seen, {})


def test_the_example_opens_each_mail_and_sorts_what_it_reads() -> None:
    text = "There is new mail: inbox/a.eml, inbox/b.eml, inbox/c.eml and inbox/d.eml"
    opened = answered(Seen(model="m", user=(text,), asked=(text,)))
    assert [json.loads(call.arguments)["path"] for call in opened.calls] == [f"inbox/{each}.eml" for each in "abcd"]
    mails = (
        "From: Ann <ann@example.org>\nSubject: Charged twice\n\nPlease refund one.",
        "From: news@example.org\nList-Unsubscribe: <https://example.org>\nSubject: Weekly refund news\n\nBuy!",
        "From: x@example.org\nSubject: A dog\n\nHave you seen it?",
        "Auto-Submitted: auto-replied\nSubject: Re: invoice\n\nI am away.",
    )
    sorted_ = answered(Seen(model="m", results=tuple(Result(tool="files__read", text=mail) for mail in mails)))
    assert sorted_.text == "Logged: Weekly refund news"
    assert [call.tool for call in sorted_.calls] == ["tasks__create", "ask", "ask"]
    assert json.loads(sorted_.calls[0].arguments) == {
        "goal": "Answer 'Charged twice' from Ann <ann@example.org>",
        "skills": ["billing"],
        "note": "Please refund one.",
    }
    assert "A dog Have you seen it?" in sorted_.calls[1].arguments
    assert answered(Seen(model="m", results=(Result(tool="tasks__create", text="T-1"),), call=3)).text == (
        "Done after 3 replies."
    )
    assert answered(Seen(model="m", user=("who are you?",))).calls[0].tool == "ask"
