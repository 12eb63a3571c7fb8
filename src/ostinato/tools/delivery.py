"""Performs deliveries: tasks that do one stored action, once.

There are four: a letter that an agent sent, which becomes a file of the outbox; a result that is saved (`saving`); a
command that tests a result (whoever runs it is lent); and an action of a shared session that a person has allowed,
which is performed exactly as it was allowed. The result of an action reaches its session as the completion of this
task. Knows nothing of agents' files: a context is made by whoever knows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ostinato.domain.errors import Exhausted, Invalid, NotFound, OstinatoError
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.file_rules import FileRules
from ostinato.domain.message import SAVE_TOOL
from ostinato.domain.policy import judge
from ostinato.domain.question import NewQuestion, Question, QuestionKind, QuestionState
from ostinato.domain.step import (
    REPEATABLE,
    WITHDRAWN,
    Answered,
    Decision,
    Effect,
    Entry,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.taint import touches
from ostinato.domain.task import Done, Fail, Outcome, Park, Retry, Task, TaskKind, TaskResult, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant, Trust, Value, digest_of
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.store.port import Claim, Reads, Tx
from ostinato.tools.mail import Letter, to_eml
from ostinato.tools.marking import mark_writes, settle_writes
from ostinato.tools.messages import OUTBOX_TOOL
from ostinato.tools.port import AnyTool, OutsideTool, StoreTool, ToolContext, ToolResult
from ostinato.tools.safe_files import SafeFolder, make_root
from ostinato.tools.saving import ContextMaker, save
from ostinato.tools.toolbox import Toolbox, perform, perform_in, report_of

REVIEW_TOOL = "review.command"
"""How journals call the command that tests a result; no agent has such a tool."""

HELD_AGAIN_S = 30.0
"""Seconds after which a letter looks again whether its author is still stopped."""

_OUTBOX_RULES = FileRules(read=(".",), write=(".",))


class Act(Value):
    """The intent is durable: the tool may act. `doubtful`: it may have acted before, and a probe can tell."""

    tool: OutsideTool
    context: ToolContext
    intent: ToolIntent
    doubtful: bool = False


class Deed(Value):
    """What a journal says about one stored action."""

    intent: ToolIntent | None = None
    outcome: ToolOutcome | None = None
    answer: Answered | None = None
    """A person's word about the last intent."""

    @property
    def is_outside(self) -> bool:
        """True where strangers wrote what it came to."""
        return self.intent is not None and self.intent.outside


Performer = Callable[[AttemptPort], Awaitable[Outcome | Ending]]
"""Performs an attempt, as a handler does."""


class DeliveryHandler:
    """The engine's handler for deliveries. `outbox` is the folder in which letters become files."""

    kind = TaskKind.DELIVERY

    def __init__(
        self, *, toolbox: Toolbox, contexts: ContextMaker, outbox: Path, reviews: Performer | None = None
    ) -> None:
        """`reviews` performs the commands that test results; None: nobody does."""
        self._reviews = reviews
        self.timeout_s = 300.0
        self._toolbox = toolbox
        self._contexts = contexts
        self._outbox = outbox

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing to do before the work itself."""

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """Does the one thing that the task is for."""
        wanted = attempt.task.spec.input
        if wanted.get("tool") == OUTBOX_TOOL and "question" not in wanted:
            return await self._deliver_letter(attempt)
        if wanted.get("tool") == SAVE_TOOL:
            return await save(attempt, self._contexts)
        if wanted.get("tool") == REVIEW_TOOL and self._reviews is not None:
            return await self._reviews(attempt)
        return await self._perform_action(attempt)

    # --- letters ---

    async def _deliver_letter(self, attempt: AttemptPort) -> Outcome | Ending:
        arguments = attempt.task.spec.input.get("arguments")
        try:
            letter = msgspec.convert(arguments, Letter)
        except msgspec.ValidationError as error:
            return Fail(error=f"This is no letter: {error}")
        held = await attempt.store.run(partial(self._intend_letter, attempt, letter))
        if held is not None:
            return held
        try:
            path = await asyncio.to_thread(write_letter, self._outbox, letter)
        except (Invalid, ValueError) as error:
            return Fail(error=str(error))
        except OstinatoError as error:
            return Retry(error=str(error), error_class="transient")
        text = f"written to {path.parent.name}/{path.name}"
        outcome = ToolOutcome(call_id=letter.id, tool=OUTBOX_TOOL, status=ResultStatus.OK, text=text)
        result = TaskResult(text=text, data={"delivery": letter.id, "file": path.name})
        return Ending(
            outcome=Done(result=result), entries=(outcome,), within=partial(_announce_letter, attempt, letter)
        )

    def _intend_letter(self, attempt: AttemptPort, letter: Letter, tx: Tx) -> Park | None:
        """The intent, unless somebody has stopped the letter's author."""
        tx.check_claim(attempt.claim)
        now = attempt.clock.now()
        author = f"agent:{letter.agent}"
        flag = next((each for each in tx.flags() if each.scope == author and each.name in ("halted", "paused")), None)
        if flag is not None:
            until_at = now + round(HELD_AGAIN_S * SECOND)
            return Park(wait=Wait(kind=WaitKind.TIME, until_at=until_at), reason=f"{letter.agent} is {flag.name}")
        if deed_of(entries_of(tx, attempt.task)).intent is None:
            intent = ToolIntent(
                call_id=letter.id,
                tool=OUTBOX_TOOL,
                effect=Effect.IDEMPOTENT,
                arguments={"to": letter.to, "subject": letter.subject},
                key=letter.id,
            )
            tx.record_steps(attempt.claim, (intent,), now=now)
        return None

    # --- allowed actions ---

    async def _perform_action(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        move = await attempt.store.run(partial(self._begin, attempt))
        if not isinstance(move, Act):
            return move
        if move.doubtful and move.tool.probe is not None:
            happened = await _probe(move)
            if happened is None:
                return await attempt.store.run(partial(_ask_unknown, attempt, move.intent))
            if happened:
                return _ending(attempt.task, move.intent, ToolResult(text="it had happened before the interruption"))
        result = await perform(move.tool, move.context, move.intent.arguments)
        if await attempt.store.read(
            partial(self._reads_taint, tool=move.tool, intent=move.intent, agent=move.context.agent)
        ):
            result = replace(result, outside=True)  # somebody has marked it while it was read
        return _ending(
            attempt.task, move.intent, result, within=partial(_settle_writes, attempt, move, wrote=result.wrote)
        )

    def _begin(self, attempt: AttemptPort, tx: Tx) -> Act | Settled:
        """Everything up to the effect, in one commit; effects on our own store included."""
        tx.check_claim(attempt.claim)
        task, claim, now = attempt.task, attempt.claim, attempt.clock.now()
        deed = deed_of(entries_of(tx, task))
        if deed.outcome is not None:
            return _settle(tx, claim, _done(task, deed.outcome, outside=deed.is_outside), now=now)
        try:
            approved = _approved(tx, task)
            tool, context, intent = self._prepare(tx, task, approved, now=now, repeated=deed.intent is not None)
        except OstinatoError as error:
            return _settle(tx, claim, Fail(error=str(error), error_class="refused"), now=now)
        if isinstance(context, str):
            outcome = ToolOutcome(call_id=intent.call_id, tool=intent.tool, status=ResultStatus.DENIED, text=context)
            tx.record_steps(claim, (outcome,), now=now)
            return _settle(tx, claim, _done(task, outcome, outside=False), now=now)
        if isinstance(tool, StoreTool):
            result = perform_in(tx, tool, context=context, arguments=intent.arguments)
            outcome = result.outcome(call_id=intent.call_id, tool=intent.tool)
            tx.record_steps(claim, (intent, outcome), now=now)
            return _settle(tx, claim, _done(task, outcome, outside=intent.outside), now=now)
        if not isinstance(tool, OutsideTool):
            return _settle(tx, claim, Fail(error=f"{tool.name} acts on a turn, and there is none"), now=now)
        if deed.intent is None:
            tx.record_steps(claim, (intent,), now=now)
            return Act(tool=tool, context=context, intent=intent)
        return _after_intent(tx, attempt, deed, act=Act(tool=tool, context=context, intent=intent))

    def _prepare(
        self, tx: Tx, task: Task, approved: Question, *, now: Instant, repeated: bool
    ) -> tuple[AnyTool, ToolContext | str, ToolIntent]:
        """The tool with its context, or in its place the words with which today's policy refuses.

        A person's leave covers gates; it does not cover what the policy denies by now.
        """
        action = approved.action
        assert action is not None
        tool = self._toolbox.get(action.tool)
        if tool is None:
            raise NotFound(f"{action.tool} is gone since {approved.name} was allowed")
        arguments = action.arguments if approved.arguments is None else approved.arguments
        problem = self._toolbox.check_arguments(tool, arguments)
        if problem:
            raise Invalid(f"{approved.name} was allowed with arguments that do not fit: {problem}")
        key = key_of(task, approved.name)
        intent = ToolIntent(call_id=approved.name, tool=tool.name, effect=tool.effect, arguments=arguments, key=key)
        context = replace(self._contexts(tx, task, intent=intent, now=now, repeated=repeated), session=approved.session)
        report = report_of(tool, arguments, context)
        bound = action.bound if approved.arguments is None else approved.edited_bound
        bound = report.bound if bound is None else bound
        outside = tool.outside_text or report.outside or self._reads_taint(tx, tool, intent, agent=context.agent)
        intent = replace(intent, effect=report.effect, bound=bound, outside=outside, private=tool.private)
        context = replace(context, bound=bound)
        verdict = judge(self._toolbox.facts(tool, arguments, context), context.policy)
        if verdict.decision is Decision.DENY:
            words = f"{approved.decided_by} allowed it, but by now {verdict.reason} [{verdict.rule}]"
            return tool, words, intent
        if outside or task.spec.trust is Trust.EXTERNAL:  # before it is written, as whatever a turn writes
            mark_writes(tx, tool, intent, task=task, now=now)
            context = replace(context, marking=True)
        return tool, context, intent

    def _reads_taint(self, tx: Reads, tool: AnyTool, intent: ToolIntent, *, agent: str) -> bool:
        tainted = tx.tainted_files(agent)
        return any(touches(path, tainted) for path in tool.reads(intent.arguments))


def key_of(task: Task, call_id: str) -> str:
    """The idempotency key of a call in a task's journal."""
    return digest_of(f"{task.id}/{task.journal}/{call_id}".encode())[:32]


def write_letter(outbox: Path, letter: Letter) -> Path:
    """Writes the letter's file, unless it is there: one letter, one file, however often this runs. Returns its path.

    Raises Invalid for what is no letter, Exhausted where the disk is full.
    """
    data = to_eml(letter)
    name = f"{letter.id}.eml"
    try:
        make_root(outbox)
    except OSError as error:
        raise Exhausted(f"The outbox cannot be made: {error.strerror}") from error
    with SafeFolder(outbox, _OUTBOX_RULES) as folder:
        try:
            folder.stat(name)
            folder.settle()  # whoever wrote it may have died before its name was safe
        except NotFound:
            folder.write(name, data, key=letter.id)
    return outbox / name


def entries_of(tx: Tx, task: Task) -> list[Entry]:
    """The journal of a task."""
    return [step.entry for step in tx.steps(task.id)]


def deed_of(journal: Sequence[Entry]) -> Deed:
    """The last intent and what followed it. An answer settles the doubt about one intent, not about the next."""
    deed = Deed()
    for entry in journal:
        match entry:
            case ToolIntent():
                deed = Deed(intent=entry)
            case ToolOutcome():
                deed = replace(deed, outcome=entry)
            case Answered() if entry.decision != WITHDRAWN:
                deed = replace(deed, answer=entry)
            case _:
                pass
    return deed


async def _probe(move: Act) -> bool | None:
    """What the tool says about an intent whose result was lost; a probe that fails cannot tell."""
    assert move.tool.probe is not None
    try:
        return await move.tool.probe(move.context, move.intent.arguments)
    except Exception:  # whatever goes wrong with the probe, a person can still be asked
        return None


def _approved(tx: Tx, task: Task) -> Question:
    """The question whose approval this task performs; raises Invalid unless a person allowed just this."""
    wanted = task.spec.input
    number = wanted.get("question")
    if not isinstance(number, int):
        raise Invalid(f"{task.name} names no approval", cure="Deliveries are made by the runtime alone.")
    question = tx.question(number)
    action = question.action
    allowed = question.state is QuestionState.ALLOWED and question.stored and action is not None
    if not allowed or action is None:
        raise Invalid(f"{question.name} does not allow an action: it is {question.state.value}")
    arguments = action.arguments if question.arguments is None else question.arguments
    if (wanted.get("tool"), wanted.get("arguments"), task.agent) != (action.tool, arguments, question.agent):
        raise Invalid(f"{task.name} is not what {question.name} allowed", cure="Nothing was done.")
    return question


def _after_intent(tx: Tx, attempt: AttemptPort, deed: Deed, *, act: Act) -> Act | Settled:
    """An earlier attempt may have acted: the effect decides, then a probe, then a person."""
    now = attempt.clock.now()
    if act.intent.effect in REPEATABLE:
        return act
    if deed.answer is None:
        return replace(act, doubtful=True) if act.tool.probe else _ask_unknown(attempt, act.intent, tx)
    if deed.answer.decision == "allow":  # a person says: it did not happen, do it again
        tx.record_steps(attempt.claim, (act.intent,), now=now)
        return act
    said = f": {deed.answer.text}" if deed.answer.text else ""
    outcome = ToolOutcome(
        call_id=act.intent.call_id,
        tool=act.intent.tool,
        status=ResultStatus.UNKNOWN,
        text=f"it may have happened; {deed.answer.by} settled it ({deed.answer.decision}{said})",
    )
    tx.record_steps(attempt.claim, (outcome,), now=now)
    return _settle(tx, attempt.claim, _done(attempt.task, outcome, outside=act.intent.outside), now=now)


def _ask_unknown(attempt: AttemptPort, intent: ToolIntent, tx: Tx) -> Settled:
    """Parks until a person says what is known; question and park share the commit."""
    tx.check_claim(attempt.claim)
    task, now = attempt.task, attempt.clock.now()
    agent = task.agent or "runtime"
    question = tx.ask(
        NewQuestion(
            kind=QuestionKind.UNKNOWN,
            text=f"Did {intent.tool} happen? The node died between intent and result. "
            "Allow: it did not, do it again. Deny or answer: what is known.",
            agent=agent,
            task=task.id,
            session=str(task.spec.input.get("session", "")),
            call_id=intent.call_id,
            reason=f"the outcome of an effect that is {intent.effect.value} is unknown",
        ),
        now=now,
    )
    wait = Wait(kind=WaitKind.UNKNOWN, refs=(question.name,))
    return _settle(tx, attempt.claim, Park(wait=wait, reason=f"waits for {question.name}"), now=now)


def _ending(
    task: Task, intent: ToolIntent, result: ToolResult, *, within: Callable[[Tx], None] | None = None
) -> Ending:
    outcome = result.outcome(call_id=intent.call_id, tool=intent.tool)
    return Ending(outcome=_done(task, outcome, outside=intent.outside), entries=(outcome,), within=within)


def _settle_writes(attempt: AttemptPort, move: Act, tx: Tx, *, wrote: tuple[str, ...] | None) -> None:
    settle_writes(tx, move.tool, move.intent, wrote=wrote, task=attempt.task, now=attempt.clock.now())


def _done(task: Task, outcome: ToolOutcome, *, outside: bool) -> Done:
    """The end of an allowed action, in the words that its session reads; what those are it has found out by now."""
    text = f"{task.title}: {outcome.status.value}: {outcome.text}".rstrip(": ")
    trust = Trust.EXTERNAL if outside or outcome.outside else task.spec.trust
    return Done(result=TaskResult(text=text, data=outcome.data, trust=trust, private=True))


def _settle(tx: Tx, claim: Claim, outcome: Outcome, *, now: Instant) -> Settled:
    return Settled(task=tx.finish(claim, outcome, now=now))


def _announce_letter(attempt: AttemptPort, letter: Letter, tx: Tx) -> None:
    data: Mapping[str, Any] = {"to": f"mail:{letter.to}", "delivery": letter.id, "file": f"{letter.id}.eml"}
    tx.announce(
        NewEvent(
            name=EventName.DELIVERY_SENT,
            task=attempt.task.id,
            agent=letter.agent,
            actor=letter.agent,
            reason=letter.subject,
            data=dict(data),
        ),
        now=attempt.clock.now(),
    )
