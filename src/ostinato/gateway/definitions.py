"""The fleet's files as the gateway shows them: cards of agents, problems, keys, what a prompt costs.

Reads; the one thing that it writes is a new agent's folder. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ostinato.agents.colleagues import colleague_of
from ostinato.agents.prompt import fixed_parts, note_parts
from ostinato.domain.chat import ToolSpec, estimate_tokens
from ostinato.domain.duration import format_duration
from ostinato.domain.errors import Invalid, NotFound, OstinatoError, unknown_name
from ostinato.domain.gate import Gate
from ostinato.domain.person import Role, check_deciders
from ostinato.domain.policy import Policy
from ostinato.domain.schedule import ScheduleRule, rule_to_texts
from ostinato.domain.values import to_json
from ostinato.gateway.context import AgentCard, ContextPart, HeartbeatCard, KeyNeed, Problem
from ostinato.store.port import Retention
from ostinato.tools.port import Colleague
from ostinato.tools.toolbox import Toolbox
from ostinato.workspace.agent import AgentDefinition
from ostinato.workspace.asked_people import asked_people
from ostinato.workspace.fleet_file import FLEET_FILE, FleetSettings, changed_tables, read_fleet
from ostinato.workspace.heartbeat_file import Heartbeat
from ostinato.workspace.inbox_table import InboxSettings
from ostinato.workspace.init import add_agent
from ostinato.workspace.registry import Brief, Workspaces
from ostinato.workspace.registry import Problem as Found

SCRIPTED = "scripted"

_FLEET_KEYS = {"gates": "policy.gates", "escalate": "retry.escalate"}
"""Where the fleet's file says what an agent's file says below these keys."""


class FleetDefinitions:
    """Satisfies `gateway.context.Definitions`. `broken` is what is wrong with the fleet's file, where its settings are
    only stand-ins; `key_names` gives model -> variable that holds its key."""

    def __init__(
        self,
        root: Path,
        settings: FleetSettings,
        workspaces: Workspaces,
        *,
        toolbox: Callable[[], Toolbox],
        skills: Callable[[Sequence[str]], str] = lambda granted: "",
        key_names: Mapping[str, str],
        broken: OstinatoError | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.name = settings.name
        self._settings = settings
        self._workspaces = workspaces
        self._toolbox = toolbox
        self._skills = skills
        self._key_names = key_names
        self._broken = broken
        self._environment = environment
        self._cards: tuple[tuple[Brief, ...], tuple[AgentCard, ...]] = ((), ())

    def agents(self) -> Sequence[AgentCard]:
        """Every agent, also those with problems, by id, as far as lists show it."""
        return self._seen()[1]

    def colleagues(self) -> Sequence[Colleague]:
        """Every agent that could do a task: no file of its, and no setting, keeps it from running."""
        return [colleague_of(brief) for brief, card in zip(*self._seen(), strict=True) if not card.is_broken]

    def agent(self, agent: str) -> AgentCard:
        """One agent; raises NotFound with the known ones."""
        return self._card(agent)

    def problems(self, people: Mapping[str, Role]) -> Sequence[Problem]:
        """Whatever is wrong, the fleet's file first."""
        return [
            *self._fleet_problems(people),
            *(each for card in self.agents() for each in card.problems),
        ]

    def inbox(self) -> InboxSettings:
        """Who gets what comes from outside, by the settings that are in force."""
        return self._settings.inbox

    def keeps_tasks_file(self) -> bool:
        """See the interface."""
        return self._settings.tasks_file

    def stalled_s(self) -> float:
        """Seconds without a step after which a running task is stalled."""
        return self._settings.stalled_s

    def retention(self) -> Retention:
        """How long things are kept, by the settings that are in force."""
        return self._settings.retention

    def changed_settings(self) -> Sequence[str]:
        """Tables of the fleet's file that say something else than when it was read; none where it is broken now."""
        try:
            return changed_tables(self._settings, read_fleet(self.root)) if self._broken is None else ()
        except OstinatoError:
            return ()

    def context(self, agent: str) -> Sequence[ContextPart]:
        """What a turn of this agent begins with, in the order in which a model reads it."""
        definition = self._workspaces.current(agent)
        parts = [
            _part(each.name, each.text, note=_cut_of(each.name, each.text, definition.prompt_files))
            for each in fixed_parts(
                agent=agent, fleet=self.name, files=definition.prompt_files, limits=self._settings.context
            )
        ]
        listed = self._skills(definition.policy.tools or ())
        parts += [_part("skills", listed)] if listed else []
        for maker, specs in _by_maker(self._toolbox(), definition.policy).items():
            parts.append(_part(maker, to_json(specs).decode(), note=", ".join(each.name for each in specs)))
        notes = self._workspaces.daily_notes(agent)
        shown = note_parts(notes, self._settings.context)
        parts += [_part(each.name, each.text, note="changes with each turn", cached=False) for each in shown]
        return parts

    def shown_files(self, agent: str) -> Sequence[str]:
        """Files of the agent's own hand that its prompt shows."""
        return ("MEMORY.md", *self._workspaces.daily_notes(agent))

    def add_agent(self, agent: str, *, purpose: str, skills: Sequence[str]) -> Sequence[str]:
        """A new workspace, secure by default; the paths of its files."""
        return add_agent(self.root, agent, purpose=purpose, skills=skills)

    def key_needs(self) -> Sequence[KeyNeed]:
        """Each key that the fleet's models need, and whether it is there."""
        environment = os.environ if self._environment is None else self._environment
        wanted: dict[str, list[str]] = {}
        for model, name in self._key_names.items():
            if name:
                wanted.setdefault(name, []).append(model)
        return [
            KeyNeed(
                name=name,
                wanted_by=f"the model{'s' if len(models) > 1 else ''} {', '.join(models)}",
                present=bool(environment.get(name, "").strip() or environment.get(f"{name}_FILE", "").strip()),
            )
            for name, models in wanted.items()
        ]

    def secret_uses(self) -> Mapping[str, tuple[str, ...]]:
        """Each secret that the fleet's files name -> who may use it, in words; agents with broken files use none."""
        found: dict[str, list[str]] = {}
        for name, who in (*self._fleet_uses(), *self._agent_uses()):
            found.setdefault(name, []).append(who)
        return {name: tuple(dict.fromkeys(who)) for name, who in found.items()}

    def _fleet_uses(self) -> Iterator[tuple[str, str]]:
        settings = self._settings
        yield from ((name, f"model {model}") for model, name in self._key_names.items())
        if settings.store.password_env:
            yield settings.store.password_env, "the database"
        if settings.web.search_key_env:
            yield settings.web.search_key_env, "web.search"
        for server, entry in settings.mcp.items():
            for name in (*entry.env, *filter(None, (entry.token_env,))):
                yield name, f"server {server}"

    def _agent_uses(self) -> Iterator[tuple[str, str]]:
        for agent in self._workspaces.ids():
            with contextlib.suppress(OstinatoError):
                for name in self._workspaces.current(agent).tools.secrets:
                    yield name, f"agent {agent}"

    def models(self) -> Collection[str]:
        """Names of models and tiers."""
        return self._settings.model_names

    def scripts(self) -> Sequence[Path]:
        """Scripts of scripted models."""
        return [self.root / each.script for each in self._settings.models.values() if each.script]

    def money_note(self) -> str:
        """A sentence that belongs beside every sum, where all models are scripts or none is there."""
        models = self._settings.models.values()
        if models and all(each.provider == SCRIPTED for each in models):
            return "scripted model, no money spent"
        return ""

    def _fleet_problems(self, people: Mapping[str, Role]) -> Sequence[Problem]:
        error = self._broken
        if error is None:
            try:
                fresh = read_fleet(self.root)
            except OstinatoError as raised:
                error = raised
            else:
                return [*self._about_settings(fresh), *self._strangers(fresh), *self._nobodies(fresh, people)]
        place = error.place or FLEET_FILE
        return [Problem(level="error", place=place, message=error.message, cure=error.cure)]

    def _about_settings(self, fresh: FleetSettings) -> Sequence[Problem]:
        """What works, but not as its author may think."""
        found = [
            Problem(level="warning", place=each.place, message=each.message, cure=each.cure) for each in fresh.findings
        ]
        if changed := changed_tables(self._settings, fresh):
            message, cure = f"{', '.join(changed)} changed since the node started", "Start the node again: kill -HUP"
            found.append(Problem(level="warning", place=FLEET_FILE, message=message, cure=f"{cure} {os.getpid()}"))
        if not fresh.models:
            cure = f"Describe one in {FLEET_FILE}: [models.NAME]."
            found.append(Problem(level="warning", place=FLEET_FILE, message="There is no model", cure=cure))
        return found

    def _strangers(self, fresh: FleetSettings) -> Sequence[Problem]:
        """Agents that settings name and that are not there: their work would reach nobody."""
        briefs = self._workspaces.briefs()
        known = {each.id for each in briefs}
        named = [(fresh.inbox.agent or "", f"{FLEET_FILE}, key 'inbox.agent'", "")]
        named += [(rule.agent or "", rule.place, "") for rule in fresh.routing.rules]
        named += [(binding.agent, binding.place, "") for binding in fresh.inbox.bindings]
        for each in briefs:
            place = f"agents/{each.id}/AGENTS.md, key 'delegates'"
            named += [(name, place, each.id) for name in each.delegates]
        return [
            Problem(
                level="warning",
                place=place,
                message=unknown_name("agent", name, known),
                cure=f"Make it: ostinato agents add {name}",
                agent=agent,
            )
            for name, place, agent in named
            if name and "*" not in name and name not in known
        ]

    def _nobodies(self, fresh: FleetSettings, people: Mapping[str, Role]) -> Iterator[Problem]:
        """People whom settings ask and who cannot decide. They may be added at any time: no agent stops for that."""
        gates = fresh.policy.gates if fresh.policy else ()
        fleet = asked_people(gates=gates, failures=fresh.failures)
        asked = [(f"{FLEET_FILE}, key '{_FLEET_KEYS[each.key]}'", "", each.name) for each in fleet]
        for brief in self._workspaces.briefs():
            place = f"agents/{brief.id}/AGENTS.md"
            asked += [(f"{place}, key '{each.key}'", brief.id, each.name) for each in brief.asks]
        for place, agent, name in asked:
            try:
                check_deciders((name,), people)
            except Invalid as error:
                yield Problem(level="warning", place=place, message=error.message, cure=error.cure, agent=agent)

    def _seen(self) -> tuple[tuple[Brief, ...], tuple[AgentCard, ...]]:
        """All agents, and the card of each; made again when a file has changed."""
        if (now := self._workspaces.briefs()) is not self._cards[0]:
            self._cards = now, tuple(map(self._card_of_brief, now))
        return self._cards

    def _card(self, agent: str) -> AgentCard:
        try:
            definition = self._workspaces.current(agent)
        except NotFound:
            raise
        except OstinatoError as error:
            place = error.place or f"agents/{agent}"
            problem = Problem(level="error", place=place, message=error.message, cure=error.cure, agent=agent)
            return AgentCard(id=agent, folder=str(self.root / "agents" / agent), problems=(problem,))
        problems = (*self._model_problems(definition), *self._server_problems(definition.id, definition.tools.granted))
        return card_of(definition, problems=problems)

    def _card_of_brief(self, brief: Brief) -> AgentCard:
        wrong = [*self._model_problems(brief), *self._server_problems(brief.id, brief.tools)]
        wrong = [] if brief.is_broken else wrong
        found = [_problem(each) for each in brief.problems]
        return AgentCard(
            id=brief.id,
            purpose=brief.description,
            skills=brief.skills,
            model=brief.model or "",
            function=brief.function,
            concurrency=brief.concurrency,
            tools=brief.tools,
            problems=(*wrong, *found),
        )

    def _server_problems(self, agent: str, granted: Sequence[str]) -> list[Problem]:
        """Tools whose server, or whose provider, the fleet's file does not name."""
        if self._broken is not None:
            return []
        found = [self._search_problem(agent)] if "web.search" in granted and not self._settings.web.search else []
        named = {each.split(".")[1] for each in granted if each.startswith("mcp.") and each.count(".") > 1}
        return [
            *found,
            *(
                Problem(
                    level="warning",
                    place=f"agents/{agent}/TOOLS.md, key 'mcp'",
                    message=unknown_name("server", server, set(self._settings.mcp)),
                    cure=f"Describe it in {FLEET_FILE}: [mcp.{server}].",
                    agent=agent,
                )
                for server in sorted(named - {"*"} - set(self._settings.mcp))
            ),
        ]

    def _search_problem(self, agent: str) -> Problem:
        return Problem(
            level="warning",
            place=f"agents/{agent}/TOOLS.md, key 'allow'",
            message="web.search is allowed, and nobody searches: each call is refused",
            cure=f'Name a provider in {FLEET_FILE}: [web], search = "searxng" and search_url.',
            agent=agent,
        )

    def _model_problems(self, definition: AgentDefinition | Brief) -> list[Problem]:
        """A model that the fleet does not have keeps the agent from thinking."""
        settings = self._settings
        known = settings.model_names
        wanted = [("AGENTS.md", definition.model), *((each.file, each.model) for each in definition.heartbeats)]
        return [
            Problem(
                level="error",
                place=f"agents/{definition.id}/{file}, key 'model'",
                message=unknown_name("model", model[:64], known),
                cure=f"Name one of these, or describe it in {FLEET_FILE}.",
                agent=definition.id,
            )
            for file, model in wanted
            if model is not None and model not in known and self._broken is None
        ]


def card_of(definition: AgentDefinition, *, problems: Sequence[Problem] = ()) -> AgentCard:
    """An agent's files in brief."""
    warnings = [
        Problem(level="warning", place=each.place, message=each.message, cure=each.cure, agent=definition.id)
        for each in definition.findings
    ]
    return AgentCard(
        id=definition.id,
        purpose=definition.description,
        folder=str(definition.folder),
        skills=definition.skills,
        model=definition.model or "",
        function=definition.settings.function,
        concurrency=definition.concurrency,
        tools=definition.tools.granted,
        recipients=definition.tools.recipients,
        gates=tuple(gate_words(each) for each in definition.settings.gates),
        heartbeats=tuple(_heartbeat_card(each) for each in definition.heartbeats),
        files={name: len(text.encode()) for name, text in definition.texts.items()},
        stop=definition.stop,
        version=definition.version,
        problems=(*problems, *warnings),
    )


def _problem(found: Found) -> Problem:
    return Problem(level=found.level, place=found.place, message=found.message, cure=found.cure, agent=found.agent)


def gate_words(gate: Gate) -> str:
    """When a gate asks, in words."""
    what = gate.tool if gate.tool != "*" else "any tool"
    effect = f" that is {gate.effect.value}" if gate.effect else ""
    when = f" when {gate.when_text}" if gate.when_text else f" that {gate.why}" if gate.why else ""
    return f"{what}{effect}{when}: asks {gate.ask}, expires after {format_duration(gate.expires_s)} ({gate.place})"


def rule_words(rule: ScheduleRule) -> str:
    """When a rule fires, in words."""
    texts = rule_to_texts(rule)
    return next(f"{key} {texts[key]}" for key in ("every", "cron", "at") if key in texts)


def _heartbeat_card(heartbeat: Heartbeat) -> HeartbeatCard:
    texts = rule_to_texts(heartbeat.rule)
    return HeartbeatCard(
        name=heartbeat.name,
        rule=rule_words(heartbeat.rule),
        active=texts.get("active", ""),
        timezone=texts.get("timezone", ""),
        check=" and ".join(
            part for part in (heartbeat.check.text if heartbeat.check else "", shlex.join(heartbeat.command)) if part
        ),
        model=heartbeat.model or "",
        session=heartbeat.session,
    )


def _by_maker(box: Toolbox, policy: Policy) -> dict[str, list[ToolSpec]]:
    """The tools that a policy shows: those of the runtime, those of each server, those of the fleet's own files."""
    own, found = {each.name for each in box.family("python")}, dict[str, list[ToolSpec]]()
    for each in box.specs(policy):
        server = each.name.rpartition(".")[0] if each.name.startswith("mcp.") else ""
        maker = server or ("tools/*.py" if each.name in own else "")
        found.setdefault(f"tools of {maker}" if maker else "tools", []).append(each)
    return found


def _cut_of(name: str, shown: str, files: Mapping[str, str]) -> str:
    whole = estimate_tokens(files.get(name, ""))
    return f"cut: the file has {whole} tokens" if whole > estimate_tokens(shown) else ""


def _part(name: str, text: str, *, note: str = "", cached: bool = True) -> ContextPart:
    return ContextPart(name=name, tokens=estimate_tokens(text), size_bytes=len(text.encode()), cached=cached, note=note)


def stand_in_settings(root: Path) -> FleetSettings:
    """Settings of a fleet whose file cannot be read: enough to show what is wrong."""
    return FleetSettings(name=root.name or "fleet")
