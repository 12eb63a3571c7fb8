"""An agent as its files define it: one value, made from texts alone.

Knows nothing of the disk: the same texts give the same agent, be they read just now or kept by digest since a turn
began.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.domain.file_rules import FileRules
from ostinato.domain.policy import Policy, intersect
from ostinato.domain.review import ByAgent
from ostinato.domain.schedule import is_ever_active
from ostinato.domain.values import Limits, Value, digest_of, to_json
from ostinato.workspace.agent_file import ABOUT_KEYS, AGENT_KEYS, AgentSettings, Contract, parse_agent_settings
from ostinato.workspace.asked_people import AskedPerson, asked_people
from ostinato.workspace.command_rules import only_reads
from ostinato.workspace.fields import Fields
from ostinato.workspace.file_text import FileText, Finding
from ostinato.workspace.front_matter import Node, Split, split_front_matter
from ostinato.workspace.heartbeat_file import HEARTBEAT_KEYS, Heartbeat, heartbeat_name, parse_heartbeat
from ostinato.workspace.tools_file import TOOLS_KEYS, ToolsSettings, parse_tools_settings

PROMPT_FILES = ("SOUL.md", "AGENTS.md", "TOOLS.md", "USER.md", "IDENTITY.md", "MEMORY.md")
"""Files whose prose stands in the prompt, in this order; what changes most often comes last, for the sake of caches."""

AGENT_FILES = (*PROMPT_FILES, "HEARTBEAT.md")
"""Files that make an agent, beside heartbeats/*.md. Any of them may be missing."""

FRONT_MATTER_KEYS: dict[str, tuple[str, ...]] = {
    "AGENTS.md": AGENT_KEYS,
    "TOOLS.md": TOOLS_KEYS,
    "HEARTBEAT.md": HEARTBEAT_KEYS,
    "SOUL.md": ABOUT_KEYS,
    "MEMORY.md": ABOUT_KEYS,
    "USER.md": ABOUT_KEYS,
    "IDENTITY.md": ABOUT_KEYS,
}
"""Keys that each file may have; those of heartbeats/*.md are HEARTBEAT.md's."""

HEARTBEATS_MAX = 32
"""Heartbeats of one agent."""


class FleetDefaults(Value):
    """What the fleet says for agents that do not say otherwise."""

    timezone: str = "UTC"
    limits: Limits = Limits()
    policy: Policy | None = None
    """What holds for all agents."""


class AgentDefinition(Value):
    """One agent, whole and checked. Never changes: other files make another definition."""

    id: str
    folder: Path
    texts: Mapping[str, str]
    """Every file by name, whole, front matter included."""
    digests: Mapping[str, str]
    """Name -> digest of `texts[name]` in UTF-8."""
    prompt_files: Mapping[str, str]
    """Name -> prose, in the order in which a prompt shows them; without those that say nothing."""
    settings: AgentSettings
    tools: ToolsSettings
    heartbeats: tuple[Heartbeat, ...]
    policy: Policy
    limits: Limits
    timezone: str
    version: str
    """Digest over all files."""
    prompt_version: str
    """Digest over what a prompt shows: its files and the tools that the policy grants."""
    findings: tuple[Finding, ...] = ()

    @property
    def description(self) -> str:
        """What it is for: `description` of AGENTS.md, else the first line of prose of SOUL.md."""
        if self.settings.description:
            return self.settings.description
        lines = (line.strip("#*_> \t") for line in self.prompt_files.get("SOUL.md", "").split("\n"))
        return next((line for line in lines if line), "")[:200]

    @property
    def skills(self) -> tuple[str, ...]:
        """What it is good at."""
        return self.settings.skills

    @property
    def model(self) -> str | None:
        """A tier or model; None: the fleet's default."""
        return self.settings.model

    @property
    def effort(self) -> str | None:
        """Reasoning effort; None: the model's own."""
        return self.settings.effort

    @property
    def pool(self) -> str:
        """Which nodes run its tasks."""
        return self.settings.pool

    @property
    def concurrency(self) -> int:
        """Tasks that it may work on at once."""
        return self.settings.concurrency

    @property
    def delegates(self) -> tuple[str, ...] | None:
        """Agents that it may give tasks to; None: nothing is declared."""
        return self.settings.delegates

    @property
    def asks(self) -> tuple[AskedPerson, ...]:
        """People whom its files ask by name."""
        own = self.settings
        return asked_people(gates=own.gates, review=own.review, failures=own.failures)

    @property
    def accepts(self) -> tuple[Contract, ...]:
        """Contracts of what it takes."""
        return self.settings.accepts

    @property
    def produces(self) -> Contract | None:
        """Contract of what it returns."""
        return self.settings.produces

    @property
    def stop(self) -> str:
        """How people stop it for good, in words."""
        return self.settings.stop

    @property
    def files_read(self) -> tuple[str, ...]:
        """Paths in its folder that it may read."""
        return self.tools.files_read

    @property
    def files_write(self) -> tuple[str, ...]:
        """Paths in its folder that it may write."""
        return self.tools.files_write


def make_agent(
    agent: str, files: Mapping[str, FileText], *, folder: Path, defaults: FleetDefaults, place: str
) -> AgentDefinition:
    """The agent that these files define. `place` is the folder's name in messages, such as `agents/triage`.

    Raises Invalid at the first error.
    """
    splits = {
        name: split_front_matter(file.text, place=f"{place}/{name}", keys=keys_of(name)) for name, file in files.items()
    }
    settings = AgentSettings(limits=defaults.limits)
    if (node := _settings(splits, "AGENTS.md")) is not None:
        settings = parse_agent_settings(node, file=f"{place}/AGENTS.md", limits=defaults.limits)
    if settings.review is not None and settings.review.by == ByAgent(agent=agent):
        what, cure = "An agent cannot review its own work", "Name another agent, or a person."
        raise Invalid(what, place=f"{place}/AGENTS.md, key 'review'", cure=cure)
    tools, findings = ToolsSettings(), tuple(each for file in files.values() for each in file.findings)
    if (node := _settings(splits, "TOOLS.md")) is not None:
        tools, odd = parse_tools_settings(node, file=f"{place}/TOOLS.md")
        findings += odd
    for name, split in splits.items():
        if split.settings is not None and keys_of(name) is ABOUT_KEYS:
            Fields(split.settings, file=f"{place}/{name}", known=ABOUT_KEYS)
    timezone = settings.timezone or defaults.timezone
    heartbeats = _heartbeats(splits, agent=agent, timezone=timezone, place=place)
    findings += tuple(_never_active(each, place=place) for each in heartbeats if not is_ever_active(each.rule))
    findings += _not_kept(settings, tools, place=place)
    digests = {name: file.digest for name, file in files.items()}
    version = _version(agent, digests, defaults)
    prompt = {name: prose for name in PROMPT_FILES if name in splits and (prose := splits[name].prose.strip())}
    return AgentDefinition(
        id=agent,
        folder=folder,
        texts={name: file.text for name, file in files.items()},
        digests=digests,
        prompt_files=prompt,
        settings=settings,
        tools=tools,
        heartbeats=heartbeats,
        policy=_policy(agent, settings, tools, bound=defaults.policy, version=version),
        limits=settings.limits,
        timezone=timezone,
        version=version,
        prompt_version=_prompt_version(agent, prompt, tools=tools, bound=defaults.policy),
        findings=findings,
    )


def _version(agent: str, digests: Mapping[str, str], defaults: FleetDefaults) -> str:
    """Conditions are no JSON: the fleet's policy stands for itself by its digest."""
    parts = [agent, sorted(digests.items()), replace(defaults, policy=None)]
    return digest_of(to_json([*parts, defaults.policy.version] if defaults.policy else parts))


def _prompt_version(agent: str, prompt: Mapping[str, str], *, tools: ToolsSettings, bound: Policy | None) -> str:
    denied = (*tools.denied, *(bound.denied if bound else ()))
    return digest_of(to_json([agent, list(prompt.items()), tools.granted, *([denied] if denied else ())]))


def _policy(agent: str, settings: AgentSettings, tools: ToolsSettings, *, bound: Policy | None, version: str) -> Policy:
    own = Policy(
        agent=agent,
        tools=tools.granted,
        denied=tools.denied,
        gates=settings.gates,
        recipients=tools.recipients,
        network=tools.network,
        files=FileRules(read=tools.files_read, write=tools.files_write),
        places=tools.places,
        version=version,
    )
    return intersect(own, bound) if bound else own


def keys_of(name: str) -> tuple[str, ...]:
    """The front-matter keys that a file may have."""
    return FRONT_MATTER_KEYS["HEARTBEAT.md" if name.startswith("heartbeats/") else name]


def is_agent_file(name: str) -> bool:
    """True for names of files that make an agent: `TOOLS.md`, `heartbeats/daily.md`."""
    return name in AGENT_FILES or re.fullmatch(r"heartbeats/[^/]+\.md", name) is not None


def _never_active(heartbeat: Heartbeat, *, place: str) -> Finding:
    return Finding(
        code="never_active",
        place=f"{place}/{heartbeat.file}",
        message="All times of this heartbeat lie outside its active hours: it will be skipped for ever",
        cure="Widen 'active' or 'weekdays', or choose other times: 'anchor' says from when 'every' counts.",
    )


def _not_kept(settings: AgentSettings, tools: ToolsSettings, *, place: str) -> tuple[Finding, ...]:
    """What to do where results are to answer others (`cache`) and nobody knows what the program behind them does."""
    command, rules = settings.command, tools.exec
    if not settings.cache_s or command is None:
        return ()
    if only_reads(command, effects=rules.effects if rules else {}, network=rules.network if rules else ()):
        return ()
    return (
        Finding(
            code="cache",
            place=f"{place}/AGENTS.md, key 'cache'",
            message="No result is kept: nobody knows that the command does nothing but read",
            cure="Declare it in TOOLS.md (exec: {effects: {read: [...]}}), without network, secrets or a worktree; or "
            "take 'cache' away.",
        ),
    )


def _settings(splits: Mapping[str, Split], name: str) -> Node | None:
    return splits[name].settings if name in splits else None


def _heartbeats(splits: Mapping[str, Split], *, agent: str, timezone: str, place: str) -> tuple[Heartbeat, ...]:
    found = []
    for name, split in splits.items():
        if split.settings is None or not (name == "HEARTBEAT.md" or name.startswith("heartbeats/")):
            continue
        heartbeat = parse_heartbeat(
            split.settings,
            agent=agent,
            name=heartbeat_name(name, place=f"{place}/{name}"),
            file=name,
            place=f"{place}/{name}",
            text=split.prose,
            timezone=timezone,
        )
        if heartbeat is not None:
            found.append(heartbeat)
    if len(found) > HEARTBEATS_MAX:
        cure = f"At most {HEARTBEATS_MAX}; make another agent."
        raise Invalid(f"{len(found)} heartbeats are too many for one agent", place=f"{place}/heartbeats", cure=cure)
    return tuple(found)
