"""What is to happen when a task fails, as people write it: in ostinato.toml, AGENTS.md, and files in an inbox.

Knows nothing of tasks, nor of who is asked in the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from ostinato.domain.breaker import USUAL_RULES, BreakerRule
from ostinato.domain.errors import Invalid
from ostinato.domain.escalation import Rung, parse_rungs
from ostinato.domain.failure import SKILLS
from ostinato.domain.retry import RETRY_KEYS, RULE_KEYS, FailureClass, RetryPolicy, parse_retry
from ostinato.domain.values import Value
from ostinato.workspace.fields import ID, ID_CURE, Fields

FAILURE_KEYS = ("retry", "fallback", "escalate")
"""In the front matter of AGENTS.md and of files in an inbox."""

FLEET_RETRY_KEYS = {
    "retry": (*RETRY_KEYS, "fallback", "escalate"),
    **{f"retry.{each.value}": RULE_KEYS for each in FailureClass},
}
"""The same in ostinato.toml."""


class FailureRules(Value):
    """What somebody says about failures; whoever is more particular goes before."""

    retry: RetryPolicy | None = None
    fallback: str = ""
    """An agent, or `skills` for whoever else has the skills; empty: nothing is said."""
    escalate: tuple[Rung, ...] | None = None
    """Whom to ask; None: nothing is said, and an empty list asks nobody."""


NO_RULES = FailureRules()

BREAKER_RULE_KEYS = ("failures", "window", "open", "open_max", "retry_after_max", "probe")
BREAKER_KEYS = {
    "breakers": tuple(USUAL_RULES),
    **{f"breakers.{each}": BREAKER_RULE_KEYS for each in USUAL_RULES},
}
"""Of ostinato.toml: when calls stop, and for how long."""

FAILURES_MAX = 10_000


def parse_failure_rules(fields: Fields) -> FailureRules:
    """What front matter says, in keys of their own."""
    rungs = parse_rungs(fields.plain("escalate"), place=fields.place("escalate")) if fields.has("escalate") else None
    return FailureRules(
        retry=parse_retry(fields.plain("retry"), place=fields.place("retry")) if fields.has("retry") else None,
        fallback=_fallback(fields),
        escalate=rungs,
    )


def parse_fleet_failures(root: Fields) -> FailureRules:
    """What the table `[retry]` of the fleet's file says."""
    if not root.has("retry"):
        return NO_RULES
    fields = root.group("retry", FLEET_RETRY_KEYS["retry"])
    assert fields is not None, "it is there"
    rungs = parse_rungs(fields.plain("escalate"), place=fields.place("escalate")) if fields.has("escalate") else None
    policy = parse_retry(root.plain("retry"), place=root.place("retry"), more=("fallback", "escalate"))
    return FailureRules(retry=policy, fallback=_fallback(fields), escalate=rungs)


def parse_breakers(root: Fields) -> Mapping[str, BreakerRule]:
    """The rules of the breakers, by what they guard. Raises Invalid with file, line and key."""
    table = root.group("breakers", BREAKER_KEYS["breakers"])
    if table is None:
        return {}
    return {
        kind: usual if (fields := table.group(kind, BREAKER_RULE_KEYS)) is None else _breaker_rule(fields, usual)
        for kind, usual in USUAL_RULES.items()
    }


def _breaker_rule(fields: Fields, usual: BreakerRule) -> BreakerRule:
    rule = BreakerRule(
        failures_max=fields.integer("failures", usual.failures_max, least=1, most=FAILURES_MAX),
        window_s=fields.duration_s("window", usual.window_s, least=1.0),
        open_s=fields.duration_s("open", usual.open_s, least=1.0),
        open_max_s=fields.duration_s("open_max", max(usual.open_max_s, fields.duration_s("open", 0.0)), least=1.0),
        asked_max_s=fields.duration_s("retry_after_max", usual.asked_max_s, least=0.0),
        probe_s=fields.duration_s("probe", usual.probe_s, least=1.0),
    )
    if rule.open_max_s < rule.open_s:
        raise fields.wrong("open_max", "It is shorter than 'open'", cure="Make it at least as long.")
    return rule


def check_fallback(name: str) -> str:
    """The name, where it can be an agent's, or the word for whoever has the skills. Raises Invalid."""
    if not ID.fullmatch(name):
        raise Invalid(f"{name[:64]!r} cannot be an agent", cure=f"Name an agent, or write {SKILLS!r}. {ID_CURE}")
    return name


def _fallback(fields: Fields) -> str:
    return fields.read("fallback", check_fallback) or ""
