"""Texts with placeholders: what they give, what they refuse, and that nothing in them is code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.models.scripted.template import HELPERS, TEXT_MAX, TemplateError, fill, fill_data, parse_template

MAIL = """[M4 file from inbox, 08:00]
From: =?utf-8?Q?J=C3=BCrg?= <j@example.org>
Subject: A long
 subject
X-Empty:
Broken: =?klingon?Q?x?=

First line of the body.

Second line.
"""


def filled(text: str, **scope: str) -> Any:
    return fill_data(parse_template(text), scope)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{who}", "Ann"),
        ("hi {who}!", "hi Ann!"),
        ("{{who}}", "{who}"),
        ("{{who|upper}} {who|upper}", "{who|upper} ANN"),
        ('{"a": {"b": "{who}"}}', '{"a": {"b": "Ann"}}'),
        ("{ who } {Who} {} {1}", "{ who } {Who} {} {1}"),
        ("{missing}", ""),
        ("{who|lower|default:x}", "ann"),
        ("{missing|default:nobody at all}", "nobody at all"),
        ("{mail|header:from}", "Jürg <j@example.org>"),
        ("{mail|header:Subject}", "A long subject"),
        ("{mail|header:X-Empty}", ""),
        ("{mail|header:Broken}", "=?klingon?Q?x?="),
        ("{mail|header:Nothing}", ""),
        ("{mail|body}", "First line of the body.\n\nSecond line."),
        ("{mail|body|excerpt:12}", "First line…"),
        ("{who|excerpt:100}", "Ann"),
        ("{long|excerpt:5}", "xxxxx…"),
        ("{mail|line:1|word:2}", "file"),
        ("{mail|line:-1}", "Second line."),
        ("{mail|line:0}", "[M4 file from inbox, 08:00]"),
        ("{mail|line:99}", ""),
        ("{who|word:9}", ""),
        ("{mail|after:[M|before: }", "4"),
        ("{mail|slug|excerpt:9}", "m4-file-f…"),
        ("{list|quote}", "> a\n> b"),
        ("{json|field:a.1.b}", 7),
        ("{json|field:a.9.b}", ""),
        ("{who|field:a}", ""),
        ("n={json|field:a.1.b}", "n=7"),
        ("{json|json}", {"a": [0, {"b": 7}]}),
        ("all: {json|json}", 'all: {"a":[0,{"b":7}]}'),
        ("{number|int}", 42),
        ("{who|int:5}", 5),
        ("{number|number}", 0),
        ("{price|number}", 1234.5),
        ("{list|list}", ["a", "b"]),
        ("{comma|list:,}", ["a", "b"]),
        ("{comma|count:,}", 1),
        ("{mail|body|count}", 7),
        ("{who|trim|upper}", "ANN"),
        ("{nan|number}", 0),
    ],
)
def test_a_placeholder_gives_its_value(text: str, result: Any) -> None:
    scope = {
        "who": "Ann", "mail": MAIL, "long": "x" * 50, "list": "a\nb\n", "json": '{"a": [0, {"b": 7}]}',
        "number": "order 42 of 43", "price": "1,234.50", "comma": "a, b", "nan": "nan",
    }  # fmt: skip
    assert filled(text, **scope) == result


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{who|uper}", "Did you mean 'upper'"),
        ("{who|}", "Unknown helper ''"),
        ("{who|excerpt}", "needs a number"),
        ("{who|excerpt:many}", "needs a number"),
        ("{who|header}", "needs an argument"),
        ("{who|__class__}", "Unknown helper"),
    ],
)
def test_a_helper_that_cannot_be_is_refused_when_the_template_is_read(text: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        parse_template(text)


def test_values_in_a_tree_keep_their_types() -> None:
    tree = {"a": parse_template("{n|int}"), "b": [parse_template("x{n}"), 5, None, True], "c": {"d": 1.5}}
    assert fill_data(tree, {"n": "7"}) == {"a": 7, "b": ["x7", 5, None, True], "c": {"d": 1.5}}


def test_what_fills_a_placeholder_is_never_read_as_a_template() -> None:
    assert filled("{a}", a="{b}", b="secret") == "{b}"
    assert filled("{a.__class__}", a="x") == "{a.__class__}"


def test_a_text_has_an_end() -> None:
    assert len(fill(parse_template("{a}{a}{a}"), {"a": "x" * 600_000})) == TEXT_MAX


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_template_is_filled_or_refused(text: str, value: str) -> None:
    try:
        template = parse_template(text)
    except TemplateError:
        return
    fill(template, dict.fromkeys((slot.name for slot in template.slots), value))


@given(st.sampled_from(sorted(HELPERS)), st.text(max_size=60), st.sampled_from(["", "3", "-2", "a", "0", "a.0"]))
def test_no_helper_stumbles_over_any_text(helper: str, value: str, argument: str) -> None:
    try:
        template = parse_template(f"{{a|{helper}:{argument}}}" if argument else f"{{a|{helper}}}")
    except TemplateError:
        return
    fill_data(template, {"a": value})
