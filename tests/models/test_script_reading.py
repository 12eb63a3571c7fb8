"""A script with a mistake says where, what and how to mend it; no file is an accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.budget import Price
from ostinato.domain.errors import Invalid
from ostinato.models.scripted.reading import parse_script, read_script

GOOD = "rules:\n  - when: {user: hello}\n    text: hi\n"


def error_of(text: str | bytes) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse_script(text, "a.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "a.yaml", "empty"),
        ("{}", "a.yaml:1", "neither `rules` nor a `default`"),
        ("[]", "a.yaml:1", "found a list"),
        ("rules: []", "a.yaml:1, key 'rules'", "no rule here"),
        ("rules: 5", "a.yaml:1, key 'rules'", "expected a list"),
        ("ruels: []", "a.yaml:1, key 'ruels'", "Did you mean 'rules'"),
        ("rules:\n  - text: a\n    wenn: {}", "a.yaml:3, key 'rules[1].wenn'", "Did you mean 'when'"),
        ("rules:\n  - {}", "a.yaml:2, key 'rules[1]'", "answers nothing"),
        ("rules:\n  - hello", "a.yaml:2, key 'rules[1]'", "expected keys and values"),
        ("rules:\n- when: {usr: a}\n  text: a", "a.yaml:2, key 'rules[1].when.usr'", "Unknown condition 'usr'"),
        ("rules:\n- when: {user: '('}\n  text: a", "a.yaml:2, key 'rules[1].when.user'", "at character 1"),
        ("rules:\n- when: {user: [a]}\n  text: a", "a.yaml:2, key 'rules[1].when.user'", "expected a text"),
        ("rules:\n- when: {nth: soon}\n  text: a", "a.yaml:2, key 'rules[1].when.nth'", "'3+'"),
        ("rules:\n- when: {nth: 0}\n  text: a", "a.yaml:2, key 'rules[1].when.nth'", "from 1"),
        ("rules:\n- when: {call: 1.5}\n  text: a", "a.yaml:2, key 'rules[1].when.call'", "whole number"),
        ("rules:\n- text: '{subjct}'", "a.yaml:2, key 'rules[1].text'", "Unknown placeholder 'subjct'"),
        (
            "rules:\n- when: {user: '(?P<subject>.*)'}\n  text: '{subjct}'",
            "a.yaml:3, key 'rules[1].text'",
            "Did you mean 'subject'",
        ),
        ("rules:\n- text: '{user|uper}'", "a.yaml:2, key 'rules[1].text'", "Did you mean 'upper'"),
        ("rules:\n- calls: [{args: {}}]", "a.yaml:2, key 'rules[1].calls[1]'", "names no tool"),
        ("rules:\n- calls: [{tool: a, args: 5}]", "a.yaml:2, key 'rules[1].calls[1].args'", "keys and values"),
        ("rules:\n- calls: [{tool: a, args: {}, raw: x}]", "a.yaml:2, key 'rules[1].calls[1].raw'", "not both"),
        ("rules:\n- calls:\n  - tool: a\n    args: {x: '{nope}'}", "a.yaml:4, key 'rules[1].calls[1].args.x'", "nope"),
        ("rules:\n- fault: dorp", "a.yaml:2, key 'rules[1].fault'", "Did you mean 'drop'"),
        ("rules:\n- fault: status", "a.yaml:2, key 'rules[1].fault'", "{status: 503}"),
        ("rules:\n- fault: {}", "a.yaml:2, key 'rules[1].fault'", "no status"),
        ("rules:\n- fault: {status: 200}", "a.yaml:2, key 'rules[1].fault.status'", "300 to 599"),
        ('rules:\n- fault: {status: 503, retry_after: "a\\r\\nb"}', "a.yaml:2", "one line of ASCII"),
        ("rules:\n- text: a\n  delay: soon", "a.yaml:3, key 'rules[1].delay'", "not a duration"),
        ("rules:\n- text: a\n  delay: 2d", "a.yaml:3, key 'rules[1].delay'", "3600"),
        ("rules:\n- text: a\n  stop: never", "a.yaml:3, key 'rules[1].stop'", "'length'"),
        (
            "rules:\n- text: a\n  usage: {input: 1, cached: 2}",
            "a.yaml:3, key 'rules[1].usage.cached'",
            "part of `input`",
        ),
        ("rules:\n- text: a\n  usage: {input: many}", "a.yaml:3, key 'rules[1].usage.input'", "whole number"),
        ("rules:\n- for_each: {}\n  text: a", "a.yaml:2, key 'rules[1].for_each'", "Add `in:`"),
        ("rules:\n- for_each: {in: results}\n  text: a", "a.yaml:2, key 'rules[1].for_each.in'", "'result'"),
        ("rules:\n- for_each: {in: user, tool: a}\n  text: a", "a.yaml:2", "`tool` is for results"),
        ("rules:\n- for_each: {in: user}\n  choose: [{text: a}]", "a.yaml:3, key 'rules[1].choose'", "needs an `else`"),
        ("rules:\n- text: a\n  choose: [{text: a}]", "a.yaml:2, key 'rules[1].text'", "`choose` has no 'text'"),
        ("rules:\n- text: a\n  else: {text: a}", "a.yaml:3, key 'rules[1].else'", "`default`"),
        ("rules:\n- {name: a, text: a}\n- {name: a, text: b}", "a.yaml:3, key 'rules[2]'", "two rules"),
        ("default: {when: {user: a}, text: a}", "a.yaml:1, key 'default'", "conditions"),
        ("rules:\n- text: a\n  text: b", "a.yaml:3", "'text'"),
        ("price: {input: free}\nrules: [{text: a}]", "a.yaml:1, key 'price.input'", "dollars"),
        ("rules:\n- text: !!python/object:os.system a", "a.yaml:2", "no meaning here"),
        ("rules:\n- text: a\n b: c", "a.yaml:3", "no YAML"),
        ("rules:\n\t- text: a", "a.yaml:2", "no YAML"),
        ("rules: [", "a.yaml:1", "no YAML"),
        ("rules: &a [*a]", "a.yaml:1", ""),
        ("rules: *a", "a.yaml:1", "no YAML"),
        ("a: b\n---\nc: d", "a.yaml", "no YAML"),
        ("? [a]\n: b", "a.yaml:1", "a key must be a short text"),
        (f"rules:\n- fault: {'x' * 9000}", "a.yaml:2", "Unknown fault"),
        (f"rules:\n- text: '{{{'x' * 9000}}}'", "a.yaml:2", "Unknown placeholder"),
        (f"{'x' * 900}: 1", "a.yaml:1", "short text"),
        ("rules:\n- text: \x01", "a.yaml", "no YAML"),
        (b"rules:\n- text: \xff", "a.yaml:2", "not UTF-8"),
        ("[" * 500, "a.yaml", "nested too deeply"),
        ("x" * 1_100_000, "a.yaml", "longer than"),
    ],
)
def test_a_mistake_has_a_place_and_words(text: str | bytes, place: str, words: str) -> None:
    error = error_of(text)
    assert error.place.startswith(place)
    assert words in str(error)
    assert error.cure or "Known:" in error.message
    assert len(str(error)) < 900


def test_values_shared_without_end_are_counted() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 100000 values" in str(error_of("\n".join(lines)))


def test_rules_can_be_nested_but_not_without_end() -> None:
    text = "{text: a}"
    for _ in range(20):
        text = f"{{choose: [{text}]}}"
    assert "nested deeper" in str(error_of(f"rules: [{text}]"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(Invalid):
            read_script(path)


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, "%YAML 1.2\n---\n" + GOOD])
def test_a_script_is_read_whatever_ends_its_lines(text: str) -> None:
    assert parse_script(text).rules[0].name == "1"


def test_numbers_and_truth_values_are_texts_where_texts_are_wanted() -> None:
    script = parse_script("rules:\n- {name: 5, when: {model: 4}, text: true}\nprice: {input: 0.25, output: 2}")
    assert script.rules[0].name == "5"
    assert script.price == Price(input_usd_micros=250_000, cached_usd_micros=250_000, output_usd_micros=2_000_000)


def place_of_mistake(data: bytes) -> str:
    """Where the mistake is, empty where there is none; a mistake without a place fails."""
    try:
        parse_script(data)
    except Invalid as found:
        place = found.place
    else:
        return ""
    assert place
    return place


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")))
def test_no_bytes_are_an_accident(data: bytes) -> None:
    place_of_mistake(data)


@pytest.mark.slow
@given(st.data())
def test_no_damage_to_a_good_script_is_an_accident(data: st.DataObject) -> None:
    text = (Path(__file__).parent / "all_keys.yaml").read_bytes()
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    junk = data.draw(
        st.sampled_from([b"", b"{", b"'", b"\n", b"- ", b": ", b"\t", b"\xff", b"&a ", b"*a", b"!!x ", b"#"])
    )
    place_of_mistake(text[:at] + junk + text[at + length :])
