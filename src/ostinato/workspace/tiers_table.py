"""The table `[tiers]` of ostinato.toml: which models stand behind a tier, and which tier a task gets by rule.

Knows nothing of models but their names, nor of who is asked in the end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ostinato.domain.condition import compile_condition
from ostinato.domain.errors import unknown_name
from ostinato.domain.model_choice import ModelRule
from ostinato.domain.task_rule import RULE_VARIABLES
from ostinato.workspace.agent_file import EFFORTS
from ostinato.workspace.fields import Fields

TIERS = ("cheap", "standard", "strong")

TIERS_KEYS: dict[str, tuple[str, ...]] = {
    "tiers": (*TIERS, "escalate", "rules"),
    "tiers.rules": ("when", "tier", "effort"),
}
"""Keys of each table."""

Tiers = Mapping[str, tuple[str, ...]]


def parse_tiers(fields: Fields, models: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What stands behind each tier: models, or other tiers that are set. Raises Invalid."""
    found = {tier: fields.texts(tier) for tier in TIERS if fields.has(tier)}
    for tier, names in found.items():
        for name in names:
            if name not in models and name not in found:
                words = unknown_name("model", name[:64], {*models, *found})
                raise fields.wrong(tier, words, cure=f"Describe it in [models.{name[:64]}].")
        if not names:
            raise fields.wrong(tier, "The tier has no model", cure="Name one, or remove the key.")
        if tier in models:
            raise fields.wrong(tier, f"{tier!r} is a model and a tier", cure=f"Give [models.{tier}] another name.")
    for tier in found:
        if not _leads_to(tier, found, models):
            raise fields.wrong(tier, "The tier leads to no model", cure="Name one, beside tiers that stand for others.")
    return found


def _leads_to(tier: str, tiers: Tiers, models: Collection[str]) -> bool:
    """True where some model stands behind a tier, however many tiers are in between."""
    behind = {tier}
    for _ in TIERS:
        behind |= {name for each in behind for name in tiers.get(each, ())}
    return not behind.isdisjoint(models)


def check_fallbacks(root: Fields, fallbacks: Tiers, *, tiers: Tiers) -> None:
    """What each model names in its place must be there. Raises Invalid."""
    group = root.group("models", ())
    for name, others in fallbacks.items():
        for other in others:
            if other not in fallbacks and other not in tiers:
                fields = group.group(name, ()) if group is not None else None
                words = unknown_name("model", other[:64], {*fallbacks, *tiers})
                raise (fields or root).wrong("fallback" if fields else "", words)


def parse_model_rules(fields: Fields, known: Collection[str]) -> tuple[ModelRule, ...]:
    """The rules, in their order; `known` are the models and the tiers that are set. Raises Invalid."""
    return tuple(_rule(each, known) for each in fields.groups("rules", TIERS_KEYS["tiers.rules"]))


def _rule(fields: Fields, known: Collection[str]) -> ModelRule:
    when = fields.read("when", lambda text: compile_condition(text, variables=RULE_VARIABLES))
    if when is None:
        raise fields.wrong("", "The rule does not say when it holds", cure="when = \"task.type == 'legal'\"")
    tier = fields.text("tier")
    if tier not in known:
        raise fields.wrong("tier", unknown_name("tier", tier[:64], known), cure='For example tier = "strong".')
    effort = fields.choice("effort", EFFORTS, "medium") if fields.has("effort") else None
    return ModelRule(when=when, tier=tier, effort=effort, place=fields.place("when"))


def default_model(fleet: Fields, models: Collection[str], *, tiers: Tiers) -> str | None:
    """What is asked for; else the standard tier, any tier, the first model. Raises Invalid."""
    name = fleet.text("model")
    if name and name not in models and name not in tiers:
        raise fleet.wrong("model", unknown_name("model", name[:64], {*models, *tiers}))
    return name or ("standard" if "standard" in tiers else None) or next(iter([*tiers, *models]), None)
