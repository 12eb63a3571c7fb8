"""What a refusal means, and how long a provider asks to wait."""

from __future__ import annotations

import json
import unicodedata
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.values import SECOND
from ostinato.models.failures import AFTER_MAX_S, failure_of_error, failure_of_status, plain, retry_after_s
from ostinato.models.keys import read_key

NOW = 1_767_600_000 * SECOND


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": formatdate(1_767_600_009, usegmt=True)}, 9.0),
        ({"retry-after": formatdate(1_767_500_000, usegmt=True)}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "1e9"}, AFTER_MAX_S),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Mon, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_in_each_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@pytest.mark.slow
@given(st.text(max_size=60), st.text(max_size=60))
def test_nonsense_in_the_headers_is_no_accident(one: str, two: str) -> None:
    found = retry_after_s({"retry-after": one, "retry-after-ms": two}, NOW)
    assert found is None or 0.0 <= found <= AFTER_MAX_S


def error(message: str, code: str = "") -> bytes:
    return json.dumps({"error": {"message": message, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "error_class", "again"),
    [
        (429, error("slow down", "rate_limit_exceeded"), "rate_limited", True),
        (429, error("pay first", "insufficient_quota"), "permanent", False),
        (500, b"oops", "transient", True),
        (503, b"", "transient", True),
        (529, b"", "transient", True),
        (408, b"", "transient", True),
        (409, b"", "transient", True),
        (400, error("bad", "invalid_request_error"), "permanent", False),
        (401, error("no"), "permanent", False),
        (404, error("no such model"), "permanent", False),
        (302, b"", "permanent", False),
        (413, b"", "too_long", False),
        (
            400,
            error("This model's maximum context length is 8192 tokens", "context_length_exceeded"),
            "too_long",
            False,
        ),
        (400, error("prompt is too long: 200001 tokens > 200000 maximum"), "too_long", False),
        (422, error("input exceeds the context window"), "too_long", False),
        (400, error("Please reduce the length of the messages"), "too_long", False),
        (500, error("the request exceeds the available context size"), "too_long", False),
    ],
)
def test_a_status_has_its_class(status: int, body: bytes, error_class: str, again: bool) -> None:
    found = failure_of_status(status, body)
    assert (found.error_class, found.again) == (error_class, again)


@pytest.mark.slow
@given(st.integers(300, 599), st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "x"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_gives_a_short_line(status: int, body: bytes) -> None:
    found = failure_of_status(status, body)
    assert not any(unicodedata.category(each) in {"Cc", "Zl", "Zp"} for each in found.text)
    assert len(found.text) < 400


@pytest.mark.slow
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "code"]), inner),
))  # fmt: skip
def test_any_error_inside_a_reply_has_a_class(found: object) -> None:
    assert failure_of_error(found).error_class in {"transient", "permanent", "rate_limited", "too_long"}


def test_an_error_inside_a_reply_counts_as_its_own_status() -> None:
    assert failure_of_error({"code": 429, "message": "slow"}).error_class == "rate_limited"
    assert failure_of_error({"code": "401", "message": "no"}).error_class == "permanent"
    assert failure_of_error("overloaded").error_class == "transient"


def test_words_of_a_provider_show_no_key_and_no_control_characters() -> None:
    said = "Incorrect key sk-proj-abcdefghijklmnop1234 \x1b[31m\u202ehidden  my-own-secret"
    read_key("KEY", {"KEY": "my-own-secret"})
    shown = plain(said)
    assert "abcdefghijklmnop" not in shown
    assert "my-own-secret" not in shown
    assert shown.isprintable()


def test_a_missing_page_says_what_to_check() -> None:
    assert "base_url" in failure_of_status(404, b"<html><style>p{}</style><h1>Not here</h1></html>").cure
    assert "Not here" in failure_of_status(404, b"<html><style>p{}</style><h1>Not here</h1></html>").text
    assert "OPENAI_API_KEY" in failure_of_status(401, b"", key_name="OPENAI_API_KEY").cure
