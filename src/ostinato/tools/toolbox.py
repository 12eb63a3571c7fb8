"""The box of all tools: finds one by name, shows the allowed ones to a model, checks arguments, performs.

Arguments come from a model and are hostile: their size and shape are bounded before any schema sees them. Tools whose
makers come and go (a server, a file of Python) are a *family*: it is replaced as one while turns run. Knows nothing of
journals or transactions of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from msgspec.structs import replace

from ostinato.domain.chat import ToolSpec
from ostinato.domain.errors import Exhausted, Invalid, OstinatoError, unknown_name
from ostinato.domain.policy import CallFacts, Policy, is_visible
from ostinato.domain.step import REPEATABLE, ResultStatus
from ostinato.store.port import Tx
from ostinato.tools.port import (
    AnyTool,
    Arguments,
    CallReport,
    OutsideTool,
    StoreTool,
    Tool,
    ToolContext,
    ToolResult,
    TurnTool,
    failed,
    nobody,
    nowhere,
    refused,
)

if TYPE_CHECKING:
    from jsonschema_rs import Validator

ARGUMENTS_BYTES_MAX = 1_048_576
"""Bytes of all texts in one call's arguments: above any file an agent should write in one go."""

ARGUMENTS_DEPTH_MAX = 32
"""Nesting of arguments; the schema library gives up at 255."""

ARGUMENTS_VALUES_MAX = 10_000
"""Values and keys in one call's arguments."""

PROBLEMS_MAX = 5
"""Findings told to the model at once."""

PROBLEM_CHARS_MAX = 240
"""Characters of one finding: it may quote a value of any size."""

_ONLY_CHECKED = frozenset(
    ("additionalProperties", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "pattern")
)

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what the journal's JSON can hold


class Toolbox:
    """The tools there are. Which of them an agent may see or use, its policy says."""

    def __init__(self, tools: Iterable[AnyTool]) -> None:
        self._tools: dict[str, AnyTool] = {}
        self._validators: dict[str, tuple[dict[str, Any], Validator]] = {}
        self._families: dict[str, frozenset[str]] = {}
        self._withheld: dict[str, Mapping[str, str]] = {}
        self.generation = 0
        """Grows whenever a family changes: what was made from the tools before is old then."""
        self._tools = _added({}, tools)

    def put_family(self, family: str, tools: Iterable[AnyTool], *, withheld: Mapping[str, str] | None = None) -> None:
        """Puts these tools in the place of all that the family had; none: withdraws it. To be called on the event loop:
        a turn sees the family as it was or as it is, never half of it. Raises Invalid, and changes nothing, where
        another tool has one of the names. `withheld`: name -> why a tool of the family cannot be had now.
        """
        tools = tuple(tools)
        others = {
            name: tool for name, tool in self._tools.items() if name not in self._families.get(family, frozenset())
        }
        found = _added(others, tools)
        self._families[family] = frozenset(tool.name for tool in tools)
        self._tools = self._in_order(found)
        self._withheld[family] = dict(withheld or {})
        self.generation += 1

    def _in_order(self, tools: Mapping[str, AnyTool]) -> dict[str, AnyTool]:
        """Families by name, behind what belongs to none, whoever of them came first: a provider keeps the beginning of
        a prompt only as long as that stays the same."""
        families = [self._families[each] for each in sorted(self._families)]
        own = [name for name in tools if not any(name in family for family in families)]
        return {name: tools[name] for name in (*own, *(n for family in families for n in tools if n in family))}

    def __iter__(self) -> Iterator[AnyTool]:
        return iter(self._tools.values())

    def family(self, family: str) -> tuple[AnyTool, ...]:
        """The tools that a family has now."""
        return tuple(self._tools[name] for name in self._families.get(family, ()))

    def get(self, name: str) -> AnyTool | None:
        """The tool of that name, if there is one."""
        return self._tools.get(name)

    def tool(self, name: str, policy: Policy) -> AnyTool:
        """The tool of that name; raises Invalid with the names that this policy shows."""
        found = self._tools.get(name)
        if found is None:
            if why := next((each[name] for each in self._withheld.values() if name in each), ""):
                raise Invalid(f"{name} cannot be used now: {why}", cure="Nothing was done; go on without it.")
            visible = [spec.name for spec in self.specs(policy)]
            raise Invalid(unknown_name("tool", name[:PROBLEM_CHARS_MAX], visible), cure="Nothing was done.")
        return found

    def specs(self, policy: Policy) -> tuple[ToolSpec, ...]:
        """What a model under this policy is shown, always in the same order."""
        return tuple(
            ToolSpec(name=tool.name, description=tool.description, parameters=shown_schema(tool.parameters))
            for tool in self._visible(policy)
        )

    def has_unread(self, policy: Policy) -> bool:
        """True where a stranger's words that no person has read are among what a model is shown."""
        return any(tool.unread for tool in self._visible(policy))

    def _visible(self, policy: Policy) -> Iterator[AnyTool]:
        for tool in self._tools.values():
            if tool.always_allowed or is_visible(tool.name, tool.effect, policy, unaddressed=is_unaddressed(tool)):
                yield tool

    def check_arguments(self, tool: Tool, arguments: object) -> str:
        """Empty when the arguments fit the tool's schema; else what is wrong and how a right call looks."""
        problems = list(_shape_problems(arguments)) or self._schema_problems(tool, arguments)
        if not problems:
            return ""
        told = "; ".join(_shortened(each) for each in problems[:PROBLEMS_MAX])
        more = f"; and {len(problems) - PROBLEMS_MAX} more" if len(problems) > PROBLEMS_MAX else ""
        return f"{told}{more}. Right: {usage(tool)}"

    def facts(self, tool: Tool, arguments: Arguments, context: ToolContext) -> CallFacts:
        """What the gate is told about a call whose arguments have been checked."""
        harmless = tool.harmless(arguments)
        report = report_of(tool, arguments, context)
        return CallFacts(
            tool=tool.name,
            effect=report.effect,
            refusal=report.refusal,
            arguments=arguments,
            outward=tool.outward and not harmless,
            recipient=tool.recipient(arguments),
            hosts=tool.hosts(arguments),
            reaches=(*tool.reaches, *report.reaches),
            reads=() if tool.own_files else tool.reads(arguments),
            writes=() if tool.own_files else tool.writes(arguments),
            cost_usd_micros=tool.cost(arguments),
            requester=context.requester,
            trust=context.trust,
            private=context.private,
            remembers=context.remembers,
            now=context.now,
            timezone=context.timezone,
            always_allowed=tool.always_allowed,
            harmless=harmless,
            bound=report.bound,
        )

    def prepare(self) -> None:
        """Compiles every check now (about 40 ms, most of it an import), so that the first call need not wait for it."""
        for tool in self._tools.values():
            self._validator(tool)

    def _validator(self, tool: Tool) -> Validator:
        found = self._validators.get(tool.name)
        if found is None or found[0] is not tool.parameters:  # a tool of that name came anew
            found = self._validators[tool.name] = tool.parameters, compiled(tool.parameters)
        return found[1]

    def _schema_problems(self, tool: Tool, arguments: object) -> list[str]:
        problems = []
        for error in self._validator(tool).iter_errors(arguments):
            place = ".".join(str(each) for each in error.instance_path)
            problems.append(f"{place}: {error.message}" if place else error.message)
            if len(problems) > 10 * PROBLEMS_MAX:  # a list of ten thousand wrong items says no more than fifty
                break
        return problems


class Lent(Toolbox):
    """A toolbox with tools of one turn beside; what changes in the one changes here. Models see all or, unless they
    are `shown`, nothing."""

    def __init__(self, box: Toolbox, own: Iterable[AnyTool], *, shown: bool = False) -> None:
        super().__init__(own)
        self._box = box
        self._shown = shown
        self.generation = box.generation
        self._validators = box._validators

    def get(self, name: str) -> AnyTool | None:
        """The turn's own, or the box's."""
        return super().get(name) or self._box.get(name)

    def tool(self, name: str, policy: Policy) -> AnyTool:
        """The turn's own, or the box's; raises Invalid as that does."""
        return super().get(name) or self._box.tool(name, policy)

    def _visible(self, policy: Policy) -> Iterator[AnyTool]:
        """Its own first; none where no model is asked."""
        if self._shown:
            yield from super()._visible(policy)
            yield from self._box._visible(policy)


def _added(tools: Mapping[str, AnyTool], more: Iterable[AnyTool]) -> dict[str, AnyTool]:
    found = dict(tools)
    for tool in more:
        if tool.name in found:
            raise Invalid(f"Two tools are called {tool.name!r}", cure="Rename one of them.")
        found[tool.name] = tool
    return found


def compiled(schema: dict[str, Any]) -> Validator:
    """The check that a schema describes. Raises ValueError where it describes none, or names another document."""
    from jsonschema_rs import validator_for

    return validator_for(schema, retriever=_no_other_document)


def _no_other_document(address: str) -> Any:
    """A schema that names another document does not get it: the library would fetch it from anywhere."""
    raise ValueError(f"a schema may not refer to {address}")


def is_unaddressed(tool: Tool) -> bool:
    """True for a tool whose effect others see, and that says neither which recipient nor which host it reaches."""
    return tool.outward and tool.recipient is nobody and tool.hosts is nowhere and not tool.reaches


def report_of(tool: Tool, arguments: Arguments, context: ToolContext) -> CallReport:
    """What the tool finds out about a call whose arguments have been checked."""
    if context.looked is not None:
        return context.looked
    return tool.report(context, arguments) if tool.report else CallReport(effect=tool.effect)


def perform_in(tx: Tx, tool: StoreTool, *, context: ToolContext, arguments: Arguments) -> ToolResult:
    """Performs a store tool whole or not at all; what it refuses becomes a result that the model can read."""
    try:
        return tx.whole(lambda: tool.act(tx, context, arguments))
    except OstinatoError as error:
        return refused(error)


async def perform(tool: OutsideTool | TurnTool, context: ToolContext, arguments: Arguments) -> ToolResult:
    """Performs any other tool; every failure becomes a result. Where it is not known whether an effect that must not be
    repeated took place, the result says `unknown`."""
    try:
        match tool:
            case TurnTool():
                return tool.act(context, arguments)
            case OutsideTool():
                async with asyncio.timeout(tool.timeout_s):
                    return await tool.act(context, arguments)
            case _:
                assert_never(tool)
    except Exhausted as error:  # a host that does not answer, a limit of ours: the next call would meet the same
        return replace(refused(error), broken=True)
    except OstinatoError as error:
        return refused(error)
    except TimeoutError:
        what = f"no result within {tool.timeout_s:g} s" if isinstance(tool, OutsideTool) else "timeout"
        return replace(_surprised(tool, what), broken=True)
    except Exception as error:  # a tool may raise anything, and the turn must go on
        return replace(_surprised(tool, f"{type(error).__name__}: {error}"), broken=True)


def usage(tool: Tool) -> str:
    """A tool's arguments in one line: `files.read(path: string, from?: integer)`."""
    required = tool.parameters.get("required", ())
    parts = [
        f"{name}{'' if name in required else '?'}: {_type_name(schema)}"
        for name, schema in tool.parameters.get("properties", {}).items()
    ]
    return f"{tool.name}({', '.join(parts)})"


def shown_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the bounds that only the check needs: each of its bytes is paid for in every prompt."""
    kept = {name: value for name, value in schema.items() if name not in _ONLY_CHECKED}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: _shown_part(each) for name, each in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = _shown_part(kept["items"])
    return kept


def _shown_part(schema: Any) -> Any:
    """A schema may also be true or false, and in older drafts a list of schemas."""
    return shown_schema(schema) if isinstance(schema, dict) else schema


def _type_name(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if "enum" in schema:
        return "|".join(str(each) for each in schema["enum"])
    kind = str(schema.get("type", "any"))
    return f"[{_type_name(schema.get('items', {}))}]" if kind == "array" else kind


def _surprised(tool: Tool, what: str) -> ToolResult:
    if tool.effect in REPEATABLE:
        return failed(f"{tool.name} failed: {what[:PROBLEM_CHARS_MAX]}")
    text = f"{tool.name} broke off ({what[:PROBLEM_CHARS_MAX]}); it may have happened. Do not repeat it blindly."
    return ToolResult(status=ResultStatus.UNKNOWN, text=text)


def _shortened(problem: str) -> str:
    """A finding without the bulk of the value that it quotes: beginning and end are kept."""
    problem = "".join(each if each.isprintable() else " " for each in problem)
    if len(problem) <= PROBLEM_CHARS_MAX:
        return problem
    half = PROBLEM_CHARS_MAX // 2
    return f"{problem[:half]} ... {problem[-half:]}"


def _shape_problems(arguments: object) -> Iterator[str]:
    """What no schema should have to meet. Walks without recursion and stops at the first limit."""
    if not isinstance(arguments, dict):
        yield "the arguments are not a JSON object"
        return
    pending: list[tuple[object, int]] = [(arguments, 1)]
    values = size = 0
    while pending:
        value, depth = pending.pop()
        values += 1
        if depth > ARGUMENTS_DEPTH_MAX:
            yield f"nested more than {ARGUMENTS_DEPTH_MAX} deep"
            return
        match value:
            case dict():
                if not all(isinstance(key, str) for key in value):
                    yield "a key is no text"
                    return
                pending.extend((key, depth + 1) for key in value)
                pending.extend((each, depth + 1) for each in value.values())
            case list():
                pending.extend((each, depth + 1) for each in value)
            case str():
                size += len(value.encode(errors="surrogatepass"))
                if not _is_text(value):
                    yield "a text holds half a surrogate pair, which is no character"
                    return
            case _:
                if not _is_plain(value):
                    yield "a number is not finite or does not fit 64 bits, or a value is none of JSON's"
                    return
        if values + len(pending) > ARGUMENTS_VALUES_MAX:
            yield f"more than {ARGUMENTS_VALUES_MAX} values"
            return
        if size > ARGUMENTS_BYTES_MAX:
            yield f"more than {ARGUMENTS_BYTES_MAX} bytes of text"
            return


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: object) -> bool:
    """True for null, booleans, numbers that are finite and fit 64 bits."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int):
        return _INT_MIN <= value <= _INT_MAX
    return isinstance(value, float) and math.isfinite(value)
