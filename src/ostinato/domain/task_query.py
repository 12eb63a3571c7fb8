"""Asking for tasks in a line: `status:failed project:acme skill:billing cost:>1 age:>2d refund`.

Terms are parted by spaces and must all hold. `key:value` compares, commas in a value give alternatives, `*` stands for
any text, `<`, `<=`, `>`, `>=` compare figures, a minus before the term turns it round, and a word alone is looked for
in the title. Letters' case counts in an agent, project or session that is written out, which an index answers.
Knows nothing of stores: what a list cannot answer by an index is asked of each task.
"""

from __future__ import annotations

import math
import operator
import re
import shlex
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.stalled import STALLED_S, why_stalled
from ostinato.domain.task import UNFINISHED, Task, TaskKind, TaskState
from ostinato.domain.values import SECOND, Instant, Source, Value

QUERY_CHARACTERS_MAX = 2_000
TERMS_MAX = 50

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "": operator.eq,
}
_FIGURE = re.compile(r"(>=|<=|>|<|)(.+)", re.DOTALL)

_TEXTS: Mapping[str, Callable[[Task], tuple[str, ...]]] = {
    "status": lambda task: (task.state.value,),
    "kind": lambda task: (task.kind.value,),
    "agent": lambda task: (task.agent or "",),
    "project": lambda task: (task.project,),
    "type": lambda task: (task.type,),
    "skill": lambda task: task.spec.skills,
    "requester": lambda task: (task.spec.requester,),
    "trigger": lambda task: (task.spec.trigger.value,),
    "session": lambda task: (task.session or "",),
    "parent": lambda task: (f"T{task.parent}" if task.parent else "",),
    "error": lambda task: (task.result.error_class, task.result.error) if task.result else ("",),
    "key": lambda task: (task.key or "",),
}
_FIGURES: Mapping[str, Callable[[Task, Instant], float]] = {
    "cost": lambda task, _now: task.usd_micros / 1_000_000,
    "tokens": lambda task, _now: task.tokens,
    "priority": lambda task, _now: task.priority,
    "attempts": lambda task, _now: task.attempts,
    "steps": lambda task, _now: task.steps,
    "depth": lambda task, _now: task.depth,
}
_AGES: Mapping[str, Callable[[Task, Instant], float]] = {
    "age": lambda task, now: (now - task.created_at) / SECOND,
    "idle": lambda task, now: (now - task.updated_at) / SECOND,
}
_FACTS: Mapping[str, Callable[[Task, Instant, float], bool]] = {
    "stalled": lambda task, now, after_s: bool(why_stalled(task, now=now, after_s=after_s)),
    "dead": lambda task, _now, _after_s: task.state is TaskState.FAILED and not task.dismissed,
    "open": lambda task, _now, _after_s: task.state in UNFINISHED,
    "late": lambda task, now, _after_s: task.state in UNFINISHED and (task.spec.deadline_at or now) < now,
}
_SYNONYMS = {"state": "status", "skills": "skill", "usd": "cost", "source": "trigger"}
_KNOWN_VALUES = {
    "status": tuple(each.value for each in TaskState),
    "kind": tuple(each.value for each in TaskKind),
    "trigger": tuple(each.value for each in Source),
}
KEYS = (*_TEXTS, *_FIGURES, *_AGES, "is", "title")
"""What can be asked for, `title` also by a word alone."""


class Term(Value):
    """One condition: it holds for a task, or with `negated` it does not."""

    key: str
    values: tuple[str, ...]
    negated: bool = False
    compare: str = ""
    """`>`, `>=`, `<`, `<=`; empty: equal."""
    figure: float = 0.0


class TaskQuery(Value):
    """Terms that must all hold; without any, every task is meant."""

    terms: tuple[Term, ...] = ()

    def only(self, key: str) -> tuple[str, ...]:
        """The plain values of the first term for `key` that an index could answer: not negated, no pattern."""
        for term in self.terms:
            if term.key == key and not term.negated and not any("*" in each for each in term.values):
                return term.values
        return ()

    def names(self, *keys: str) -> bool:
        """True where a term asks for one of these keys."""
        return any(term.key in keys for term in self.terms)

    def holds(self, task: Task, *, now: Instant, stalled_s: float = STALLED_S) -> bool:
        """True where every term holds. `stalled_s`: seconds without a step after which a running task is stalled."""
        return all(_holds(term, task, now, stalled_s=stalled_s) is not term.negated for term in self.terms)


def parse_query(text: str) -> TaskQuery:
    """Raises Invalid with the term that is wrong and what is known."""
    if len(text) > QUERY_CHARACTERS_MAX:
        raise Invalid(f"The query is longer than {QUERY_CHARACTERS_MAX} characters")
    try:
        words = shlex.split(text, comments=False)
    except ValueError as error:
        raise Invalid(f"The query is not understood: {error}", cure="Close each quotation mark.") from error
    if len(words) > TERMS_MAX:
        raise Invalid(f"The query has {len(words)} terms", cure=f"Use at most {TERMS_MAX}.")
    return TaskQuery(terms=tuple(map(_term_of, words)))


def _term_of(word: str) -> Term:
    """Raises Invalid with the term as its place."""
    try:
        return _term(word)
    except Invalid as error:
        raise Invalid(error.message, place=f"term {word[:80]!r}", cure=error.cure) from None


def _term(word: str) -> Term:
    negated = word.startswith("-") and len(word) > 1
    key, colon, value = word.removeprefix("-").partition(":") if negated else word.partition(":")
    if not colon:
        return Term(key="title", values=(key,), negated=negated)
    key = _SYNONYMS.get(key.casefold(), key.casefold())
    if key not in KEYS:
        cure = f"What stands in the title: 'title:{word[:80]}'."
        raise Invalid(unknown_name("key", key[:40], KEYS), cure=cure)
    values = tuple(filter(None, value.split(",")))
    if not values:
        raise Invalid("It names no value", cure=f"Write {key}:VALUE.")
    if key in _FIGURES or key in _AGES:
        return _figure(key, value, negated=negated)
    known = tuple(_FACTS) if key == "is" else _KNOWN_VALUES.get(key, ())
    for each in values:
        if known and "*" not in each and each.casefold() not in known:
            raise Invalid(unknown_name(key, each[:40], known))
    return Term(key=key, values=tuple(map(str.casefold, values)) if known else values, negated=negated)


def _figure(key: str, value: str, *, negated: bool) -> Term:
    found = _FIGURE.fullmatch(value)
    assert found is not None, "the pattern matches every text that is not empty"
    compare, number = found.groups()
    if key in _AGES:
        figure = parse_duration(number)
    else:
        try:
            figure = float(number.removeprefix("$"))
        except ValueError:
            figure = math.nan
    if not math.isfinite(figure):
        raise Invalid(f"{number[:40]!r} is no number", cure=f"For example {key}:>1.")
    return Term(key=key, values=(), negated=negated, compare=compare, figure=figure)


def _holds(term: Term, task: Task, now: Instant, *, stalled_s: float) -> bool:
    if term.key == "is":
        return any(_FACTS[each](task, now, stalled_s) for each in term.values)
    if term.key == "title":
        return any(each.casefold() in task.title.casefold() for each in term.values)
    if term.key in _TEXTS:
        has = [each.casefold() for each in _TEXTS[term.key](task)]
        return any(fnmatchcase(each, _pattern(wanted)) for each in has for wanted in term.values)
    measure = _FIGURES.get(term.key) or _AGES[term.key]
    return _COMPARE[term.compare](measure(task, now), term.figure)


def _pattern(value: str) -> str:
    """Of the signs that stand for others, only `*` does here."""
    return value.casefold().replace("[", "[[]").replace("?", "[?]")
