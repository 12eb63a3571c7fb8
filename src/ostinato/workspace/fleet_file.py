"""ostinato.toml: the fleet's name and zone, its models, limits, server, retention and inbox.

Knows nothing of the rooms that these settings are for, and so repeats their shapes: the composition root hands each
room its own. Unknown keys are errors; everything has a default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ostinato.domain.aging import AGING_S
from ostinato.domain.breaker import BreakerRule
from ostinato.domain.budget import Price
from ostinato.domain.compaction import ContextLimits
from ostinato.domain.errors import NotFound
from ostinato.domain.instant import zone_named
from ostinato.domain.limit import QueueLimit
from ostinato.domain.model_choice import ModelRule
from ostinato.domain.policy import Policy
from ostinato.domain.routing_rule import Routing
from ostinato.domain.stalled import STALLED_LEAST_S, STALLED_S
from ostinato.domain.values import Limits, Value
from ostinato.store.port import Retention
from ostinato.workspace.agent import FleetDefaults
from ostinato.workspace.agent_file import BUDGET_KEYS, EFFORTS, LIMIT_KEYS, parse_limits
from ostinato.workspace.failure_rules import (
    BREAKER_KEYS,
    FLEET_RETRY_KEYS,
    NO_RULES,
    FailureRules,
    parse_breakers,
    parse_fleet_failures,
)
from ostinato.workspace.fields import Fields
from ostinato.workspace.file_text import FileText, Finding, read_text
from ostinato.workspace.fleet_policy import POLICY_KEYS, parse_fleet_policy
from ostinato.workspace.gate_rules import ESCALATE_KEYS, GATE_KEYS
from ostinato.workspace.inbox_table import INBOX_KEYS, InboxSettings, parse_inbox
from ostinato.workspace.mcp_entries import MCP_EFFECTS, MCP_KEYS, McpEntry, parse_mcp
from ostinato.workspace.queue_table import QUEUE_KEYS, parse_aging, parse_queues
from ostinato.workspace.routing_table import ROUTING_KEYS, parse_routing
from ostinato.workspace.tiers_table import TIERS_KEYS, check_fallbacks, default_model, parse_model_rules, parse_tiers
from ostinato.workspace.toml_nodes import parse_toml
from ostinato.workspace.web_table import WEB_KEYS, WebEntry, parse_web

FLEET_FILE = "ostinato.toml"
"""Its folder is the fleet."""

DIALECTS = ("openai", "anthropic")
THINKING = ("adaptive", "disabled")

FLEET_FILE_KEYS: dict[str, tuple[str, ...]] = {
    "": (
        "fleet",
        "models",
        "tiers",
        "limits",
        "context",
        "policy",
        "server",
        "retention",
        "store",
        "engine",
        "queues",
        "inbox",
        "bindings",
        "routing",
        "retry",
        "breakers",
        "tasks",
        "metrics",
        "otel",
        "mcp",
        "web",
    ),
    "fleet": ("name", "description", "timezone", "model"),
    "models.<name>": (
        "provider",
        "model",
        "base_url",
        "api_key_env",
        "dialect",
        "script",
        "in_process",
        "context_tokens",
        "output_tokens_max",
        "price",
        "temperature",
        "effort",
        "thinking",
        "stream",
        "fallback",
        "timeouts",
    ),
    "models.<name>.price": ("input", "cached", "output", "written"),
    "models.<name>.timeouts": ("connect", "first_byte", "silence", "total"),
    **TIERS_KEYS,
    "limits": LIMIT_KEYS,
    "context": tuple(each.name for each in msgspec.structs.fields(ContextLimits)),
    "limits.per_call": BUDGET_KEYS,
    "limits.per_task": BUDGET_KEYS,
    "limits.per_day": BUDGET_KEYS,
    "policy": POLICY_KEYS,
    "policy.gates": GATE_KEYS,
    "policy.gates.escalate": ESCALATE_KEYS,
    "server": ("port", "host"),
    "retention": ("tasks", "events", "blobs", "skips", "charges"),
    "store": ("kind", "url", "password_env", "lease"),
    "engine": ("tasks",),
    **QUEUE_KEYS,
    **INBOX_KEYS,
    **ROUTING_KEYS,
    **FLEET_RETRY_KEYS,
    **BREAKER_KEYS,
    "tasks": ("file", "stalled"),
    "metrics": ("agents",),
    "otel": ("endpoint", "contents"),
    "mcp.<name>": MCP_KEYS,
    "mcp.<name>.effects": MCP_EFFECTS,
    "web": WEB_KEYS,
}
"""Keys of each table."""

CONTEXT_TOKENS_MAX = 100_000_000
OUTPUT_TOKENS_MAX = 8_192
"""Of a model that says nothing else."""

PRICE_MAX = 100_000
"""Dollars for a million tokens."""

LEASE_S = 3.0
"""How long a node that dies keeps its tasks from the others."""

STORES = ("sqlite", "postgresql")


class ModelEntry(Value):
    """One model as `[models.<name>]` describes it; the fields are those that the models' own settings have."""

    provider: str
    model: str
    base_url: str = ""
    api_key_env: str = ""
    dialect: str = ""
    script: str = ""
    in_process: bool = False
    context_tokens: int = 128_000
    output_tokens_max: int = OUTPUT_TOKENS_MAX
    price: Price | None = None
    temperature: float | None = None
    effort: str | None = None
    thinking: str = ""
    stream: bool = True
    fallback: tuple[str, ...] = ()
    timeouts: Mapping[str, float] = {}
    """`connect_s`, `first_byte_s`, `silence_s`, `total_s`; only those that are given."""


class StoreEntry(Value):
    """Where the truth is kept, as `[store]` says."""

    url: str | None = None
    """Of a PostgreSQL database, without a password; None: SQLite, in the fleet's own folder."""
    password_env: str | None = None
    """The environment variable that holds the password; None: libpq finds it (PGPASSFILE), or needs none."""
    lease_s: float = LEASE_S
    """Seconds; only where several nodes share a store."""


class FleetSettings(Value):
    """A fleet as its file describes it."""

    name: str
    description: str = ""
    timezone: str = "UTC"
    model: str | None = None
    """The model or tier of agents that name none; None: there are no models."""
    models: Mapping[str, ModelEntry] = {}
    tiers: Mapping[str, tuple[str, ...]] = {}
    """Tier -> models or other tiers, in the order in which they are asked."""
    model_rules: tuple[ModelRule, ...] = ()
    """Which tier a turn gets whose task does not name one; the first that holds goes before what its agent names."""
    escalates: bool = True
    """Whether the tier `strong` takes over where the replies of a weaker model stay malformed."""
    limits: Limits = Limits()
    """Of a turn, for agents that set none themselves."""
    context: ContextLimits = ContextLimits()
    """What each part of a prompt may take."""
    per_day_usd_micros: int | None = None
    """Micro-dollars that the whole fleet may spend in a UTC day."""
    per_day_tokens: int | None = None
    """The same for input plus output tokens."""
    policy: Policy | None = None
    """What no agent may do, and what every agent must ask about."""
    port: int | None = None
    """None: no public listener."""
    host: str = "127.0.0.1"
    retention: Retention = Retention()
    store: StoreEntry = StoreEntry()
    tasks_max: int | None = None
    """Tasks that a node runs at once; None: derived from the machine."""
    queue_limits: tuple[QueueLimit, ...] = ()
    """What of some kind, project, agent or priority runs at once and begins in a while, on all nodes."""
    aging_s: float = AGING_S
    """Seconds of waiting that a level of priority is worth."""
    inbox: InboxSettings = InboxSettings()
    """Who gets what comes from outside."""
    routing: Routing = Routing()
    """Which agent gets a task that names only skills."""
    failures: FailureRules = NO_RULES
    """What is to happen when a task fails whose agent says nothing else."""
    breakers: Mapping[str, BreakerRule] = {}
    """When calls stop, by what they go to; what is not there is as usual."""
    tasks_file: bool = True
    """Whether TASKS.md and tasks/ are kept."""
    stalled_s: float = STALLED_S
    """Seconds without a step after which a running task is stalled."""
    agent_metrics: bool = False
    """Whether there are figures of each agent."""
    otel_endpoint: str = ""
    """Where traces are sent, as `http://localhost:4318`; empty: nowhere."""
    otel_contents: bool = False
    """Whether traces hold what models and tools said."""
    mcp: Mapping[str, McpEntry] = {}
    """Servers whose tools agents may be granted."""
    web: WebEntry = WebEntry()
    digest: str = ""
    """Of the file."""
    findings: tuple[Finding, ...] = ()

    @property
    def defaults(self) -> FleetDefaults:
        """What agents inherit."""
        return FleetDefaults(timezone=self.timezone, limits=self.limits, policy=self.policy)

    @property
    def model_names(self) -> frozenset[str]:
        """Every name that stands for a model: the models' own, and tiers."""
        return frozenset({*self.models, *self.tiers, "cheap", "standard", "strong"})


def find_fleet(start: Path) -> Path:
    """The fleet's folder: `start` or the nearest folder above it that holds an ostinato.toml. Raises NotFound."""
    start = Path(os.path.abspath(start))
    for folder in (start, *start.parents):
        if os.path.lexists(folder / FLEET_FILE):
            return folder
    cure = "Go into a fleet's folder, name it with --fleet, or make one with: ostinato init"
    raise NotFound(f"There is no {FLEET_FILE} in {start} or above it", cure=cure)


def read_fleet(fleet: Path) -> FleetSettings:
    """The settings of the fleet in this folder. Raises NotFound without a file, Invalid with file, line and key."""
    try:
        folder = os.open(fleet, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(
            f"There is no fleet in {fleet}: {error.strerror}", cure="Name its folder with --fleet."
        ) from None
    try:
        found = read_text(folder, FLEET_FILE, place=FLEET_FILE)
    finally:
        os.close(folder)
    if found is None:
        raise NotFound(f"There is no {FLEET_FILE} in {fleet}", cure="Make one with: ostinato init")
    return parse_fleet(found[0], name=fleet.resolve().name)


def read_store(fleet: Path) -> StoreEntry:
    """Where the truth is kept, also where other parts of the file are wrong. Raises Invalid where it cannot be
    told: another database than the fleet's own must never take its place."""
    folder = os.open(fleet, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = read_text(folder, FLEET_FILE, place=FLEET_FILE)
    finally:
        os.close(folder)
    if found is None or not re.search(r"^\s*\[?\s*[\"']?store\b", found[0].text, re.MULTILINE):
        return StoreEntry()
    node = parse_toml(found[0].text, place=FLEET_FILE)
    return _store(_table(Fields(node, file=FLEET_FILE, known=()), "store"))


def parse_fleet(file: FileText, *, name: str) -> FleetSettings:
    """The settings in the file's text; `name` is the fleet's, unless the file gives one. Raises Invalid."""
    keys = FLEET_FILE_KEYS
    root = Fields(parse_toml(file.text, place=FLEET_FILE), file=FLEET_FILE, known=keys[""])
    fleet, server, engine = (_table(root, each) for each in ("fleet", "server", "engine"))
    models = _models(root)
    chosen = _table(root, "tiers")
    tiers = parse_tiers(chosen, models)
    check_fallbacks(root, {name: each.fallback for name, each in models.items()}, tiers=tiers)
    limits = root.group("limits", keys["limits"])
    turn = parse_limits(limits, Limits())
    fleet.read("timezone", zone_named)
    port = server.integer("port", 0, least=1, most=65_535) if server.has("port") else None
    retention = _retention(_table(root, "retention"))
    return FleetSettings(
        name=_name(fleet, name),
        description=fleet.text("description"),
        timezone=fleet.text("timezone") or "UTC",
        model=default_model(fleet, models, tiers=tiers),
        models=models,
        tiers=tiers,
        model_rules=parse_model_rules(chosen, {*models, *tiers}),
        escalates=chosen.flag("escalate", default=True),
        limits=msgspec.structs.replace(turn, per_day_usd_micros=None, per_day_tokens=None),
        context=_context(_table(root, "context")),
        per_day_usd_micros=turn.per_day_usd_micros,
        per_day_tokens=turn.per_day_tokens,
        policy=parse_fleet_policy(_table(root, "policy")),
        port=port,
        host=server.text("host") or "127.0.0.1",
        retention=retention,
        store=_store(_table(root, "store")),
        tasks_max=engine.integer("tasks", 1, least=1, most=100_000) if engine.has("tasks") else None,
        queue_limits=parse_queues(root),
        aging_s=parse_aging(root),
        inbox=parse_inbox(root),
        routing=parse_routing(root),
        failures=parse_fleet_failures(root),
        breakers=parse_breakers(root),
        tasks_file=_table(root, "tasks").flag("file", default=True),
        stalled_s=_table(root, "tasks").duration_s("stalled", STALLED_S, least=STALLED_LEAST_S),
        agent_metrics=_table(root, "metrics").flag("agents", default=False),
        otel_endpoint=_endpoint(_table(root, "otel")),
        otel_contents=_table(root, "otel").flag("contents", default=False),
        mcp=parse_mcp(root),
        web=parse_web(_table(root, "web")),
        digest=file.digest,
        findings=(*file.findings, *_about_retention(retention, place=_table(root, "retention").place())),
    )


def _endpoint(fields: Fields) -> str:
    url = fields.text("endpoint")
    if url and not re.fullmatch(r"https?://[^\s/@]+(/[^\s?#]*)?", url):
        cure = "For example 'http://localhost:4318'; keys go into OTEL_EXPORTER_OTLP_HEADERS."
        raise fields.wrong("endpoint", f"{url[:64]!r} is not the URL of a collector", cure=cure)
    return url


def _store(fields: Fields) -> StoreEntry:
    url = fields.text("url")
    kind = fields.choice("kind", STORES, STORES[bool(url)])
    if kind == "sqlite":
        for key in ("url", "password_env", "lease"):
            if fields.has(key):
                raise fields.wrong(key, "A store in SQLite has none", cure='Remove it, or write kind = "postgresql".')
        return StoreEntry()
    cure = 'Write url = "postgresql://user@host:5432/database", without a password.'
    if not url or not url.startswith(("postgresql://", "postgres://")):
        raise fields.wrong("url", "A store in PostgreSQL needs the URL of its database", cure=cure)
    if ":" in url.partition("://")[2].partition("/")[0].rpartition("@")[0] or "password=" in url:
        raise fields.wrong("url", "The URL carries a password", cure="Take it out: password_env names its variable.")
    password = fields.text("password_env")
    if password and not _ENVIRONMENT_NAME.fullmatch(password):
        cure = "Put the password into the environment, and here the variable's name, such as 'FLEET_DB_PASSWORD'."
        raise fields.wrong("password_env", "This is not the name of an environment variable", cure=cure)
    lease_s = fields.duration_s("lease", LEASE_S, least=1.0)
    return StoreEntry(url=url, password_env=password or None, lease_s=lease_s)


def _table(root: Fields, name: str) -> Fields:
    found = root.group(name, FLEET_FILE_KEYS[name])
    return found if found is not None else root.nothing(name)


def _name(fleet: Fields, default: str) -> str:
    name = fleet.text("name") or default or "fleet"
    if len(name) > 100 or not name.isprintable():
        raise fleet.wrong("name", "The fleet's name is too long or has odd characters", cure="At most 100 characters.")
    return name


_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:-]{0,99}", re.ASCII)
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


def _models(root: Fields) -> dict[str, ModelEntry]:
    group = root.group("models", ())
    if group is None:
        return {}
    found = {}
    for name in group.names():
        if not _MODEL_NAME.fullmatch(name):
            raise group.wrong(name, f"{name[:64]!r} cannot be the name of a model", cure="For example [models.fast].")
        fields = group.group(name, FLEET_FILE_KEYS["models.<name>"])
        if fields is not None:
            found[name] = _model(fields)
    return found


def _model(fields: Fields) -> ModelEntry:
    provider = fields.text("provider")
    if not provider:
        raise fields.wrong("provider", "The model does not say who provides it", cure="For example 'openai'.")
    script = fields.text("script")
    if provider == "scripted" and not script:
        raise fields.wrong("script", "A scripted model needs a script", cure='For example script = "models/demo.yaml".')
    model = fields.text("model") or ("scripted" if provider == "scripted" else "")
    if not model:
        raise fields.wrong("model", "The provider's own name of the model is missing", cure='model = "..."')
    url = fields.text("base_url")
    if url and not re.match(r"https?://[^\s/]+", url):
        raise fields.wrong("base_url", f"{url[:64]!r} is not a URL", cure="For example 'http://127.0.0.1:8000/v1'.")
    key = fields.text("api_key_env")
    if key and not _ENVIRONMENT_NAME.fullmatch(key):
        cure = "Put the key into the environment, and here the variable's name, such as 'OPENAI_API_KEY'."
        raise fields.wrong("api_key_env", "This is not the name of an environment variable", cure=cure)
    return ModelEntry(
        provider=provider,
        model=model,
        base_url=url,
        api_key_env=key,
        dialect=fields.choice("dialect", DIALECTS, DIALECTS[0]) if fields.has("dialect") else "",
        script=script,
        in_process=fields.flag("in_process", default=False),
        context_tokens=fields.integer("context_tokens", 128_000, least=1_000, most=CONTEXT_TOKENS_MAX),
        output_tokens_max=fields.integer("output_tokens_max", OUTPUT_TOKENS_MAX, least=16, most=CONTEXT_TOKENS_MAX),
        price=_price(fields.group("price", FLEET_FILE_KEYS["models.<name>.price"])),
        temperature=fields.number("temperature", least=0, most=2),
        effort=fields.choice("effort", EFFORTS, "medium") if fields.has("effort") else None,
        thinking=_thinking(fields),
        stream=fields.flag("stream", default=True),
        fallback=fields.texts("fallback"),
        timeouts=_timeouts(fields.group("timeouts", FLEET_FILE_KEYS["models.<name>.timeouts"])),
    )


def _thinking(fields: Fields) -> str:
    """A word, or how many tokens a model may think in."""
    if not fields.has("thinking") or fields.plain("thinking") in THINKING:
        return fields.text("thinking")
    tokens = fields.integer("thinking", 0, least=1_024, most=CONTEXT_TOKENS_MAX)
    if tokens >= fields.integer("output_tokens_max", OUTPUT_TOKENS_MAX, least=16, most=CONTEXT_TOKENS_MAX):
        cure = "What is thought counts as written: raise output_tokens_max, or let it think less."
        raise fields.wrong("thinking", f"{tokens} tokens to think in leave none to answer with", cure=cure)
    return str(tokens)


def _price(fields: Fields | None) -> Price | None:
    """Dollars for a million tokens are micro-dollars for one: the same number, a million times as fine."""
    if fields is None:
        return None
    amounts = {each: fields.number(each, least=0, most=PRICE_MAX) for each in FLEET_FILE_KEYS["models.<name>.price"]}
    fresh, out = amounts["input"], amounts["output"]
    if fresh is None or out is None:
        raise fields.wrong("", "A price needs 'input' and 'output'", cure="In dollars for a million tokens.")
    cached = amounts["cached"] if amounts["cached"] is not None else fresh
    written = amounts["written"]
    return Price(
        input_usd_micros=round(fresh * 1_000_000),
        cached_usd_micros=round(cached * 1_000_000),
        output_usd_micros=round(out * 1_000_000),
        written_usd_micros=None if written is None else round(written * 1_000_000),
    )


def _timeouts(fields: Fields | None) -> dict[str, float]:
    if fields is None:
        return {}
    return {f"{name}_s": fields.duration_s(name, 0.0, least=0.1) for name in fields.names() if fields.has(name)}


def _context(table: Fields) -> ContextLimits:
    usual = ContextLimits()
    sizes = {
        name: table.integer(name, getattr(usual, name), least=100, most=CONTEXT_TOKENS_MAX)
        for name in ("soul", "agents", "memory", "notes", "message", "history", "turn")
    }
    return ContextLimits(**sizes, summary=table.text("summary") or usual.summary)


def _retention(fields: Fields) -> Retention:
    kept: dict[str, float | None] = {}
    for name in fields.names():
        forever = fields.plain(name) == "forever"
        kept[f"{name}_s"] = None if forever else fields.duration_s(name, 0.0, least=3_600.0)
    return Retention(**kept)


DAY_S = 86_400.0

SHORT_TASKS_S = 7 * DAY_S
"""A task that failed on a Friday should still be there after a holiday."""

SHORT_CHARGES_S = 32 * DAY_S
"""The bill of a month comes after its end."""

LONG_S = 3_660 * DAY_S
"""Ten years; more is `"forever"`."""


def _about_retention(keep: Retention, *, place: str) -> tuple[Finding, ...]:
    """Values that work, but not as their author may think."""
    found: list[tuple[str, str]] = []
    tasks_s, events_s, charges_s = keep.tasks_s, keep.events_s, keep.charges_s
    if tasks_s is not None and tasks_s < SHORT_TASKS_S:
        found.append(("Tasks and their journals go within a week: nobody can say afterwards why something was done",
                      'Keep them longer, such as tasks = "30d".'))  # fmt: skip
    if events_s is not None and (tasks_s is None or events_s < tasks_s):
        found.append(("Events go before the tasks that they are about: their stories have gaps",
                      "Keep events at least as long as tasks."))  # fmt: skip
    if charges_s is not None and charges_s < SHORT_CHARGES_S:
        found.append(("The ledger goes within a month: its cost cannot be told",
                      'Keep it longer, such as charges = "400d".'))  # fmt: skip
    if tasks_s is None and events_s is None:
        found.append(("Tasks and events are kept for ever: the database only grows",
                      "Watch the disk, or name a time for one of them."))  # fmt: skip
    long = [name.removesuffix("_s") for name in keep.__struct_fields__ if (getattr(keep, name) or 0.0) > LONG_S]
    found += [(f"{name!r} is over ten years", 'Write "forever", if that is meant.') for name in long]
    return tuple(Finding(code="retention", place=place, message=message, cure=cure) for message, cure in found)


_TABLES = {
    "models": "[models]",
    "tiers": "[tiers]",
    "model_rules": "[tiers]",
    "escalates": "[tiers]",
    "limits": "[limits]",
    "per_day_usd_micros": "[limits]",
    "per_day_tokens": "[limits]",
    "policy": "[policy]",
    "port": "[server]",
    "host": "[server]",
    "retention": "[retention]",
    "store": "[store]",
    "tasks_max": "[engine]",
    "queue_limits": "[queues]",
    "aging_s": "[queues]",
    "inbox": "[inbox] or [[bindings]]",
    "routing": "[routing]",
    "failures": "[retry]",
    "breakers": "[breakers]",
    "tasks_file": "[tasks]",
    "stalled_s": "[tasks]",
    "agent_metrics": "[metrics]",
    "otel_endpoint": "[otel]",
    "otel_contents": "[otel]",
    "mcp": "[mcp]",
    "web": "[web]",
    "context": "[context]",
}
"""Where the settings stand that are not in [fleet]."""


def changed_tables(before: FleetSettings, after: FleetSettings) -> list[str]:
    """Tables in which two readings of a file differ, each once; comments do not count."""
    names = (each for each in before.__struct_fields__ if each not in ("digest", "findings"))
    return list(dict.fromkeys(_TABLES.get(n, "[fleet]") for n in names if getattr(before, n) != getattr(after, n)))
