"""AGENTS.md: what an agent is good at, which model it uses, how much it may spend, and what it must ask about.

Knows nothing of tools (TOOLS.md grants them) or of when the agent wakes (HEARTBEAT.md).
"""

from __future__ import annotations

import re
from typing import Any

from ostinato.domain.budget import Ceiling
from ostinato.domain.errors import Invalid
from ostinato.domain.gate import DEFAULT_GATES, Gate
from ostinato.domain.instant import zone_named
from ostinato.domain.review import ReviewTerms, read_review
from ostinato.domain.values import Limits, Value
from ostinato.workspace.command_rules import CodingCommand, parse_command, parse_function
from ostinato.workspace.failure_rules import FAILURE_KEYS, NO_RULES, FailureRules, parse_failure_rules
from ostinato.workspace.fields import ID, ID_CURE, Fields
from ostinato.workspace.front_matter import Node
from ostinato.workspace.gate_rules import parse_gates

ABOUT_KEYS = ("title", "summary", "description", "read_when")
"""Keys for people, which every file may have and the runtime does not use, but for AGENTS.md's `description`."""

AGENT_KEYS = (
    *ABOUT_KEYS,
    "kind",
    "command",
    "function",
    "skills",
    "model",
    "effort",
    "timezone",
    "accepts",
    "produces",
    "delegates",
    "concurrency",
    "cache",
    "pool",
    "inbox",
    "limits",
    "gates",
    "gates_off",
    "review",
    *FAILURE_KEYS,
    "stop",
)
LIMIT_KEYS = ("steps", "tokens", "usd", "wall", "identical", "per_call", "per_task", "per_day")
BUDGET_KEYS = ("usd", "tokens")
PRODUCES_KEYS = ("name", "version", "schema")

INBOX_WAKES = ("now", "heartbeat")
EFFORTS = ("low", "medium", "high")
CONCURRENCY_MAX = 1_000
SKILL = re.compile(r"[\w][\w.+-]{0,62}")


class Contract(Value):
    """A kind of document with its version: `ticket@1`. `schema` is a JSON Schema, where it is given."""

    name: str
    version: int
    schema: dict[str, Any] | None = None


class AgentSettings(Value):
    """The settings of AGENTS.md. The defaults are those of a file without any."""

    description: str = ""
    command: CodingCommand | None = None
    """The program that does its work (`kind: command`); None: others do."""
    function: str = ""
    """The function that does its work (`kind: python`), `file.function`; empty: others do."""
    skills: tuple[str, ...] = ()
    model: str | None = None
    """A tier or a model of the fleet; None: the fleet's default."""
    effort: str | None = None
    """Reasoning effort; None: the model's own."""
    timezone: str | None = None
    """None: the fleet's."""
    accepts: tuple[Contract, ...] = ()
    produces: Contract | None = None
    delegates: tuple[str, ...] | None = None
    """Agents that it may give tasks to; None: nothing is declared."""
    concurrency: int = 1
    """Tasks that it may work on at once."""
    cache_s: float = 0.0
    """Seconds for which its results may answer equal tasks; 0: never."""
    pool: str = "default"
    """Only nodes that take from this pool run its tasks."""
    inbox: str = "now"
    """When files dropped in the agent's inbox wake it: `now`, or with its next `heartbeat`."""
    limits: Limits = Limits()
    gates: tuple[Gate, ...] = tuple(DEFAULT_GATES.values())
    review: ReviewTerms | None = None
    """What the results of its goals must pass before they count; None: nothing."""
    failures: FailureRules = NO_RULES
    """What is to happen when a task of it fails."""
    stop: str = ""
    """How people stop it for good, in words."""


def parse_agent_settings(node: Node, *, file: str, limits: Limits) -> AgentSettings:
    """The settings of AGENTS.md; `limits` are the fleet's, for whatever the file does not limit itself."""
    fields = Fields(node, file=file, known=AGENT_KEYS)
    zone = fields.text("timezone")
    fields.read("timezone", zone_named)
    return AgentSettings(
        description=fields.text("description"),
        command=parse_command(fields),
        function=parse_function(fields),
        skills=_skills(fields),
        model=fields.text("model") or None,
        effort=fields.choice("effort", EFFORTS, "medium") if fields.has("effort") else None,
        timezone=zone or None,
        accepts=tuple(_contract(fields, each) for each in fields.texts("accepts")),
        produces=_produces(fields),
        delegates=fields.ids("delegates", also=("*",)) if "delegates" in fields.names() else None,
        concurrency=fields.integer("concurrency", 1, least=1, most=CONCURRENCY_MAX),
        cache_s=fields.duration_s("cache", 0.0),
        pool=_pool(fields),
        inbox=fields.choice("inbox", INBOX_WAKES, "now"),
        limits=parse_limits(fields.group("limits", LIMIT_KEYS), limits),
        gates=_gates(fields),
        review=parse_review(fields),
        failures=parse_failure_rules(fields),
        stop=fields.text("stop"),
    )


def _pool(fields: Fields) -> str:
    pool = fields.text("pool", "default")
    if not ID.fullmatch(pool):
        raise fields.wrong("pool", f"{pool[:64]!r} is not a name", cure=ID_CURE)
    return pool


def parse_limits(fields: Fields | None, default: Limits) -> Limits:
    """Limits of a turn and a day, as `limits` writes them."""
    if fields is None:
        return default
    usd = fields.usd_micros("usd")
    call = _budget(fields, "per_call", usd_micros=default.per_call_usd_micros, tokens=default.per_call_tokens)
    task = _budget(fields, "per_task", usd_micros=default.per_task_usd_micros, tokens=default.per_task_tokens)
    day = _budget(fields, "per_day", usd_micros=default.per_day_usd_micros, tokens=default.per_day_tokens)
    return Limits(
        steps=fields.integer("steps", default.steps, least=1, most=10_000),
        tokens=fields.integer("tokens", default.tokens, least=1_000, most=1_000_000_000),
        usd_micros=default.usd_micros if usd is None else usd,
        wall_s=fields.duration_s("wall", default.wall_s, least=1.0),
        identical=fields.integer("identical", default.identical, least=2, most=100),
        per_call_usd_micros=call.usd_micros,
        per_call_tokens=call.tokens,
        per_task_usd_micros=task.usd_micros,
        per_task_tokens=task.tokens,
        per_day_usd_micros=day.usd_micros,
        per_day_tokens=day.tokens,
    )


def _budget(fields: Fields, key: str, *, usd_micros: int | None, tokens: int | None) -> Ceiling:
    """Money and tokens of one group; the given ones where it says nothing."""
    group = fields.group(key, BUDGET_KEYS)
    if group is None:
        return Ceiling(usd_micros=usd_micros, tokens=tokens)
    usd = group.usd_micros("usd")
    return Ceiling(
        usd_micros=usd_micros if usd is None else usd,
        tokens=group.integer("tokens", 0, least=1, most=10**12) if group.has("tokens") else tokens,
    )


def _skills(fields: Fields) -> tuple[str, ...]:
    found = fields.texts("skills")
    for each in found:
        if not SKILL.fullmatch(each):
            cure = "Use letters, digits, '-', '_', '.' and '+', without spaces."
            raise fields.wrong("skills", f"{each[:64]!r} is not a skill", cure=cure)
    return found


def _contract(fields: Fields, text: str) -> Contract:
    name, _, version = text.partition("@")
    if not re.fullmatch(r"[A-Za-z][\w-]{0,62}", name, re.ASCII) or not re.fullmatch(r"[1-9]\d{0,5}", version, re.ASCII):
        raise fields.wrong("accepts", f"{text[:64]!r} is not a contract", cure="Write name and version: 'ticket@1'.")
    return Contract(name=name, version=int(version))


def _produces(fields: Fields) -> Contract | None:
    group = fields.group("produces", PRODUCES_KEYS)
    if group is None:
        return None
    name = group.text("name")
    if not re.fullmatch(r"[A-Za-z][\w-]{0,62}", name, re.ASCII):
        raise group.wrong("name", f"{name[:64]!r} is not the name of a contract", cure="For example 'triage_result'.")
    schema = group.plain("schema")
    if schema is not None:
        _check_schema(group, schema)
    return Contract(name=name, version=group.integer("version", 1, least=1, most=999_999), schema=schema)


def _check_schema(fields: Fields, schema: Any) -> None:
    import jsonschema_rs

    if not isinstance(schema, dict):
        raise fields.wrong("schema", "A schema is a group of keys", cure="For example {type: object}.")
    try:
        jsonschema_rs.validator_for(schema, retriever=_no_other_document)
    except (ValueError, TypeError, OverflowError) as error:  # its errors are ValueErrors
        message = str(error).splitlines()[0][:200]
        cure = "For example {type: object}."
        raise fields.wrong("schema", f"This is not a JSON Schema: {message}", cure=cure) from None


def _no_other_document(uri: str) -> Any:
    """By itself the library would fetch whatever a schema refers to, from any host."""
    raise ValueError(f"{uri[:100]} is another document; write the schema out")


def _gates(fields: Fields) -> tuple[Gate, ...]:
    """The file's own gates, then the default ones that it does not switch off."""
    off = fields.texts("gates_off")
    for each in off:
        if each not in DEFAULT_GATES:
            known = ", ".join(repr(name) for name in DEFAULT_GATES)
            raise fields.wrong("gates_off", f"There is no default gate {each[:64]!r}", cure=f"There are: {known}.")
    return (*parse_gates(fields), *(gate for name, gate in DEFAULT_GATES.items() if name not in off))


def parse_review(fields: Fields) -> ReviewTerms | None:
    """The terms below `review`; None where there are none. Raises Invalid with file, line and key."""
    if not fields.has("review"):
        return None
    try:
        return read_review(fields.plain("review"))
    except Invalid as error:
        raise fields.wrong("review", error.message, cure=error.cure) from None


def check_agent_id(agent: str) -> str:
    """The id, where it can name an agent. Raises Invalid."""
    if not ID.fullmatch(agent):
        raise Invalid(f"{agent[:80]!r} cannot be the name of an agent", cure=ID_CURE)
    return agent
