"""A function of the fleet's own in the place of a turn's model: what it asks for are the calls of a reply, and what
they come to stands in the task's journal, as in every turn.

The function begins anew in each attempt; whatever the journal knows already it is told at once, in the order in which
it asked. Knows nothing of how a turn goes on, nor of processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ostinato.domain.budget import Price
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest, StopReason, ToolCall
from ostinato.domain.errors import OstinatoError
from ostinato.domain.policy import Policy, reaches
from ostinato.domain.secret import KNOWN
from ostinato.domain.step import REPEATABLE, Effect, Entry, Input, ModelAnswer, ResultStatus, Reviewed, ToolOutcome
from ostinato.domain.task import Fail, Outcome, Park, Retry, Wait, WaitKind
from ostinato.domain.turn import FINISH_TOOL
from ostinato.domain.values import SECOND, Value, to_json
from ostinato.engine.port import AttemptPort
from ostinato.store.port import Reads
from ostinato.tools.port import (
    RESULT_BYTES_MAX,
    Arguments,
    CallReport,
    OutsideTool,
    ToolContext,
    ToolResult,
    failed,
    object_schema,
    text_schema,
)
from ostinato.tools.python.family import AgentFunction

ONCE = "once"
"""The tool that a function's own steps are in its journal."""

STEP_S_MAX = 3_600.0
"""The longest that a function may work between two steps."""
LOOK_AGAIN_S = 30.0
"""How long a task waits for a file that cannot be loaded."""

Said = dict[str, Any]


class Line(Protocol):
    """A worker that a function runs in."""

    async def send(self, message: Said) -> None:
        """Raises an OstinatoError where the worker is lost."""

    async def hear(self) -> Said:
        """What the function says next; raises as `send` does."""

    async def end(self, *, fit: bool) -> None:
        """`fit`: the function has ended by itself, and another may be run there."""


class Functions(Protocol):
    """The functions that agents have."""

    def function(self, name: str) -> AgentFunction:
        """Raises NotFound, with what is wrong with its file."""

    async def hire(self, function: AgentFunction, *, agent: str) -> Line:
        """Raises an OstinatoError or OSError where no worker can be had."""


class Reach(Value):
    """What an agent's files let its function have beside what it asks the gate for."""

    secrets: tuple[str, ...]
    policy: Policy

    def refusal(self, function: AgentFunction) -> str:
        """Why a function cannot have what it wants; empty where it can."""
        missing = [each for each in function.given.secrets if each not in self.secrets]
        if missing:
            return f"{function.name} needs the secret {missing[0]}, which TOOLS.md does not declare (secrets)"
        closed = [each for each in function.given.network if not reaches(each, self.policy)]
        if closed:
            return f"{function.name} reaches {closed[0]}, which TOOLS.md does not declare (network)"
        return ""


class Stopped(BaseException):
    """The attempt ends here; not an error, and nothing that a tool's result could be."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class FunctionModel:
    """One function in one attempt: the only model that its turn knows."""

    name = provider = model = "python"
    host = ""
    context_tokens = 1_000_000_000
    output_tokens_max = 0
    price: Price | None = Price(input_usd_micros=0, cached_usd_micros=0, output_usd_micros=0)

    def __init__(self, function: str, *, attempt: AttemptPort, functions: Functions, leash: Reach) -> None:
        """`leash`: what the agent's files let its function have."""
        self._wanted = function
        self._attempt = attempt
        self._functions = functions
        self._leash = leash
        self._function: AgentFunction | None = None
        self._first = _looked_up(functions, function)
        self._line: Line | None = None
        self._said: Said = {}
        """What the function has said last, and waits for."""
        self._place = 0
        """So many of its steps it has been told the results of."""

    @property
    def version(self) -> str | None:
        """What its result depends on; None where nobody can tell: it reaches a network, cannot be had, has changed
        meanwhile, or went on from a journal that another may have begun."""
        first, runs = self._first, self._function
        if first is None or first.given.network or self._attempt.task.steps:
            return None
        if runs is not None and runs.sources.digest != first.sources.digest:
            return None
        return f"{self.name} {self._wanted} {first.sources.digest}"

    @property
    def tool(self) -> OutsideTool:
        """What performs the function's own steps."""
        return OutsideTool(
            name=ONCE,
            description="A step of the agent's function.",
            parameters=object_schema(
                "key effect timeout_s",
                key=text_schema(least=1, most=200),
                effect={"enum": [each.value for each in Effect]},
                timeout_s={"type": "number"},
            ),
            always_allowed=True,  # a person has written the function; what it calls is judged
            report=lambda context, arguments: CallReport(effect=Effect(arguments["effect"])),
            act=self._once,
            timeout_s=2 * STEP_S_MAX,
        )

    # --- as a model ---

    def resolve(self, wanted: str | None) -> FunctionModel:
        """Itself, whatever is wanted."""
        return self

    def strongest(self) -> str | None:
        """Nobody takes over."""
        return None

    def chain(self, wanted: str | None) -> tuple[str, ...]:
        """Nobody else can be asked."""
        return (self.name,)

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_attempt: Callable[[HttpAttempt], None],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """The next thing that the function wants, or its result. Raises Stopped where it has failed."""
        said = await self._reach()
        if "end" not in said:
            name, arguments = _wish(said)
        elif any(each in said for each in ("refused", "failed", "raised")):
            raise Stopped(_end_of(said, self._wanted))
        else:
            name, arguments = FINISH_TOOL, {"result": said["end"], **({"data": d} if (d := said.get("data")) else {})}
        call = ToolCall(id=f"{request.call}.0", name=name, arguments=arguments)
        outside = self._function is not None and bool(self._function.given.network)
        text = str(said.get("logged", ""))
        return ModelReply(text=text, calls=(call,), stop=StopReason.TOOLS, model=self._wanted, outside=outside)

    async def close(self) -> None:
        """Ends the worker."""
        line, self._line = self._line, None
        if line is not None:
            await asyncio.shield(line.end(fit="end" in self._said))

    # --- its steps ---

    async def _once(self, context: ToolContext, arguments: Arguments) -> ToolResult:
        """Lets the function do a step of its own, behind the intent."""
        await self._reach()
        assert self._line is not None
        go = {"key": context.key, "agent": context.agent, "task": context.task, "repeated": context.repeated}
        said: Said = {}
        try:
            async with asyncio.timeout(min(max(arguments["timeout_s"], 0.1), STEP_S_MAX)):
                await self._line.send({"go": go})
                said = await self._line.hear()
            problem = f"{said['raised']} ({self._place_of(said)})" if "raised" in said else ""
        except TimeoutError:
            problem = f"no result within {arguments['timeout_s']:g} s"
        except OstinatoError as error:
            problem = f"its worker was lost: {error}"
        if not said:
            await self.close()
        if "refused" in said:
            return ToolResult(status=ResultStatus.ERROR, text=said["refused"], data={"refused": True})
        if not problem and len(to_json(said.get("did"))) > RESULT_BYTES_MAX:
            return failed(f"it was done, but its result has more than {RESULT_BYTES_MAX} bytes; return less")
        if not problem:
            return ToolResult(text=to_json(said.get("did")).decode(), data={"value": said.get("did")})
        words = f"The step {arguments['key']!r} broke off: {problem}"
        if Effect(arguments["effect"]) in REPEATABLE:
            raise Stopped(Retry(error=words, error_class="transient"))
        return ToolResult(status=ResultStatus.UNKNOWN, text=f"{words}. It may have happened")

    async def _reach(self) -> Said:
        """Runs the function as far as the journal goes; what it says where that ends. Raises Stopped."""
        journal = await self._attempt.store.read(lambda reads: _entries(reads, self._attempt.task.id))
        steps = _steps(journal)
        try:
            if self._line is None:
                await self._begin(journal)
            while self._place < len(steps):
                call, outcome = steps[self._place]
                if not _is_same(self._said, call):
                    raise Stopped(_reordered(self._said, call, place=self._place + 1, function=self._wanted))
                if outcome is None:
                    break
                self._place += 1
                await self._tell(_answer(outcome))
        except OstinatoError as error:
            await self.close()
            words = f"The worker of {self._wanted} was lost: {error}"
            raise Stopped(Retry(error=words, error_class="transient")) from None
        return self._said

    async def _begin(self, journal: Sequence[Entry]) -> None:
        task = self._attempt.task
        try:
            function = self._function = self._functions.function(self._wanted)
            words = self._leash.refusal(function)
            if words:
                raise Stopped(Fail(error=words, error_class="refused"))
            self._line = await self._functions.hire(function, agent=task.agent or "")
        except (OstinatoError, OSError) as error:
            until_at = self._attempt.clock.now() + round(LOOK_AGAIN_S * SECOND)
            wait = Wait(kind=WaitKind.TIME, until_at=until_at)
            raise Stopped(Park(wait=wait, reason=f"its function cannot be had: {error}")) from None
        self._place = 0
        ids = [each for entry in journal if isinstance(entry, Input) for each in entry.messages]
        found = await self._attempt.store.read(lambda reads: reads.messages_by_id(ids)) if ids else {}
        messages = [
            {"text": each.text, "source": each.source.value, "trust": each.trust.value} for each in found.values()
        ]
        goal = "\n\n".join(part for part in (task.spec.goal, *(each["text"] for each in messages)) if part.strip())
        messages += [
            {"text": each.notes, "source": "review", "trust": each.trust.value}
            for each in journal
            if isinstance(each, Reviewed) and not each.accepted
        ]
        facts = {"goal": goal or task.title, "input": task.spec.input, "messages": messages}
        await self._tell({"run": self._wanted, "facts": {**facts, "agent": task.agent or "", "task": task.id}})

    async def _tell(self, message: Said) -> None:
        """Says something to the function, and keeps what it says then."""
        assert self._line is not None
        assert self._function is not None
        try:
            async with asyncio.timeout(self._function.timeout_s):
                await self._line.send(message)
                self._said = await self._line.hear()
        except TimeoutError:
            self._said = {}
            await self.close()
            words = f"{self._wanted} asked for nothing within {self._function.timeout_s:g} s (timeout_s)"
            raise Stopped(Retry(error=words, error_class="transient")) from None

    def _place_of(self, said: Said) -> str:
        return f"tools/{self._wanted.partition('.')[0]}.py:{said.get('line')}"


def _looked_up(functions: Functions, name: str) -> AgentFunction | None:
    try:
        return functions.function(name)
    except OstinatoError:  # whoever runs it says so
        return None


def _entries(reads: Reads, task: int) -> list[Entry]:
    return [step.entry for step in reads.steps(task)]


def _steps(journal: Sequence[Entry]) -> list[tuple[ToolCall, ToolOutcome | None]]:
    """What the function has asked for, in order, with what came of it."""
    outcomes = {each.call_id: each for each in journal if isinstance(each, ToolOutcome)}
    calls = [call for each in journal if isinstance(each, ModelAnswer) for call in each.calls]
    return [(each, outcomes.get(each.id)) for each in calls if each.name != FINISH_TOOL]


def _wish(said: Said) -> tuple[str, Arguments]:
    """Tool and arguments of what a function asks for."""
    if "once" in said:
        return ONCE, {"key": said["once"], "effect": said["effect"], "timeout_s": said["timeout_s"]}
    return str(said["call"]), said["arguments"]


def _is_same(said: Said, call: ToolCall) -> bool:
    """True where the function asks for what it has asked for there before."""
    if "end" in said:
        return False
    name, arguments = _wish(said)
    if name != call.name:
        return False
    asked = call.arguments or {}
    return bool(arguments["key"] == asked.get("key") if name == ONCE else KNOWN.value(arguments) == asked)


def _answer(outcome: ToolOutcome) -> Said:
    """What a function is told of a step."""
    data = outcome.data or {}
    if outcome.status is not ResultStatus.OK:
        if data.get("refused") and outcome.tool == ONCE:
            return {"refused": outcome.text}
        return {"failed": outcome.status.value, "text": outcome.text}
    return {"ok": data.get("value") if outcome.tool == ONCE else outcome.text}


def _reordered(said: Said, call: ToolCall, *, place: int, function: str) -> Outcome:
    """The function takes another way than the one that its journal has taken."""
    if "end" in said:
        now = "ends"
    else:
        name, arguments = _wish(said)
        now = f"asks for {_named(name, arguments)}"
    before = _named(call.name, call.arguments or {})
    words = (
        f"{function} now {now} where it asked for {before} before (step {place}): the order of its steps has changed, "
        "so that its journal cannot be followed. Nothing was done. Keep the order that a task began with, or begin it "
        "anew: ostinato tasks retry --fresh"
    )
    return Fail(error=words, error_class="order")


def _named(name: str, arguments: Arguments) -> str:
    return f"once({arguments.get('key')!r})" if name == ONCE else f"{name}({to_json(arguments).decode()[:200]})"


def _end_of(said: Said, function: str) -> Outcome:
    """How a run ends that has no result."""
    if "refused" in said:
        return Fail(error=f"{function} refuses: {said['refused']}", error_class="refused")
    if "failed" in said:
        return Fail(error=f"{function}: {said['text']}", error_class=said["failed"])
    where = f"tools/{function.partition('.')[0]}.py:{said.get('line')}"
    return Retry(error=f"{function} raised {said['raised']} ({where})", error_class="transient")
