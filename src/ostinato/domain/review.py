"""Reviews: who must accept a result before it counts, how often work may come back, and what was said about it.

A rule over the result, a command in the sandbox of whoever did the work, another agent, or a person. Knows nothing of
tasks, stores or how a reviewer works.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, assert_never

import msgspec

from ostinato.domain.condition import CompiledCondition, Kind, compile_condition
from ostinato.domain.duration import format_duration, parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.gate import OPERATOR
from ostinato.domain.person import PERSON
from ostinato.domain.step import Entry, Note, Reviewed, Submitted
from ostinato.domain.values import Value

ROUNDS = 3
"""Times that a result may be rejected before its task fails, unless the review says otherwise."""

ROUNDS_MAX = 20
"""The most rounds that a review may have."""

COMMAND_TIMEOUT_S = 600.0
WORDS_MAX = 100
"""Words of a command."""

REVIEW_KEYS = ("when", "command", "agent", "person", "timeout", "within", "escalate", "rounds")
"""Keys of a review; exactly one of the first four says who reviews."""

_WHO = REVIEW_KEYS[:4]
_BESIDE = {"when": (), "command": ("timeout",), "agent": (), "person": ("within", "escalate")}
_CURE = "Write one of {when: CEL}, {command: [pytest, -q]}, {agent: NAME} or {person: operator, within: 1d}."

RULE_VARIABLES: dict[str, Kind] = {
    "result": str,
    "data": dict,
    "task": {"title": str, "goal": str, "type": str, "project": str, "agent": str, "input": dict},
    "round": int,
}
"""What a rule over a result can ask about."""


class ByRule(Value, tag="rule"):
    """A condition over the result."""

    when: str

    @property
    def condition(self) -> CompiledCondition:
        """Compiled; raises Invalid."""
        return compile_condition(self.when, variables=RULE_VARIABLES)


class ByCommand(Value, tag="command"):
    """A command: exit 0 accepts."""

    argv: tuple[str, ...]
    timeout_s: float = COMMAND_TIMEOUT_S


class ByAgent(Value, tag="agent"):
    """Another agent."""

    agent: str


class ByPerson(Value, tag="person"):
    """A person: a role, or a name. Nobody within the time is a rejection for good."""

    person: str = OPERATOR
    within_s: float | None = None
    escalate: str = ""
    """Whom else to ask, `escalate_s` seconds later; empty: nobody."""
    escalate_s: float = 0.0


Reviewer = ByRule | ByCommand | ByAgent | ByPerson
"""Who reviews, consumed by `match`."""


class ReviewTerms(Value):
    """What a result must pass before it counts."""

    by: Reviewer
    rounds: int = ROUNDS
    """The rejection with this number fails the task."""


def read_review(given: object) -> ReviewTerms:
    """Terms as people write them: a group of `REVIEW_KEYS`, or a text such as `agent:reviewer`, `person`,
    `command:pytest -q`, `when:size(result) > 0`. Raises Invalid."""
    if isinstance(given, str):
        given = _from_text(given.strip())
    if not isinstance(given, Mapping):
        raise Invalid("A review is a group of keys, or a text such as 'agent:reviewer'", cure=_CURE)
    for key in given:
        if key not in REVIEW_KEYS:
            raise Invalid(unknown_name("key of a review", str(key)[:64], REVIEW_KEYS), cure=_CURE)
    named = [each for each in _WHO if each in given]
    if len(named) != 1:
        raise Invalid("The review names nobody" if not named else f"The review names {' and '.join(named)}", cure=_CURE)
    beside = ("rounds", *_BESIDE[named[0]])
    for key in given:
        if key != named[0] and key not in beside:
            raise Invalid(f"{key!r} says nothing about a review by {named[0]}", cure=f"Beside it: {', '.join(beside)}.")
    return ReviewTerms(by=_READERS[named[0]](given), rounds=_rounds(given.get("rounds", ROUNDS)))


def _from_text(text: str) -> object:
    if text.startswith("{"):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Invalid(f"The review is no JSON: {error}", cure=_CURE) from None
    who, _, rest = (each.strip() for each in text.partition(":"))
    if who and who not in _WHO:
        raise Invalid(unknown_name("reviewer", who[:64], _WHO), cure=_CURE)
    return {who: rest or (OPERATOR if who == "person" else "")} if who else {}


def _rule(given: Mapping[str, Any]) -> ByRule:
    rule = ByRule(when=_text(given, "when", most=2_000))
    _ = rule.condition
    return rule


def _command(given: Mapping[str, Any]) -> ByCommand:
    words = given["command"]
    try:
        argv = shlex.split(words) if isinstance(words, str) else words
    except ValueError as error:
        raise Invalid(f"The review's command is not understood: {error}", cure="Write [pytest, -q].") from None
    fits = isinstance(argv, Sequence) and 0 < len(argv) <= WORDS_MAX and all(isinstance(each, str) for each in argv)
    if not fits or not argv[0]:
        raise Invalid("The review's command is no list of words", cure="Write [pytest, -q].")
    return ByCommand(argv=tuple(argv), timeout_s=_seconds(given, "timeout") or COMMAND_TIMEOUT_S)


def _agent(given: Mapping[str, Any]) -> ByAgent:
    return ByAgent(agent=_text(given, "agent", most=64))


def _person(given: Mapping[str, Any]) -> ByPerson:
    escalate = given.get("escalate")
    if escalate is not None and not (isinstance(escalate, Mapping) and escalate.keys() == {"to", "after"}):
        raise Invalid("It does not say whom else to ask, and when", cure="Write escalate: {to: admin, after: 8h}.")
    return ByPerson(
        person=_somebody(given, "person"),
        within_s=_seconds(given, "within"),
        escalate=_somebody(escalate, "to") if escalate else "",
        escalate_s=(_seconds(escalate, "after") or 0.0) if escalate else 0.0,
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Reviewer]] = {
    "when": _rule,
    "command": _command,
    "agent": _agent,
    "person": _person,
}


def _text(given: Mapping[str, Any], key: str, *, most: int) -> str:
    value = given[key]
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise Invalid(f"{key!r} of the review is no text of 1 to {most} characters", cure=_CURE)
    return value.strip()


def _somebody(given: Mapping[str, Any], key: str) -> str:
    text = _text(given, key, most=64)
    if not PERSON.fullmatch(text):
        raise Invalid(f"{text!r} is nobody", cure="Write operator, admin, or a person's name.")
    return text


def _seconds(given: Mapping[str, Any], key: str) -> float | None:
    if key not in given:
        return None
    value = given[key]
    if not isinstance(value, str):
        raise Invalid(f"{key!r} of the review is no duration", cure="Write it as '30m', '4h' or '1d'.")
    seconds = parse_duration(value)
    if seconds < 1.0:
        raise Invalid(f"{key!r} of the review is too short", cure="It can be 1s or more.")
    return seconds


def _rounds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= ROUNDS_MAX:
        raise Invalid("'rounds' of the review is no number that can be", cure=f"It can be 1 to {ROUNDS_MAX}.")
    return value


def review_words(terms: ReviewTerms) -> str:
    """Who reviews, for people."""
    match terms.by:
        case ByRule(when=when):
            return f"the rule {when}"
        case ByCommand(argv=argv):
            return shlex.join(argv)
        case ByAgent(agent=agent):
            return agent
        case ByPerson(person=person, within_s=within_s):
            return person if within_s is None else f"{person} within {format_duration(within_s)}"
        case _:
            assert_never(terms.by)


def reviewing_people(terms: ReviewTerms | None) -> tuple[str, ...]:
    """The people, or roles, that a review asks."""
    by = None if terms is None else terms.by
    return tuple(filter(None, (by.person, by.escalate))) if isinstance(by, ByPerson) else ()


def rejections(journal: Iterable[Entry]) -> int:
    """How often the work came back since a person last sent it on."""
    count = 0
    for entry in journal:
        if isinstance(entry, Reviewed) and not entry.accepted:
            count += 1
        elif isinstance(entry, Note) and entry.sends_on:
            count = 0
    return count


def last_submitted(journal: Sequence[Entry]) -> Submitted | None:
    """The submission that a verdict is about; None where the task was never submitted by its handler."""
    return next((each for each in reversed(journal) if isinstance(each, Submitted)), None)


class _Said(Value):
    accept: bool
    notes: str = ""


def verdict_in(text: str, data: Mapping[str, Any] | None) -> tuple[bool, str] | None:
    """The verdict that a reviewer returns as its result, where it cannot call tools: `{"accept": true, "notes": ""}`,
    as data or as the last line of its text. None where it says no such thing."""
    if data is not None and isinstance(data.get("accept"), bool):
        return data["accept"], str(data.get("notes") or text)
    lines = text.strip().rsplit("\n", 1)
    for each in dict.fromkeys((text.strip(), lines[-1].strip())):
        try:
            said = msgspec.json.decode(each, type=_Said)
        except (msgspec.DecodeError, RecursionError):
            continue
        return said.accept, said.notes
    return None
