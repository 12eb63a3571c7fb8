"""A model script: rules, and the one function that finds what they answer to a request. Pure.

`plan` decides; how its decision looks on the wire is wire.py's business. Knows nothing of YAML or HTTP.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ostinato.domain.budget import Price
from ostinato.domain.chat import StopReason, Usage
from ostinato.domain.values import Value
from ostinato.models.scripted.template import Data, Scope, Template, fill, fill_data
from ostinato.models.tool_names import wire_name

ITEMS_MAX = 100
"""Items that one `for_each` goes through in one reply."""

Pattern = re.Pattern[str]


class FaultKind(enum.StrEnum):
    """Ways of a model server to go wrong."""

    STATUS = "status"
    """An HTTP status instead of a reply."""
    DROP = "drop"
    """The connection closes without an answer."""
    HANG = "hang"
    """No answer, until the asker gives up."""
    TRUNCATE = "truncate"
    """Half of the reply, then the connection closes."""
    MALFORMED = "malformed"
    """A reply that is no JSON."""
    HTML = "html"
    """A page of HTML with status 200."""
    EMPTY = "empty"
    """A reply without choices."""
    CUT_ARGUMENTS = "cut_arguments"
    """The JSON of the arguments ends in the middle."""
    NAN = "nan"
    """The arguments hold NaN, which is no JSON."""
    DUPLICATE_IDS = "duplicate_ids"
    """Two calls with one id."""
    UNKNOWN_TOOL = "unknown_tool"
    """A call of a tool that nobody offered."""
    ENDLESS = "endless"
    """A stream that never ends."""
    HUGE = "huge"
    """10 MB of text."""


class Fault(Value):
    """A fault and its details. `retry_after` goes out as the header, as it is."""

    kind: FaultKind
    status: int = 0
    retry_after: str = ""
    body: str = ""


class Times(Value):
    """Which times count: exact numbers, or from one on. The first time is 1."""

    exact: tuple[int, ...] = ()
    at_least: int | None = None

    def holds(self, number: int) -> bool:
        """True where this is one of the times."""
        return number in self.exact or (self.at_least is not None and number >= self.at_least)


class When(Value):
    """Conditions; all that are set must hold."""

    user: Pattern | None = None
    asked: Pattern | None = None
    result: Pattern | None = None
    item: Pattern | None = None
    system: Pattern | None = None
    model: Pattern | None = None
    tool: str = ""
    offered: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    not_called: tuple[str, ...] = ()
    called_now: tuple[str, ...] = ()
    not_called_now: tuple[str, ...] = ()
    call: Times | None = None
    attempt: Times | None = None
    nth: Times | None = None


class ForEach(Value):
    """What a rule goes through: new tool results, new user messages, or the matches in them."""

    source: str
    """`result`, `user`, `asked` or `item`."""
    tool: str = ""
    match: Pattern | None = None


class CallTemplate(Value):
    """A tool call before it is filled. `raw` is sent as the arguments' text as it is, valid JSON or not."""

    tool: Template
    args: Data = None
    raw: Template | None = None


class Answer(Value):
    """What a rule says."""

    text: Template | None = None
    thinking: Template | None = None
    calls: tuple[CallTemplate, ...] = ()
    stop: StopReason | None = None
    usage: Usage | None = None
    delay_s: float | None = None
    pace_s: float = 0.0
    fault: Fault | None = None


class Rule(Value):
    """One rule. It has an answer, or rules of its own (`choose`) with an `otherwise` for what none of them knows."""

    name: str
    when: When = When()
    unless: When | None = None
    for_each: ForEach | None = None
    answer: Answer = Answer()
    choose: tuple[Rule, ...] = ()
    otherwise: Rule | None = None


class Script(Value):
    """A whole script."""

    file: str
    rules: tuple[Rule, ...]
    default: Rule | None = None
    delay_s: float = 0.0
    models: tuple[str, ...] = ()
    price: Price | None = None


class Result(Value):
    """The result of a tool call as a request shows it; the tool's name as it goes over the wire."""

    tool: str
    text: str


class Seen(Value):
    """A request as a script sees it. *New* is what came after the model's last reply."""

    model: str
    system: str = ""
    user: tuple[str, ...] = ()
    """New user messages."""
    asked: tuple[str, ...] = ()
    """The last user messages, new or not."""
    results: tuple[Result, ...] = ()
    """New tool results."""
    offered: frozenset[str] = frozenset()
    called: frozenset[str] = frozenset()
    called_now: frozenset[str] = frozenset()
    """Tools called since the last user message."""
    call: int = 1
    """Number of this reply since the last user message."""
    attempt: int = 1
    """How many times exactly these messages have been sent, this time included."""
    prompt_bytes: int = 0


class PlannedCall(Value):
    """A call, ready to be sent: wire name, and the text of its arguments."""

    tool: str
    arguments: str


class Plan(Value):
    """What to answer. `counted`: rules whose conditions held, `nth` apart; the caller counts them for the next time."""

    rule: str
    text: str = ""
    thinking: str = ""
    """Said before the text, in dialects that show thoughts."""
    calls: tuple[PlannedCall, ...] = ()
    stop: StopReason = StopReason.END
    usage: Usage = Usage()
    delay_s: float = 0.0
    pace_s: float = 0.0
    fault: Fault | None = None
    counted: tuple[str, ...] = ()


class _Found(Value):
    """One rule that holds, with what its names stand for."""

    rule: Rule
    scope: Scope


class _Search:
    """One search through the rules: the request, and the counts as they grow."""

    def __init__(self, seen: Seen, counts: Mapping[str, int]) -> None:
        self.seen = seen
        self._counts = counts
        self.counted: list[str] = []

    def first(self, rules: tuple[Rule, ...], scope: Scope) -> list[_Found]:
        """The answers of the first rule that holds; empty where none does."""
        for rule in rules:
            matched = self._matches(rule, scope)
            if matched is None:
                continue
            found = self.answers_of(rule, {**scope, **matched})
            if found:
                return found
        return []

    def answers_of(self, rule: Rule, scope: Scope) -> list[_Found]:
        """A rule that holds, once or for each of its items, with the rules below it."""
        scopes = [scope] if rule.for_each is None else list(self._items(rule.for_each, scope))
        if not rule.choose:
            return [_Found(rule=rule, scope=each) for each in scopes]
        found: list[_Found] = []
        for each in scopes:
            inner = self.first(rule.choose, each)
            if not inner and rule.otherwise is not None:
                inner = self.answers_of(rule.otherwise, each)
            found.extend(inner)
        return found

    def _items(self, each: ForEach, scope: Scope) -> list[Scope]:
        texts: list[tuple[str, str]]
        match each.source:
            case "result":
                texts = [(r.tool, r.text) for r in self.seen.results if _is_tool(each.tool, r.tool)]
            case "user":
                texts = [("", text) for text in self.seen.user]
            case "asked":
                texts = [("", text) for text in self.seen.asked]
            case _:
                texts = [(scope.get("tool", ""), scope.get("item", ""))]
        found: list[Scope] = []
        for tool, text in texts:
            matches = each.match.finditer(text) if each.match is not None else (None,)
            for match in matches:
                if len(found) == ITEMS_MAX:
                    return found
                item = text if match is None else match[0]
                groups = {} if match is None else _groups(match)
                found.append({**scope, "item": item, "tool": tool, "number": str(len(found) + 1), **groups})
        return found

    def _matches(self, rule: Rule, scope: Scope) -> dict[str, str] | None:
        """What the rule's conditions captured; None where one does not hold."""
        captured = self._holds(rule.when, scope)
        if captured is None:
            return None
        if rule.unless is not None and self._holds(rule.unless, scope) is not None:
            return None
        if rule.when.nth is None:
            return captured
        nth = self._counts.get(rule.name, 0) + self.counted.count(rule.name) + 1
        self.counted.append(rule.name)
        return {**captured, "nth": str(nth)} if rule.when.nth.holds(nth) else None

    def _holds(self, when: When, scope: Scope) -> dict[str, str] | None:
        seen, captured = self.seen, dict[str, str]()
        if not (
            (when.call is None or when.call.holds(seen.call))
            and (when.attempt is None or when.attempt.holds(seen.attempt))
            and _all_in(when.offered, seen.offered)
            and _all_in(when.called, seen.called)
            and _all_in(when.called_now, seen.called_now)
            and not _any_in(when.not_called, seen.called)
            and not _any_in(when.not_called_now, seen.called_now)
        ):
            return None
        fields: tuple[tuple[Pattern | None, tuple[str, ...]], ...] = (
            (when.model, (seen.model,)),
            (when.system, (seen.system,)),
            (when.user, seen.user),
            (when.asked, seen.asked),
            (when.item, (scope.get("item", ""),)),
        )
        for pattern, texts in fields:
            if pattern is None:
                continue
            match = next((found for text in texts if (found := pattern.search(text))), None)
            if match is None:
                return None
            captured |= _groups(match)
        return self._holds_for_a_result(when, captured)

    def _holds_for_a_result(self, when: When, captured: dict[str, str]) -> dict[str, str] | None:
        """`tool` and `result` must hold for the same new result, which then is `{result}`."""
        if not when.tool and when.result is None:
            return captured
        for result in self.seen.results:
            if not _is_tool(when.tool, result.tool):
                continue
            if when.result is None:
                return {**captured, "result": result.text, "tool": result.tool}
            if match := when.result.search(result.text):
                return {**captured, **_groups(match), "result": result.text, "tool": result.tool}
        return None


def _is_tool(wanted: str, tool: str) -> bool:
    return not wanted or tool in (wire_name(wanted), wanted)


def _all_in(wanted: tuple[str, ...], known: frozenset[str]) -> bool:
    return all(name in known or wire_name(name) in known for name in wanted)


def _any_in(wanted: tuple[str, ...], known: frozenset[str]) -> bool:
    return any(name in known or wire_name(name) in known for name in wanted)


def _groups(match: re.Match[str]) -> dict[str, str]:
    return {name: text or "" for name, text in match.groupdict().items()}


BUILT_IN = ("user", "asked", "result", "results", "system", "item", "model", "tool", "call", "attempt", "nth", "number")
"""Names that every template can use, beside the captures."""


def plan(script: Script, seen: Seen, counts: Mapping[str, int]) -> Plan:
    """What the script answers to this request. Equal arguments give equal plans; never raises.

    `counts`: how often each rule with `nth` has held before. Where nothing matches and the script has no `default`, the
    answer is an error that quotes what came last.
    """
    search = _Search(seen, counts)
    scope: Scope = {
        "user": "\n\n".join(seen.user),
        "asked": "\n\n".join(seen.asked),
        "result": seen.results[-1].text if seen.results else "",
        "results": "\n\n".join(result.text for result in seen.results),
        "system": seen.system,
        "model": seen.model,
        "tool": seen.results[-1].tool if seen.results else "",
        "call": str(seen.call),
        "attempt": str(seen.attempt),
        "nth": "1",
        "item": "",
        "number": "1",
    }
    found = search.first(script.rules, scope)
    if not found and script.default is not None:
        found = search.answers_of(script.default, scope)
    if not found:
        return _unmatched(script, seen, tuple(search.counted))
    return _merged(script, seen, found=found, counted=tuple(search.counted))


def _merged(script: Script, seen: Seen, *, found: list[_Found], counted: tuple[str, ...]) -> Plan:
    """One reply out of all answers: texts as paragraphs, calls in order; the first that sets an option wins."""
    answers = [each.rule.answer for each in found]
    texts = [fill(each.rule.answer.text, each.scope) for each in found if each.rule.answer.text is not None]
    text = "\n\n".join(each for each in texts if each)
    thoughts = [fill(each.rule.answer.thinking, each.scope) for each in found if each.rule.answer.thinking is not None]
    calls = tuple(_call(call, each.scope) for each in found for call in each.rule.answer.calls)
    usage = next((each.usage for each in answers if each.usage is not None), None)
    said = len(text.encode()) + sum(len(call.arguments.encode()) + len(call.tool) for call in calls)
    return Plan(
        rule=", ".join(dict.fromkeys(each.rule.name for each in found)),
        text=text,
        thinking="\n\n".join(each for each in thoughts if each),
        calls=calls,
        stop=next((e.stop for e in answers if e.stop), None) or (StopReason.TOOLS if calls else StopReason.END),
        usage=usage or Usage(input_tokens=(seen.prompt_bytes + 3) // 4, output_tokens=max((said + 3) // 4, 1)),
        delay_s=next((e.delay_s for e in answers if e.delay_s is not None), script.delay_s),
        pace_s=max(each.pace_s for each in answers),
        fault=next((each.fault for each in answers if each.fault is not None), None),
        counted=counted,
    )


def _call(call: CallTemplate, scope: Scope) -> PlannedCall:
    tool = wire_name(fill(call.tool, scope))
    if call.raw is not None:
        return PlannedCall(tool=tool, arguments=fill(call.raw, scope))
    filled: Any = {} if call.args is None else fill_data(call.args, scope)
    return PlannedCall(tool=tool, arguments=msgspec.json.encode(filled).decode())


def _unmatched(script: Script, seen: Seen, counted: tuple[str, ...]) -> Plan:
    last = seen.results[-1].text if seen.results else (seen.user[-1] if seen.user else "")
    what = f"the result of {seen.results[-1].tool}" if seen.results else "the last message"
    quoted = " ".join(last[:600].split())[:160]
    words = f"no rule of {script.file} matches {what} and the script has no `default`: {quoted!r}"
    body = msgspec.json.encode({"error": {"message": words, "type": "no_rule", "code": "no_rule"}}).decode()
    return Plan(rule="", fault=Fault(kind=FaultKind.STATUS, status=422, body=body), counted=counted)
