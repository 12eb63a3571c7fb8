"""Operations on tools: which there are, and what would happen if an agent called one. Nothing is ever called here.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from ostinato.agents.rehearsal import Rehearsal, Rehearsed, ToolCard, Wanted
from ostinato.domain.errors import Internal, Invalid
from ostinato.domain.values import Trust
from ostinato.gateway.context import Context
from ostinato.gateway.operation import Ask, View, check_depth, member_of, operation
from ostinato.gateway.tasks_api import Word

_PLACE = re.compile(r"(?P<file>[^\s:]+\.(?:md|toml)):(?P<line>\d+)")


class WhichTools(Ask):
    """All tools, or with an agent: which of them it has."""

    agent: Word | None = None


class ToolView(View):
    """A tool. `granted` is null where no agent was named."""

    name: str
    usage: str
    description: str
    effect: str
    outward: bool
    outside_text: bool
    private: bool
    granted: bool | None
    rule: str


class ToolList(View):
    """Tools, in the order in which models are shown them."""

    tools: list[ToolView]


class CheckCall(Ask):
    """A call that nobody makes. `trust`, `private` and `requester` say what its turn would bring along."""

    agent: Word
    tool: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    arguments: Annotated[str, msgspec.Meta(max_length=100_000)] = "{}"
    """JSON."""
    requester: Word = "operator"
    trust: Word = "operator"
    private: bool = False


class CallView(View):
    """What would happen, and why. `decision` is allow, ask, deny, or invalid where the call itself is wrong."""

    decision: str
    reason: str
    rule: str
    file: str | None
    line: int | None
    agent: str
    tool: str
    arguments: dict[str, Any]
    effect: str | None
    outward: bool | None
    recipient: str | None
    hosts: list[str]
    reads: list[str]
    writes: list[str]
    cost_usd: float
    bound: dict[str, Any]
    """What an approval would be bound to beside the arguments."""
    asks: str | None
    """Whom it would ask: operator, admin, or a person."""
    expires_s: float | None
    question: str | None
    """What that person would read."""
    paused: str
    """Who has paused the agent or the fleet; empty: nobody."""


@operation("tools.list", "GET /api/v1/tools")
async def list_tools(context: Context, request: WhichTools) -> ToolList:
    """Every tool; for an agent, whether it has it, and by which rule."""
    cards = await rehearsal_of(context).cards(request.agent)
    return ToolList(tools=[_tool_view(each) for each in cards])


@operation("tools.check", "GET /api/v1/tools/check")
async def check(context: Context, request: CheckCall) -> CallView:
    """What would happen if the agent made this call now. Nothing is done, asked or written."""
    wanted = Wanted(
        agent=request.agent,
        tool=request.tool,
        arguments=json_object(request.arguments),
        requester=request.requester,
        trust=member_of(Trust, request.trust, what="trust", place="key 'trust'"),
        private=request.private,
    )
    return _call_view(wanted, await rehearsal_of(context).judge(wanted, now=context.now))


def json_object(text: str) -> dict[str, Any]:
    """The arguments that a text holds as JSON. Raises Invalid."""
    try:
        found = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        cure = """Give an object, such as {"to": "operator"}."""
        raise Invalid(f"This is not JSON: {error}", place="key 'arguments'", cure=cure) from None
    if not isinstance(found, dict):
        raise Invalid("This is not a JSON object", place="key 'arguments'", cure="Give {} for no arguments.")
    check_depth(found, place="key 'arguments'")
    return found


def rehearsal_of(context: Context) -> Rehearsal:
    """Whoever judges calls that nobody makes."""
    if context.rehearsal is None:
        raise Internal("There are no tools here")
    return context.rehearsal()


def _tool_view(card: ToolCard) -> ToolView:
    return ToolView(
        name=card.name,
        usage=card.usage,
        description=card.description,
        effect=card.effect.value,
        outward=card.outward,
        outside_text=card.outside_text,
        private=card.private,
        granted=card.visible,
        rule=card.rule,
    )


def _call_view(wanted: Wanted, found: Rehearsed) -> CallView:
    verdict, facts = found.verdict, found.facts
    place = _PLACE.search(verdict.rule) if verdict else None
    gate = verdict.gate if verdict else None
    return CallView(
        decision=verdict.decision.value if verdict else "invalid",
        reason=verdict.reason if verdict else found.problem,
        rule=verdict.rule if verdict else "the tool's schema",
        file=place["file"] if place else None,
        line=int(place["line"]) if place else None,
        agent=wanted.agent,
        tool=wanted.tool,
        arguments=wanted.arguments,
        effect=facts.effect.value if facts else None,
        outward=facts.outward if facts else None,
        recipient=facts.recipient if facts else None,
        hosts=[*facts.hosts, *facts.reaches] if facts else [],
        reads=list(facts.reads) if facts else [],
        writes=list(facts.writes) if facts else [],
        cost_usd=facts.cost_usd_micros / 1_000_000 if facts else 0.0,
        bound=facts.bound if facts else {},
        asks=gate.ask if gate else None,
        expires_s=gate.expires_s if gate else None,
        question=f"May {wanted.agent} call {wanted.tool}?" if gate else None,
        paused=found.paused,
    )
