"""Real exchanges with a model as a script that replays them: what was asked becomes conditions, what came back a rule.

Whatever changes from run to run (times, numbers of tasks and messages, digests) is matched by its form. Secrets are
taken out of everything first, plain or in the usual disguises, and so is whatever looks like a key. Pure. Knows nothing
of sockets.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ostinato.domain.chat import Usage
from ostinato.domain.errors import Exhausted
from ostinato.domain.secret import Redactor, Secret
from ostinato.domain.values import Value
from ostinato.models.failures import KEY_LIKE
from ostinato.models.reply import Whole, read_arguments
from ostinato.models.scripted.script import Seen
from ostinato.models.scripted.template import escape_template
from ostinato.models.scripted.yaml_nodes import FILE_MAX_BYTES, KEY_MAX
from ostinato.models.surrogates import without_surrogates

REMOVED = "***"
"""Stands where a secret stood; in a condition it matches anything."""

CONDITION_MAX = 2_000
"""Characters of a message that a condition compares."""

DEPTH_MAX = 20
"""Levels of arguments that are written as YAML; deeper ones stay text."""

HEAD = """\
# Recorded from a real model; secrets were taken out. Each rule is one exchange, in the order in which they happened.
# What would change from run to run (times, numbers, digests) is matched by its form. Look it through before sharing it.
"""

_VOLATILE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)"
    r"|(?P<number>\b[TMQ]\d+\b)|(?P<digest>\b[0-9a-f]{12,64}\b)|(?P<removed>\*\*\*)"
)
_FORMS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?",
    "number": r"[TMQ]\d+",
    "digest": "[0-9a-f]{12,64}",
    "removed": r"[\s\S]*?",
}
_LINE_ENDS = frozenset("\r\x85\u2028\u2029\ufeff")
_SPECIAL = re.compile(r"[.^$*+?{}\[\]\\|()]")


class Refusal(Value):
    """An error that a provider answered."""

    status: int
    body: str = ""
    retry_after: str = ""


class Exchange(Value):
    """One request as rules would see it, and what came back."""

    seen: Seen
    reply: Whole | Refusal


class Secrets:
    """Values that must not be in a recording. What is too short to be one is not looked for."""

    def __init__(self, values: Iterable[str]) -> None:
        self._redactor = Redactor((Secret("", value) for value in values), stars=REMOVED)

    def removed_from(self, text: str) -> str:
        """The text without them, and without whatever looks like a key."""
        return KEY_LIKE.sub(REMOVED, self._redactor.text(text))


def script_text(exchanges: Sequence[Exchange], secrets: Secrets) -> str:
    """The script in YAML. Raises Exhausted where it would be longer than a script may be."""
    from ruamel.yaml import YAML

    rules = [_rule(number, each, secrets) for number, each in enumerate(exchanges, 1)]
    _count_equal(rules)
    yaml = YAML()
    yaml.width = 100
    written = io.StringIO()
    yaml.dump({"rules": [_quoted(each) for each in rules]}, written)
    text = HEAD + written.getvalue()
    if len(text.encode()) > FILE_MAX_BYTES:
        raise Exhausted("The recording is longer than a script may be", cure="Begin another one.")
    return text


def _quoted(value: Any) -> Any:
    """Texts with odd line ends in quotes, where YAML has them as escapes: elsewhere it reads them as line feeds."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    match value:
        case dict():
            return {_quoted(key): _quoted(each) for key, each in value.items()}
        case list():
            return [_quoted(each) for each in value]
        case str() if not _LINE_ENDS.isdisjoint(value):
            return DoubleQuotedScalarString(value)
        case _:
            return value


def _count_equal(rules: list[dict[str, Any]]) -> None:
    """Where the same was asked again, each rule answers once, and the last one from then on."""
    latest: dict[bytes, dict[str, Any]] = {}
    for rule in rules:
        key = msgspec.json.encode(rule["when"])
        before = latest.get(key)
        if before is not None:
            before["when"] = {**before["when"], "nth": 1}
        latest[key] = rule


def _rule(number: int, exchange: Exchange, secrets: Secrets) -> dict[str, Any]:
    rule = {"name": f"exchange {number}", "when": _when(exchange.seen, secrets), **_answer(exchange.reply, secrets)}
    found: dict[str, Any] = without_surrogates(rule)
    return found


def _when(seen: Seen, secrets: Secrets) -> dict[str, Any]:
    when: dict[str, Any] = {"call": seen.call}
    if seen.model:
        shown = secrets.removed_from(seen.model)
        when["model"] = rf"\A{_escaped(shown)}\Z" if shown == seen.model else pattern_of(shown)
    if seen.results:
        when["tool"] = secrets.removed_from(seen.results[-1].tool)
        when["result"] = pattern_of(secrets.removed_from(seen.results[-1].text))
    elif seen.user:
        when["user"] = pattern_of(secrets.removed_from(seen.user[-1]))
    return {key: value for key, value in when.items() if value != ""}


def pattern_of(text: str) -> str:
    """A regular expression that matches this text, and the same text at another time."""
    shown = text[:CONDITION_MAX]
    parts, end = [r"\A"], 0
    for found in _VOLATILE.finditer(shown):
        parts.append(_escaped(shown[end : found.start()]))
        parts.append(_FORMS[found.lastgroup or ""])
        end = found.end()
    parts.append(_escaped(shown[end:]))
    return "".join(parts) + (r"\Z" if len(shown) == len(text) else "")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)


def _answer(reply: Whole | Refusal, secrets: Secrets) -> Mapping[str, Any]:
    def said(text: str) -> str:
        return escape_template(secrets.removed_from(text))

    if isinstance(reply, Refusal):
        fault: dict[str, Any] = {"status": reply.status}
        if reply.retry_after:
            fault["retry_after"] = secrets.removed_from(reply.retry_after)
        if reply.body:
            fault["body"] = secrets.removed_from(reply.body)
        return {"fault": fault}
    answer: dict[str, Any] = {"text": said(reply.text)}
    thoughts = "\n\n".join(each.text for each in reply.thoughts if each.text)
    if thoughts:
        answer["thinking"] = said(thoughts)
    if reply.calls:
        answer["calls"] = [_call(*map(secrets.removed_from, (call.name, call.arguments))) for call in reply.calls]
    stop = "filter" if reply.refused or reply.finish == "content_filter" else reply.finish
    if stop in ("length", "filter"):
        answer["stop"] = stop
    if reply.usage is not None:
        answer["usage"] = _usage(reply.usage)
    return answer


def _call(name: str, arguments: str) -> dict[str, Any]:
    found, problem = read_arguments(arguments)
    if problem or found is None or not _is_plain(found, 0):
        return {"tool": escape_template(name), "raw": escape_template(arguments)}
    return {"tool": escape_template(name), "args": _escaped_data(found)}


def _is_plain(value: Any, depth: int) -> bool:
    """True for what YAML says as it is."""
    if depth > DEPTH_MAX:
        return False
    match value:
        case dict():
            return all(len(key) <= KEY_MAX for key in value) and all(_is_plain(v, depth + 1) for v in value.values())
        case list():
            return all(_is_plain(each, depth + 1) for each in value)
        case bool() | None | str():
            return True
        case int():
            return abs(value) < 2**63
        case _:
            return False  # decimals have more than one spelling


def _escaped_data(value: Any) -> Any:
    match value:
        case dict():
            return {key: _escaped_data(each) for key, each in value.items()}
        case list():
            return [_escaped_data(each) for each in value]
        case str():
            return escape_template(value)
        case _:
            return value


def _usage(usage: Usage) -> dict[str, int]:
    found = {
        "input": usage.input_tokens,
        "cached": usage.cached_tokens,
        "written": usage.written_tokens,
        "output": usage.output_tokens,
    }
    return {name: tokens for name, tokens in found.items() if tokens}
