"""From a script file to a `Script`: every key is checked, every name in a template is known, every regex compiles.

Errors name file, line, key and cure. What the keys mean is described in docs/reference/model-scripts.md. Knows nothing
of requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ostinato.domain.budget import Price
from ostinato.domain.chat import StopReason, Usage
from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.models.scripted.script import (
    BUILT_IN,
    Answer,
    CallTemplate,
    Fault,
    FaultKind,
    ForEach,
    Pattern,
    Rule,
    Script,
    Times,
    When,
)
from ostinato.models.scripted.template import Data, Template, TemplateError, parse_template
from ostinato.models.scripted.yaml_nodes import Node, read_file, read_text

DELAY_MAX_S = 3_600.0
"""Longest delay of a reply."""

RULES_DEPTH_MAX = 8
"""Levels of `choose` within `choose`."""

SCRIPT_KEYS = ("rules", "default", "delay", "models", "price")
PRICE_KEYS = ("input", "cached", "output")
PATTERN_KEYS = ("user", "asked", "result", "item", "system", "model")
NAMES_KEYS = ("offered", "called", "not_called", "called_now", "not_called_now")
TIMES_KEYS = ("call", "attempt", "nth")
WHEN_KEYS = (*PATTERN_KEYS, *NAMES_KEYS, *TIMES_KEYS, "tool")
ANSWER_KEYS = ("text", "thinking", "calls", "stop", "usage", "delay", "pace", "fault")
RULE_KEYS = ("name", "when", "unless", "for_each", "choose", "else", *ANSWER_KEYS)
FOR_EACH_KEYS = ("in", "tool", "match")
CALL_KEYS = ("tool", "args", "raw")
USAGE_KEYS = ("input", "cached", "written", "output")
FAULT_KEYS = ("status", "retry_after", "body")
SOURCES = ("user", "asked", "result", "item")

_TIMES_CURE = "Write a number, a list of numbers, or '3+' for the third time and all later ones."


def read_script(path: Path) -> Script:
    """The script in a file. Raises Invalid."""
    return _script(read_file(path))


def parse_script(text: str | bytes, file: str = "script") -> Script:
    """The script in a text; `file` is its name for messages. Raises Invalid."""
    return _script(read_text(text.encode() if isinstance(text, str) else text, file))


def _script(root: Node) -> Script:
    keys = root.mapping(SCRIPT_KEYS)
    if "rules" not in keys and "default" not in keys:
        root.fail("the script has neither `rules` nor a `default`", cure="Write at least one rule.")
    try:
        rules = _rules(keys["rules"], frozenset(BUILT_IN), "") if "rules" in keys else ()
        default = _rule(keys["default"], frozenset(BUILT_IN), "default") if "default" in keys else None
    except RecursionError as error:
        raise Invalid("this is nested too deeply", place=root.file, cure="Write it flatter.") from error
    if default is not None and (default.when != When() or default.unless is not None):
        keys["default"].fail("the default has conditions", cure="Make it a rule; the default answers whatever is left.")
    return Script(
        file=root.file,
        rules=rules,
        default=default,
        delay_s=_seconds(keys["delay"]) if "delay" in keys else 0.0,
        models=_names(keys["models"]) if "models" in keys else (),
        price=_price(keys["price"]) if "price" in keys else None,
    )


def _price(node: Node) -> Price:
    keys = node.mapping(PRICE_KEYS)
    found = {name: _dollars(keys[name]) if name in keys else 0 for name in PRICE_KEYS}
    cached = found["cached"] if "cached" in keys else found["input"]
    return Price(input_usd_micros=found["input"], cached_usd_micros=cached, output_usd_micros=found["output"])


def _dollars(node: Node) -> int:
    """Dollars for a million tokens, as micro-dollars."""
    if node.kind != "number" or not 0 <= node.value <= 1_000_000:
        node.fail(
            f"expected dollars for a million tokens, found {node.described()}", cure="Write a number such as 0.25."
        )
    return int(node.value * 1_000_000 + 0.5)


def _rules(node: Node, names: frozenset[str], above: str) -> tuple[Rule, ...]:
    if above.count("/") >= RULES_DEPTH_MAX:
        node.fail(f"`choose` is nested deeper than {RULES_DEPTH_MAX} levels", cure="Write it flatter.")
    found: list[Rule] = []
    for number, each in enumerate(node.items(), 1):
        rule = _rule(each, names, f"{above}{number}", above=above)
        if any(rule.name == other.name for other in found):
            each.fail(f"two rules have the name {rule.name!r}", cure="Give each its own: they are counted by name.")
        found.append(rule)
    if not found:
        node.fail("there is no rule here", cure="Write one, or leave the key out.")
    return tuple(found)


def _rule(node: Node, names: frozenset[str], name: str, *, above: str = "") -> Rule:
    keys = node.mapping(RULE_KEYS)
    if "name" in keys:
        name = above + keys["name"].text()
    when = _when(keys["when"]) if "when" in keys else When()
    for_each = _for_each(keys["for_each"]) if "for_each" in keys else None
    names = names | _captures(when) | (_captures_of(for_each.match) if for_each else frozenset())
    answers = [key for key in ANSWER_KEYS if key in keys]
    if "choose" in keys and answers:
        keys[answers[0]].fail(
            f"a rule with `choose` has no {answers[0]!r} of its own", cure="Put it into the rules below."
        )
    if "else" in keys and "choose" not in keys:
        keys["else"].fail("`else` belongs to `choose`", cure="At the top, write `default` instead.")
    if for_each and "choose" in keys and "else" not in keys:
        keys["choose"].fail(
            "`choose` for each item needs an `else`",
            cure="Say what happens to an item that no rule knows: `else: {...}`.",
        )
    if "choose" not in keys and not answers:
        node.fail("the rule answers nothing", cure="Give it `text`, `calls`, `fault` or `choose`.")
    return Rule(
        name=name,
        when=when,
        unless=_when(keys["unless"]) if "unless" in keys else None,
        for_each=for_each,
        answer=_answer(keys, names),
        choose=_rules(keys["choose"], names, f"{name}/") if "choose" in keys else (),
        otherwise=_rule(keys["else"], names, f"{name}/else") if "else" in keys else None,
    )


# --- conditions -------------------------------------------------------------------------------------------------------


def _when(node: Node) -> When:
    keys = node.mapping(WHEN_KEYS, what="condition")
    found: dict[str, Any] = {}
    for key, each in keys.items():
        if key in PATTERN_KEYS:
            found[key] = _pattern(each)
        elif key in NAMES_KEYS:
            found[key] = _names(each)
        elif key in TIMES_KEYS:
            found[key] = _times(each)
        else:
            found[key] = each.text()
    return When(**found)


def _pattern(node: Node) -> Pattern:
    text = node.text()
    try:
        return re.compile(text)
    except re.error as error:
        at = f" at character {error.pos + 1}" if error.pos is not None else ""
        node.fail(f"the regular expression is wrong: {error.msg}{at}", cure="Put a backslash before ( [ * + ? . | $ ^.")
    except (RecursionError, OverflowError, MemoryError, FutureWarning, DeprecationWarning) as error:
        node.fail(f"the regular expression cannot be used: {error}", cure="Write a simpler one.")


def _captures(when: When) -> frozenset[str]:
    patterns = (when.user, when.asked, when.result, when.item, when.system, when.model)
    return frozenset[str]().union(*(_captures_of(each) for each in patterns))


def _captures_of(pattern: Pattern | None) -> frozenset[str]:
    return frozenset(pattern.groupindex) if pattern is not None else frozenset()


def _names(node: Node) -> tuple[str, ...]:
    """One name or several."""
    if node.kind == "list":
        return tuple(each.text() for each in node.items())
    return (node.text(),)


def _times(node: Node) -> Times:
    if node.kind == "list":
        return Times(exact=tuple(each.integer(1) for each in node.items()))
    if node.kind == "number":
        return Times(exact=(node.integer(1),))
    found = re.fullmatch(r"(\d{1,9})\+", node.text())
    if not found:
        node.fail(f"expected which time, found {node.described()}", cure=_TIMES_CURE)
    return Times(at_least=int(found[1]))


def _for_each(node: Node) -> ForEach:
    keys = node.mapping(FOR_EACH_KEYS)
    if "in" not in keys:
        node.fail("`for_each` does not say in what", cure=f"Add `in:` with one of {', '.join(SOURCES)}.")
    source = keys["in"].text()[:100]
    if source not in SOURCES:
        keys["in"].fail(unknown_name("source", source, SOURCES))
    if "tool" in keys and source != "result":
        keys["tool"].fail("`tool` is for results", cure="Write `in: result`, or leave `tool` out.")
    return ForEach(
        source=source,
        tool=keys["tool"].text() if "tool" in keys else "",
        match=_pattern(keys["match"]) if "match" in keys else None,
    )


# --- answers ----------------------------------------------------------------------------------------------------------


def _answer(keys: dict[str, Node], names: frozenset[str]) -> Answer:
    calls = tuple(_call(each, names) for each in keys["calls"].items()) if "calls" in keys else ()
    return Answer(
        text=_template(keys["text"], names) if "text" in keys else None,
        thinking=_template(keys["thinking"], names) if "thinking" in keys else None,
        calls=calls,
        stop=_stop(keys["stop"]) if "stop" in keys else None,
        usage=_usage(keys["usage"]) if "usage" in keys else None,
        delay_s=_seconds(keys["delay"]) if "delay" in keys else None,
        pace_s=_seconds(keys["pace"]) if "pace" in keys else 0.0,
        fault=_fault(keys["fault"]) if "fault" in keys else None,
    )


def _template(node: Node, names: Iterable[str]) -> Template:
    try:
        template = parse_template(node.text())
    except TemplateError as error:
        node.fail(str(error), cure="The helpers are described in docs/reference/model-scripts.md.")
    for slot in template.slots:
        if slot.name not in names:
            name = slot.name[:100]
            cure = f"Name a group in a regular expression, as in '(?P<{name}>...)', or write '{{{{{name}}}}}'."
            node.fail(unknown_name("placeholder", name, names), cure=cure)
    return template


def _call(node: Node, names: frozenset[str]) -> CallTemplate:
    keys = node.mapping(CALL_KEYS)
    if "tool" not in keys:
        node.fail("the call names no tool", cure="Add `tool:`.")
    if "args" in keys and "raw" in keys:
        keys["raw"].fail("a call has `args` or `raw`, not both", cure="Leave one of them out.")
    return CallTemplate(
        tool=_template(keys["tool"], names),
        args=_data(keys["args"], names, top=True) if "args" in keys else None,
        raw=_template(keys["raw"], names) if "raw" in keys else None,
    )


def _data(node: Node, names: frozenset[str], *, top: bool = False) -> Data:
    """Arguments: any YAML, with templates in its texts; at the top an object, or one template that gives one."""
    if node.kind == "map":
        return {key: _data(each, names) for key, each in node.entries()}
    if node.kind == "text":
        return _template(node, names)
    if top:
        node.fail(f"arguments are keys and values, found {node.described()}", cure="Write `args: {name: value}`.")
    if node.kind == "list":
        return [_data(each, names) for each in node.items()]
    value: int | float | bool | None = node.value
    return value


def _stop(node: Node) -> StopReason:
    try:
        return StopReason(node.text())
    except ValueError:
        node.fail(unknown_name("stop reason", node.text()[:100], [each.value for each in StopReason]))


def _usage(node: Node) -> Usage:
    keys = node.mapping(USAGE_KEYS)
    found = {name: keys[name].integer() if name in keys else 0 for name in USAGE_KEYS}
    if found["cached"] + found["written"] > found["input"]:
        key = "cached" if "cached" in keys else "written"
        keys[key].fail("more tokens are cached than were read", cure="Each of them is a part of `input`.")
    return Usage(
        input_tokens=found["input"],
        cached_tokens=found["cached"],
        written_tokens=found["written"],
        output_tokens=found["output"],
    )


def _seconds(node: Node) -> float:
    """A duration as people write it, or a number of seconds."""
    if node.kind == "number":
        found = float(node.value)
    else:
        try:
            found = parse_duration(node.text())
        except Invalid as error:
            node.fail(error.message, cure=error.cure)
    if not 0 <= found <= DELAY_MAX_S:
        cure = "Write a duration such as '250ms' or '2s'."
        node.fail(f"expected 0 to {DELAY_MAX_S:g} seconds, found {node.described()}", cure=cure)
    return found


def _fault(node: Node) -> Fault:
    """A word, or a status with its details."""
    if node.kind == "map":
        keys = node.mapping(FAULT_KEYS)
        if "status" not in keys:
            node.fail("the fault has no status", cure="Add `status: 503`, or name a fault by a word.")
        return Fault(
            kind=FaultKind.STATUS,
            status=keys["status"].integer(300, 599),
            retry_after=_header(keys["retry_after"]) if "retry_after" in keys else "",
            body=keys["body"].text() if "body" in keys else "",
        )
    word = node.text()[:100]
    known = [each.value for each in FaultKind if each is not FaultKind.STATUS]
    if word not in known:
        node.fail(unknown_name("fault", word, known), cure="For an HTTP status write `fault: {status: 503}`.")
    return Fault(kind=FaultKind(word))


def _header(node: Node) -> str:
    text = node.text()
    if not text.isascii() or not text.isprintable():
        node.fail("a header is one line of ASCII", cure="Write seconds, or a date as HTTP has it.")
    return text
