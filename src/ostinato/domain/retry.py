"""When to try again: for each class of failure so many attempts, and how long to wait before the next.

What a task says goes before what its agent says, that before the fleet, that before what is usual. Knows nothing of
tasks or clocks; randomness is passed in as one number. Source of the exponential form: the "full jitter" variant of
capped exponential backoff, which spreads retries best when many clients fail together.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.values import Value


class FailureClass(enum.StrEnum):
    """What kind of failure it is: what is tried again, how often, and by whom."""

    TRANSIENT = "transient"
    """It may be over soon: a connection, a server in trouble, a time limit."""
    RATE_LIMITED = "rate_limited"
    """The other side asks us to slow down."""
    PERMANENT = "permanent"
    """The same will fail again: a wrong key, an unknown name, a context that does not fit."""
    POLICY = "policy"
    """A rule, a limit or a person said no. Never tried again by itself."""
    INVALID_OUTPUT = "invalid_output"
    """What the model or the agent returned cannot be used."""
    UNKNOWN = "unknown"
    """A surprise."""


_KINDS: Mapping[FailureClass, frozenset[str]] = {
    FailureClass.TRANSIENT: frozenset({"transient", "timeout", "exhausted"}),
    FailureClass.RATE_LIMITED: frozenset({"rate_limited"}),
    FailureClass.PERMANENT: frozenset({"permanent", "too_long", "invalid", "not_found", "command", "order", "poison"}),
    FailureClass.POLICY: frozenset({"policy", "denied", "refused", "budget", "limit", "deadline", "stopped"}),
    FailureClass.INVALID_OUTPUT: frozenset({"invalid_output", "turn"}),
}


def class_of(kind: str) -> FailureClass:
    """The class of an `error_class`, as outcomes and results name it more closely; `unknown` for whatever else."""
    return next((each for each, kinds in _KINDS.items() if kind in kinds), FailureClass.UNKNOWN)


class Backoff(enum.StrEnum):
    """How the wait grows from try to try."""

    IMMEDIATE = "immediate"
    FIXED = "fixed"
    EXPONENTIAL = "exponential"


class RetryRule(Value):
    """How often and how soon it is tried again; None: whoever stands behind says so."""

    attempts_max: int | None = None
    """Attempts in all that may end in such an error; parks, drains and lost nodes do not count."""
    backoff: Backoff | None = None
    base_s: float | None = None
    factor: float | None = None
    max_s: float | None = None
    jitter: bool | None = None
    """Whether an exponential wait is drawn from all of its window."""
    asked_max_s: float | None = None
    """How long the other side is believed that asks to be left alone (Retry-After)."""


class RetryPolicy(RetryRule):
    """A rule for every class, and others for some. `attempts_max` of all makes no more of what is permanent, forbidden
    or cannot be used: that must be said of the class itself."""

    classes: Mapping[FailureClass, RetryRule] = {}


class Rule(Value):
    """The rule that holds for one class of one task."""

    attempts_max: int
    backoff: Backoff
    base_s: float
    factor: float
    max_s: float
    jitter: bool
    asked_max_s: float


USUAL = RetryPolicy(
    attempts_max=3,
    backoff=Backoff.EXPONENTIAL,
    base_s=2.0,
    factor=2.0,
    max_s=300.0,
    jitter=True,
    asked_max_s=3_600.0,
    classes={
        FailureClass.RATE_LIMITED: RetryRule(attempts_max=6, base_s=5.0),
        FailureClass.PERMANENT: RetryRule(attempts_max=1),
        FailureClass.POLICY: RetryRule(attempts_max=1),
        FailureClass.INVALID_OUTPUT: RetryRule(attempts_max=1),
    },
)
"""What holds where nobody says anything: six tries over ten minutes where we are asked to slow down, three within
seconds of what may be over soon, and one of what will not get better by itself."""

_ONCE = frozenset({FailureClass.PERMANENT, FailureClass.POLICY, FailureClass.INVALID_OUTPUT})
"""Classes of which the attempts for all classes say nothing."""

_NO_RULE = RetryRule()


def rule_of(failure: FailureClass, *layers: RetryPolicy | None) -> Rule:
    """What holds for a class; the first layer that says something about it decides."""
    said: dict[str, Any] = {}
    for layer in (*(each for each in layers if each is not None), USUAL):
        own = layer.classes.get(failure, _NO_RULE)
        for name in Rule.__struct_fields__:
            if said.get(name) is None:
                said[name] = getattr(own, name)
            if said[name] is None and not (name == "attempts_max" and failure in _ONCE):
                said[name] = getattr(layer, name)
    if failure is FailureClass.POLICY:
        said["attempts_max"] = 1
    return Rule(**said)


def delay_s(rule: Rule, *, failures: int, chance: float, asked_s: float | None = None) -> float | None:
    """Seconds until the next try after `failures` failed attempts (>= 1) of its class, or None when no try is left.

    `chance` in [0, 1) places the delay in its window; `asked_s` (a server's Retry-After) is a lower bound that the
    rule's maximum does not shorten, but `asked_max_s` does.
    """
    if failures >= rule.attempts_max:
        return None
    asked = min(max(asked_s or 0.0, 0.0), rule.asked_max_s)
    match rule.backoff:
        case Backoff.IMMEDIATE:
            return asked
        case Backoff.FIXED:
            return max(min(rule.base_s, rule.max_s), asked)
        case Backoff.EXPONENTIAL:
            try:
                window = min(rule.max_s, rule.base_s * rule.factor ** (failures - 1))
            except OverflowError:  # beyond any maximum
                window = rule.max_s
            return max(window * chance if rule.jitter else window, asked)


RULE_KEYS = ("attempts", "backoff", "base", "factor", "max", "jitter", "retry_after_max")
RETRY_KEYS = (*RULE_KEYS, *(each.value for each in FailureClass))

ATTEMPTS_MAX = 1_000
DELAY_MAX_S = 7 * 86_400.0
FACTOR_MAX = 100.0


def parse_retry(plain: Any, *, place: str = "", more: Sequence[str] = ()) -> RetryPolicy:
    """The policy that people write as `{attempts: 5, base: 10s, rate_limited: {attempts: 9}}`. Raises Invalid with what
    is wrong. `more`: keys beside these, which somebody else reads."""
    keys = _checked(plain, (*RETRY_KEYS, *more), place=place)
    classes = {
        each: _rule(_checked(keys[each.value], RULE_KEYS, place=f"{place}.{each.value}"), f"{place}.{each.value}")
        for each in FailureClass
        if each.value in keys
    }
    if classes.get(FailureClass.POLICY, _NO_RULE).attempts_max not in (None, 1):
        what = "What a rule or a person has refused is not tried again by itself"
        raise Invalid(what, place=f"{place}.policy.attempts", cure="Leave it out.")
    usual = _rule(keys, place)
    return RetryPolicy(**msgspec.structs.asdict(usual), classes=classes)


def most_attempts(policy: RetryPolicy) -> int:
    """The most attempts that it names for any class; 0 where it names none."""
    return max((each.attempts_max or 0 for each in (policy, *policy.classes.values())), default=0)


def _checked(plain: Any, known: Sequence[str], *, place: str) -> Mapping[str, Any]:
    if not isinstance(plain, Mapping):
        raise Invalid("This is no group of keys", place=place, cure="For example {attempts: 5, base: 10s}.")
    for key in plain:
        if key not in known:
            raise Invalid(unknown_name("key", str(key)[:64], known), place=place)
    return plain


def _rule(keys: Mapping[str, Any], place: str) -> RetryRule:
    backoff = keys.get("backoff")
    if backoff is not None and backoff not in tuple(Backoff):
        raise Invalid(unknown_name("backoff", str(backoff)[:64], Backoff), place=f"{place}.backoff")
    jitter = keys.get("jitter")
    if jitter is not None and not isinstance(jitter, bool):
        raise Invalid(f"{str(jitter)[:64]!r} is neither true nor false", place=f"{place}.jitter")
    return RetryRule(
        attempts_max=_whole(keys, "attempts", place),
        backoff=None if backoff is None else Backoff(backoff),
        base_s=_seconds(keys, "base", place, least=0.1),
        factor=_factor(keys, place),
        max_s=_seconds(keys, "max", place, least=0.1),
        jitter=jitter,
        asked_max_s=_seconds(keys, "retry_after_max", place, least=0.0),
    )


def _whole(keys: Mapping[str, Any], key: str, place: str) -> int | None:
    value = keys.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= ATTEMPTS_MAX:
        cure = f"A whole number from 1 to {ATTEMPTS_MAX}."
        raise Invalid(f"{str(value)[:64]!r} is no number of attempts", place=f"{place}.{key}", cure=cure)
    return value


def _factor(keys: Mapping[str, Any], place: str) -> float | None:
    value = keys.get("factor")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= FACTOR_MAX:
        raise Invalid(f"{str(value)[:64]!r} is no factor", place=f"{place}.factor", cure="A number from 1 to 100.")
    return float(value)


def _seconds(keys: Mapping[str, Any], key: str, place: str, *, least: float) -> float | None:
    value = keys.get(key)
    if value is None:
        return None
    try:
        found = parse_duration(str(value))
    except Invalid as error:
        raise Invalid(error.message, place=f"{place}.{key}", cure=error.cure) from None
    if not least <= found <= DELAY_MAX_S:
        cure = f"From {least:g}s to 7d."
        raise Invalid(f"{str(value)[:64]!r} is no time to wait", place=f"{place}.{key}", cure=cure)
    return found
