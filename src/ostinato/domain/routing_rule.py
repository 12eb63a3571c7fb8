"""What decides how a task is routed: its own policy, else the first rule of the fleet that holds, else its project's,
else the fleet's.

Knows nothing of agents, stores or the fleet's file; what comes of it is for `domain.routing.route`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ostinato.domain.condition import CompiledCondition
from ostinato.domain.routing import POLICIES, RoutingPolicy, Weights
from ostinato.domain.task import NewTask, Task
from ostinato.domain.task_rule import holding
from ostinato.domain.values import Value


class RoutingRule(Value):
    """Where the condition holds, this policy ranks the agents, or this agent gets the task."""

    when: CompiledCondition
    policy: RoutingPolicy | None = None
    agent: str | None = None
    place: str = ""
    """Where it stands, for messages."""


class Routing(Value):
    """How a fleet routes."""

    policy: RoutingPolicy = RoutingPolicy.BALANCED
    weights: Weights | None = None
    """In place of those of `policy`."""
    projects: Mapping[str, RoutingPolicy] = {}
    rules: tuple[RoutingRule, ...] = ()


class Guidance(Value):
    """What holds for one task."""

    weights: Weights
    why: str
    """Which word decided."""
    agent: str | None = None
    """A rule gives it to this agent."""
    missed: tuple[str, ...] = ()
    """Rules that could not be judged, or name nobody who could do it, each with what went wrong."""


def guidance(task: NewTask | Task, routing: Routing, *, able: Collection[str]) -> Guidance:
    """How a task is to be routed. `able`: agents that could do it, among which a rule may choose. Never raises."""
    if task.spec.policy is not None:
        return _by(task.spec.policy, f"its own policy, {task.spec.policy.value}")
    missed: list[str] = []
    for rule in holding(task, routing.rules, missed=missed):
        why = f"the rule {rule.when.text}"
        if rule.agent is not None and rule.agent in able:
            return Guidance(weights=_fleet_weights(routing), why=why, agent=rule.agent, missed=tuple(missed))
        if rule.policy is not None:
            return _by(rule.policy, f"{why}, {rule.policy.value}", missed=missed)
        missed.append(f"{rule.place}: {rule.agent} is no agent that could do it")
    if (policy := routing.projects.get(task.project)) is not None:
        return _by(policy, f"the policy of project {task.project}, {policy.value}", missed=missed)
    own = "own weights" if routing.weights is not None else routing.policy.value
    return Guidance(weights=_fleet_weights(routing), why=f"the fleet's policy, {own}", missed=tuple(missed))


def _by(policy: RoutingPolicy, why: str, *, missed: Collection[str] = ()) -> Guidance:
    return Guidance(weights=POLICIES[policy], why=why, missed=tuple(missed))


def _fleet_weights(routing: Routing) -> Weights:
    return POLICIES[routing.policy] if routing.weights is None else routing.weights
