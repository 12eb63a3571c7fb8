"""What a tool is: a name, a schema, an effect, and one of three ways to act.

A *store tool* acts inside the caller's transaction: effect and record are one commit, exactly once. An *outside tool*
acts on the world between an intent and a result. A *turn tool* acts on nothing but the turn. Knows nothing of models,
journals or how a turn runs; whoever performs a tool has asked the gate before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ostinato.domain.errors import OstinatoError
from ostinato.domain.file_rules import FileRules
from ostinato.domain.policy import Policy
from ostinato.domain.secret import KNOWN
from ostinato.domain.step import Effect, ResultStatus, ToolOutcome
from ostinato.domain.task import Wait
from ostinato.domain.values import Attachment, Instant, Origin, Trust, Value
from ostinato.store.port import Tx

Arguments = dict[str, Any]
"""Checked against the tool's schema before anything here sees them."""

RESULT_BYTES_MAX = 64_000
"""UTF-8 bytes of a result that a model is shown: about 16,000 tokens, a twelfth of a turn's default limit."""


class CommandRules(Value):
    """Which commands an agent may run, and how."""

    commands: tuple[str, ...] = ()
    """Names of programs, without folders."""
    effects: dict[str, Effect] = {}
    """Command, with `*` for any further arguments -> its effect as declared; all others are irreversible."""
    paths: tuple[str, ...] = ()
    """Further folders of programs that commands may read."""
    timeout_s: float = 600.0
    lasts_s: float = 3_600.0
    """How long what is started to last may run."""
    silence_s: float | None = None
    network: tuple[str, ...] = ()
    """Hosts that commands may reach, by the runtime's proxy."""


class CallReport(Value):
    """What a tool finds out about one call before it is judged."""

    effect: Effect
    refusal: str = ""
    """Why it is not for this call; empty where it is."""
    bound: dict[str, Any] = {}
    """What an approval is bound to beside the arguments. The tool must find the same again when it acts."""
    outside: bool = False
    """Strangers may write what this call returns and writes: a command that reaches hosts."""
    reaches: tuple[str, ...] = ()
    """Declared hosts that it may reach beside those that its arguments name."""


class Colleague(Value):
    """An agent of the fleet that could do a task, as far as routing must know it."""

    id: str
    skills: tuple[str, ...] = ()
    concurrency: int = 1
    """Tasks that it may run at once, by its files."""
    per_day_usd_micros: int | None = None
    per_day_tokens: int | None = None


class ToolContext(Value):
    """The one call that a tool performs, and on whose behalf. Plain values: a tool looks nothing up."""

    task: int
    call_id: str
    key: str
    """Idempotency key of the call: equal for a repeat, different for every other call."""
    agent: str
    session: str
    workspace: Path
    """The agent's folder."""
    now: Instant
    timezone: str = "UTC"
    policy: Policy
    files: FileRules = FileRules()
    commands: CommandRules | None = None
    secrets: tuple[str, ...] = ()
    """Names in the environment that the agent's commands may be given."""
    credentials: dict[str, dict[str, str]] = {}
    """Host -> header -> text with the names of secrets in it, for requests to that host."""
    bound: dict[str, Any] = {}
    """What was found when the call was judged; see `CallReport`."""
    requester: str = "operator"
    trust: Trust = Trust.OPERATOR
    """The least trusted text that the turn has read: taint is sticky."""
    private: bool = False
    """The session has read what may be private, through a tool."""
    marking: bool = False
    """What the call writes counts as written by strangers: whoever can tell what that is must."""
    remembers: bool = False
    """The prompt holds what the agent remembers: MEMORY.md, USER.md."""
    depth: int = 0
    causes: tuple[str, ...] = ()
    origin: Origin | None = None
    attachments: tuple[Attachment, ...] = ()
    """Of the task and of the messages that the turn has read."""
    colleagues: tuple[Colleague, ...] = ()
    """All agents of the fleet, this one included."""
    delegates: tuple[str, ...] | None = None
    """Agents that this one may give tasks to, `*` for any; None: nothing is declared, so any."""
    fleet: str = "fleet"
    repeated: bool = False
    """True: an earlier attempt may have done it already, with the same key."""
    looked: CallReport | None = None
    """What a tool that `looks` found out about this call a moment ago, outside of any transaction."""


class ToolResult(Value):
    """What came of a call. `text` is for the model."""

    status: ResultStatus = ResultStatus.OK
    text: str = ""
    data: dict[str, Any] | None = None
    outside: bool = False
    """Strangers wrote this text, whatever the tool returns otherwise; see `Tool.outside_text`."""
    private: bool = False
    """It may be private, whatever the tool returns otherwise; see `Tool.private`."""
    wrote: tuple[str, ...] | None = None
    """Of a tool that `tells_writes`: the files that it has changed; None: it cannot tell."""
    broken: bool = False
    """It says nothing about this call alone: the tool, or whom it asked, is in trouble."""
    wait: Wait | None = None
    """Of a store tool that only reads: not yet. In a session of its own the turn parks for this, and calls again."""

    def outcome(self, *, call_id: str, tool: str, duration_ms: float = 0.0) -> ToolOutcome:
        """The entry of the journal, without any secret, and with the text capped at `RESULT_BYTES_MAX`."""
        return ToolOutcome(
            call_id=call_id,
            tool=tool,
            status=self.status,
            text=capped(KNOWN.text(self.text)),
            data=KNOWN.value(self.data),
            duration_ms=duration_ms,
            outside=self.outside,
            broken=self.broken,
            private=self.private,
            wrote=self.wrote,
        )


def failed(text: str) -> ToolResult:
    """A failure that the model can read and act on."""
    return ToolResult(status=ResultStatus.ERROR, text=text)


def refused(error: OstinatoError) -> ToolResult:
    """An error as the model reads it: what is wrong, then what to do."""
    if not error.cure:
        return failed(error.message)
    ends = error.message.endswith((".", "?", "!"))
    return failed(f"{error.message}{'' if ends else '.'} {error.cure}")


def capped(text: str) -> str:
    """At most `RESULT_BYTES_MAX` bytes of UTF-8, with a line that says what is missing; never a lone surrogate."""
    data = text.encode(errors="replace")
    if len(data) <= RESULT_BYTES_MAX:
        return data.decode()
    kept = data[:RESULT_BYTES_MAX].decode(errors="ignore")
    return f"{kept}\n[truncated: the first {RESULT_BYTES_MAX} of {len(data)} bytes]"


def _never(_arguments: Arguments) -> bool:
    return False


def nobody(_arguments: Arguments) -> str | None:
    """The recipient of a tool that has none."""
    return None


def nowhere(_arguments: Arguments) -> tuple[str, ...]:
    """The hosts, or the files, of a tool that touches none."""
    return ()


def _free(_arguments: Arguments) -> int:
    return 0


Report = Callable[[ToolContext, Arguments], CallReport]
"""Looks at one call; reads at most, and never raises."""


class Tool(Value):
    """What every tool says about itself. `description` is one short line: it is paid for in every prompt."""

    name: str
    description: str
    parameters: dict[str, Any]
    """A JSON Schema of type object."""
    effect: Effect = Effect.IRREVERSIBLE
    outward: bool = False
    """Somebody outside the fleet may see it."""
    always_allowed: bool = False
    harmless: Callable[[Arguments], bool] = _never
    """True for arguments with which an irreversible effect stays inside the fleet."""
    recipient: Callable[[Arguments], str | None] = nobody
    """Whom the call reaches, in the form in which recipients are declared."""
    hosts: Callable[[Arguments], tuple[str, ...]] = nowhere
    """Names of the hosts that the call reaches, with a port where it is neither 80 nor 443; never raises. What is no
    host name is denied."""
    reads: Callable[[Arguments], tuple[str, ...]] = nowhere
    """Paths of files in the workspace that the call reads; one that ends with `/` is a folder."""
    writes: Callable[[Arguments], tuple[str, ...]] = nowhere
    """Paths of files in the workspace that the call writes, or may write."""
    tells_writes: bool = False
    """Its result says which of those it has written, where somebody wants to know (`ToolContext.marking`)."""
    reaches: tuple[str, ...] = ()
    """Hosts that every call reaches, whatever its arguments say, as a person has declared them in the fleet's file."""
    own_files: bool = False
    """Whoever has the tool may touch these files with it, whatever `files` in TOOLS.md says (memory, commands)."""
    cost: Callable[[Arguments], int] = _free
    """Micro-dollars that the call may cost at most, beside what models cost."""
    outside_text: bool = False
    """What it returns was written by strangers: whoever reads it is tainted."""
    private: bool = False
    """What it returns may be private: files, memory, mail."""
    unread: bool = False
    """Strangers wrote its description, and no person has read it: whoever is shown it is tainted."""
    report: Report | None = None
    """For a tool whose effect depends on the call, or that not every agent may use for everything."""
    looks: bool = False
    """Its report reads files of any length: it is made before the transaction that judges the call, where that can be,
    for nobody else can write meanwhile."""


class StoreTool(Tool):
    """Acts in the transaction that also records its result: exactly once, whatever `effect` says for the gate.

    Where `act` raises, what it has written is undone. An intent without a result means that nothing happened.
    """

    act: Callable[[Tx, ToolContext, Arguments], ToolResult]


class OutsideTool(Tool):
    """Acts on files or on the world, between intent and result.

    `probe`, where there is one, tells afterwards whether a call with this context has happened; None: cannot tell.
    """

    act: Callable[[ToolContext, Arguments], Awaitable[ToolResult]]
    probe: Callable[[ToolContext, Arguments], Awaitable[bool | None]] | None = None
    timeout_s: float = 60.0


class TurnTool(Tool):
    """Acts on nothing but the turn that calls it. `act` is pure; the turn runner does what the tool is for."""

    act: Callable[[ToolContext, Arguments], ToolResult]


AnyTool = StoreTool | OutsideTool | TurnTool
"""Every way to act, consumed by `match`."""


def object_schema(required: str = "", /, **properties: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema of an object with these properties and no others; `required` names some, parted by spaces.

    A trailing underscore is dropped from a property's name, so that `from_` can be one.
    """
    named = {name.removesuffix("_"): schema for name, schema in properties.items()}
    schema: dict[str, Any] = {"type": "object", "properties": named, "additionalProperties": False}
    if required:
        schema["required"] = required.split()
    return schema


def text_schema(description: str = "", *, most: int | None = None, least: int = 0) -> dict[str, Any]:
    """A JSON Schema of a text of `least` to `most` characters."""
    schema: dict[str, Any] = {"type": "string"}
    if description:
        schema["description"] = description
    if least:
        schema["minLength"] = least
    if most is not None:
        schema["maxLength"] = most
    return schema
