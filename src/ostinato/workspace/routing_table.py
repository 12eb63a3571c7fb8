"""The table `[routing]` of ostinato.toml: which agent gets a task that names only skills.

Knows nothing of agents: that a rule names one that exists turns out when it is used.
"""

from __future__ import annotations

import msgspec

from ostinato.domain.condition import compile_condition
from ostinato.domain.routing import POLICIES, RoutingPolicy, Weights
from ostinato.domain.routing_rule import Routing, RoutingRule
from ostinato.domain.task_rule import RULE_VARIABLES
from ostinato.workspace.agent_file import check_agent_id
from ostinato.workspace.fields import Fields

WEIGHT_KEYS = ("load", "cost", "time", "failures", "change")

ROUTING_KEYS: dict[str, tuple[str, ...]] = {
    "routing": ("policy", "weights", "projects", "rules"),
    "routing.weights": WEIGHT_KEYS,
    "routing.rules": ("when", "policy", "agent"),
}
"""Keys of each table."""

POLICY_WORDS = tuple(each.value for each in RoutingPolicy)
WEIGHT_MAX = 1_000.0


def parse_routing(root: Fields) -> Routing:
    """The settings of the table; the defaults where it is missing. Raises Invalid."""
    fields = root.group("routing", ROUTING_KEYS["routing"])
    if fields is None:
        return Routing()
    policy = _policy(fields) or RoutingPolicy.BALANCED
    return Routing(
        policy=policy,
        weights=_weights(fields.group("weights", WEIGHT_KEYS), policy),
        projects=_projects(fields.group("projects", ())),
        rules=tuple(_rule(each) for each in fields.groups("rules", ROUTING_KEYS["routing.rules"])),
    )


def _policy(fields: Fields, key: str = "policy") -> RoutingPolicy | None:
    return RoutingPolicy(fields.choice(key, POLICY_WORDS, "")) if fields.has(key) else None


def _weights(fields: Fields | None, policy: RoutingPolicy) -> Weights | None:
    """Those of the policy, with what is named here in their place."""
    if fields is None:
        return None
    given = {key: fields.number(key, least=0, most=WEIGHT_MAX) for key in WEIGHT_KEYS}
    weights = msgspec.structs.replace(POLICIES[policy], **{k: float(v) for k, v in given.items() if v is not None})
    if weights == Weights():
        raise fields.wrong("", "Every weight is 0: nothing would tell agents apart", cure="Raise one, such as load.")
    return weights


def _projects(fields: Fields | None) -> dict[str, RoutingPolicy]:
    found = {name: _policy(fields, name) for name in fields.names()} if fields is not None else {}
    return {name: policy for name, policy in found.items() if policy is not None}


def _rule(fields: Fields) -> RoutingRule:
    when = fields.read("when", lambda text: compile_condition(text, variables=RULE_VARIABLES))
    if when is None:
        raise fields.wrong("", "The rule does not say when it holds", cure="when = \"task.project == 'acme'\"")
    policy, agent = _policy(fields), fields.read("agent", check_agent_id)
    if (policy is None) is (agent is None):
        raise fields.wrong("", "The rule needs a policy or an agent, one of them", cure='policy = "cheapest"')
    return RoutingRule(when=when, policy=policy, agent=agent, place=fields.place("when"))
