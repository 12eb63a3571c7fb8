"""A sub-agent's leash: it may do what it, every agent above it and the tools that it was given allow together.

Pure: whoever asks brings the agents. What a policy does not hold (commands, secrets, credentials) is narrowed here,
too. Files are not: each agent has its own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ostinato.domain.policy import Policy, intersect
from ostinato.domain.task import Task
from ostinato.domain.values import digest_of, to_json
from ostinato.workspace.agent import AgentDefinition
from ostinato.workspace.tools_file import ExecRules, ToolsSettings

GIVEN = "tools given to the sub-agent"
"""What a verdict names as its rule where a tool was not given."""


def narrowed(agent: AgentDefinition, task: Task, current: Callable[[str], AgentDefinition]) -> AgentDefinition:
    """The agent as it may act in this task: itself, unless the task is a sub-agent's. `current` finds the agents above
    it, and may raise what it likes where one is gone."""
    spec = task.spec
    if not spec.within:
        return agent
    above = [current(each) for each in spec.within]
    bounds = [_bound(each, of=agent) for each in above]
    if spec.tools is not None:
        bounds.append(Policy(agent=GIVEN, tools=spec.tools, gates=(), recipients=None, network=None,
                             places={"allow": GIVEN}))  # fmt: skip
    tools = agent.tools
    for each in above:
        tools = _within(tools, each.tools)
    seen = digest_of(to_json([agent.prompt_version, spec.tools, [each.prompt_version for each in above]]))
    return replace(agent, policy=intersect(agent.policy, *bounds), tools=tools, prompt_version=seen)


def _bound(above: AgentDefinition, *, of: AgentDefinition) -> Policy:
    """The policy of an agent above; its rules of files mean its own folder."""
    return above.policy if above.id == of.id else replace(above.policy, files=None)


def _within(tools: ToolsSettings, above: ToolsSettings) -> ToolsSettings:
    return replace(
        tools,
        exec=_commands(tools.exec, above.exec),
        secrets=_both(tools.secrets, above.secrets),
        credentials={host: headers for host, headers in tools.credentials.items()
                     if above.credentials.get(host) == headers},
    )  # fmt: skip


def _commands(rules: ExecRules | None, above: ExecRules | None) -> ExecRules | None:
    if rules is None or above is None:
        return None
    silences = [each.silence_s for each in (rules, above) if each.silence_s is not None]
    return replace(
        rules,
        commands=_both(rules.commands, above.commands),
        effects={name: effect for name, effect in rules.effects.items() if above.effects.get(name) is effect},
        paths=_both(rules.paths, above.paths),
        timeout_s=min(rules.timeout_s, above.timeout_s),
        lasts_s=min(rules.lasts_s, above.lasts_s),
        silence_s=min(silences, default=None),
        network=_both(rules.network, above.network),
    )


def _both(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(each for each in one if each in other)
