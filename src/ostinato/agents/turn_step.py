"""One transaction of a turn: follows the pure turn, and writes what it says, until the world is needed.

`advance` appends what was produced outside (a reply, results) and goes on until a model must be asked, a tool must act
outside, or the turn ends. So neighbours share a commit by construction, and a turn with one tool call costs four
commits. Store tools act here, effect and record in one commit; outside tools only get their intent. Nothing
here awaits; it knows nothing of HTTP or the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, assert_never

from ostinato.agents import call_guards, purse, recall, reviews
from ostinato.agents.model_choices import Pick, told_of, tried
from ostinato.agents.moves import Act, Advance, AskModel, Ended, Move, Planned
from ostinato.agents.turn_gate import TurnGate
from ostinato.agents.turn_state import TurnState
from ostinato.domain import budget, turn
from ostinato.domain.chat import ToolCall, estimate_tokens
from ostinato.domain.compaction import unwritten_summary
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.message import Message
from ostinato.domain.question import Action, NewQuestion, QuestionKind
from ostinato.domain.step import (
    Chosen,
    Decision,
    Entry,
    Input,
    Judged,
    LimitReached,
    ModelIntent,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
    is_private,
    is_tainted,
)
from ostinato.domain.task import Done, Fail, Outcome, Park, Retry, TaskResult, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant, Trust
from ostinato.engine.breakers import Refusal
from ostinato.models.chains import STRONGEST
from ostinato.store.port import Tx
from ostinato.tools.port import OutsideTool, StoreTool, TurnTool
from ostinato.tools.toolbox import perform_in
from ostinato.tools.turn import ASK_TOOL

INBOX_MAX = 20
"""Messages that a turn takes at most at one step boundary; the rest waits for the next."""


def advance(
    state: TurnState,
    tx: Tx,
    produced: Sequence[Entry] = (),
    *,
    now: Instant,
    within: Callable[[Tx], None] | None = None,
    failed: Retry | None = None,
) -> Advance:
    """Appends `produced`, goes on until the world is needed, and says what for. `within` shares the transaction.
    `failed` is how the attempt ends where the model that was asked could not be had, and there is no other.

    Raises Fenced where the claim is gone or its scope is halted, Unfit where the agent's files are broken; then nothing
    was done.
    """
    held = tx.check_claim(state.claim)
    if within is not None:
        within(tx)
    journal = state.journal
    if held.steps != len(journal):  # a person's remark, or an answer, came while the world was at work
        journal = [each.entry for each in tx.steps(state.task.id)]
    call_guards.learn(tx, state, produced, journal=journal, now=now)
    step = _TurnStep(state, tx, produced, journal=journal, now=now, failed=failed)
    reached = step.go()
    tx.record_steps(state.claim, step.entries, now=now)
    whole, move = (*journal, *step.entries), _moved(state, tx, reached, now=now)
    if isinstance(move, Ended):
        recall.keep(state, tx, move.task, journal=whole, now=now)
    return Advance(journal=whole, messages=tuple(step.messages), move=move, at=now, view=step.folded())


def _moved(state: TurnState, tx: Tx, reached: AskModel | Act | Outcome, *, now: Instant) -> Move:
    """What the world must do next, or the task as its attempt has left it."""
    if isinstance(reached, AskModel | Act):
        return reached
    return Ended(task=reviews.finish(tx, state.claim, reached, leash=state.leash, now=now))


class _TurnStep:
    """Goes from one answer of the world to the next thing that only the world can answer."""

    def __init__(
        self,
        state: TurnState,
        tx: Tx,
        produced: Sequence[Entry],
        *,
        journal: Sequence[Entry],
        now: Instant,
        failed: Retry | None,
    ) -> None:
        self._state = state
        self._journal = journal
        self._tx = tx
        self._now = now
        self._failed = failed
        self._gate = TurnGate(state, tx, now=now)
        self.entries: list[Entry] = self._gate.received(produced, journal)
        self._view = state.taken_view(journal)
        self._before = len(journal)
        self._waits: list[Wait] = []
        """What calls wait for that have no result yet."""
        self.messages: list[Message] = []

    def go(self) -> AskModel | Act | Outcome:
        """What the world must do next, or how the attempt ends."""
        state, worked_s = self._state, self._view.worked_ms / 1_000
        can_escalate = state.choices.can_escalate(state.model.name)
        while True:
            action = turn.next_of(self.folded(), state.limits, worked_s=worked_s, can_escalate=can_escalate)
            match action:
                case turn.CallModel():
                    reached = self._call_model(action)
                    if reached is not None:
                        return reached
                case turn.RunTools():
                    before, self._waits = len(self.entries), []
                    planned = [act for each in action.calls if (act := self._advance_call(each)) is not None]
                    if planned:
                        return Act(planned=tuple(planned))
                    if len(self.entries) == before:  # all that is left waits for the same things as a moment ago
                        return _park_for(self._waits)
                case turn.AskUnknown():
                    parked = self._ask_unknown(action)
                    if parked is not None:
                        return parked
                case turn.AskLimit():
                    ended = self._ask_limit(action)
                    if ended is not None:
                        return ended
                case turn.Park():
                    return _park(action.questions, kind=WaitKind.QUESTION)
                case turn.Finish():
                    return self._ended(action)
                case _:
                    assert_never(action)

    def folded(self) -> turn.TurnView:
        """The journal with all that was appended by now."""
        view = self._view
        for each in self.entries[view.folded - self._before :]:
            view.add(each)
        return view

    def _call_model(self, action: turn.CallModel) -> AskModel | Outcome | None:
        """Whom to ask; an outcome where nobody can be asked now, None once an intent is written."""
        state, asked = self._state, self._view.asked
        if not action.resumed:
            pick = self._pick_next(asked, escalated=action.escalated)
            return self._intend_model(action.call, pick)
        assert asked is not None, "a call that is resumed has its intent"
        if isinstance(self.entries[-1] if self.entries else None, ModelIntent):
            return AskModel(call=action.call)
        why = told_of(asked.model, self._failed.error) if self._failed is not None else ""
        if not why and not state.choices.is_known(asked.model):
            why = "it is gone from the fleet's file"
        if not why and state.choices.is_admitted(self._tx, asked.model, task=state.task, now=self._now):
            return AskModel(call=action.call)
        wanted, effort = asked.wanted or None, asked.effort
        if wanted is not None and not state.choices.is_known(wanted):  # gone as well: what the files name by now
            wanted = state.choices.wish(self._tx, state.task, state.names_model, now=self._now).wanted
        pick = Pick(model=asked.model, wanted=wanted, chosen=Chosen.FALLBACK, why=why, effort=effort)
        return self._intend_model(action.call, pick, instead_of=asked)

    def _pick_next(self, asked: ModelIntent | None, *, escalated: bool) -> Pick:
        """The model that a turn keeps, the one that it begins with, or the stronger one that takes over."""
        state = self._state
        if escalated and asked is not None:
            why = f"the replies of {asked.model} stayed malformed"
            strongest = state.choices.model(STRONGEST).name
            return Pick(model=strongest, wanted=STRONGEST, chosen=Chosen.ESCALATION, why=why, effort=asked.effort)
        if asked is not None and state.choices.is_known(asked.model):
            return Pick(model=asked.model, wanted=asked.wanted or None, effort=asked.effort)
        wish = state.choices.wish(self._tx, state.task, state.names_model, now=self._now)
        name = state.choices.model(wish.wanted).name
        return Pick(model=name, wanted=wish.wanted, chosen=wish.chosen, why=wish.why, effort=wish.effort)

    def _intend_model(self, call: int, pick: Pick, *, instead_of: ModelIntent | None = None) -> Outcome | None:
        """Takes what is new in the inbox, reserves money and writes the intent; an outcome where no money is left, or
        no model can be had."""
        state = self._state
        without = tried((*self._journal, *self.entries)) if instead_of is not None and pick.why else ()
        found = state.choices.first(self._tx, pick, task=state.task, now=self._now, without=without)
        if isinstance(found, Refusal):
            return self._failed or _wait_for_a_model(found, now=self._now)
        model = state.choices.model(found.model)
        self._take_inbox(first=not any(isinstance(each, Input) and each.agent_version for each in self._journal))
        estimated = state.leash.prompt_tokens + state.past_tokens + self._turn_tokens()
        tokens = state.leash.gauge.tokens(self._tx, model.name, estimated)
        amount = prompt = 0
        if model.price is not None:
            amount = budget.reservation(model.price, prompt_tokens=tokens, output_tokens_max=model.output_tokens_max)
            prompt = budget.cost(model.price, input_tokens=tokens, cached_tokens=0, output_tokens=0)
        most = tokens + model.output_tokens_max
        over = turn.beyond_a_call(self.folded(), state.limits, usd_micros=amount, tokens=most)
        if over is not None:
            return self._ask_limit(over)
        broke = purse.reserve(state, self._tx, usd_micros=amount, tokens=most, now=self._now)
        if broke is not None:
            return broke
        if instead_of is not None:  # whose call is over, and cost nothing more than its attempts
            purse.settle(state, self._tx, instead_of, now=self._now)
        if call > 1 and instead_of is None:
            self._warn_of_limits()
        intent = ModelIntent(
            call=call,
            model=model.name,
            reserved_usd_micros=amount,
            reserved_tokens=most,
            prompt_tokens=tokens,
            prompt_usd_micros=prompt,
            wanted=found.wanted or "",
            chosen=found.chosen,
            why=found.why,
            effort=found.effort,
        )
        self.entries.append(intent)
        return None

    def _warn_of_limits(self) -> None:
        """Tells once, behind the reply that did it, that a turn has nearly used up one of its limits; of few steps that
        are left the model hears, too."""
        for action in turn.nearly_reached(self.folded(), self._state.limits):
            if action.limit == "steps":
                self.entries.append(turn.few_steps_left(action))
            self._tx.announce(
                NewEvent(
                    name=EventName.BUDGET_WARNED,
                    task=self._state.task.id,
                    agent=self._state.leash.then.id,
                    session=self._state.session,
                    reason=f"{self._state.task.name} {turn.limit_words(action)}",
                    data={"scope": f"turn:{self._state.task.id}", "unit": action.limit},
                ),
                now=self._now,
            )

    def _take_inbox(self, *, first: bool) -> None:
        state = self._state
        new = self._tx.inbox(state.session, limit=INBOX_MAX) if state.session else []
        if not new and not first:
            return
        if new:
            self._tx.advance_cursor(state.session, new[-1].id, now=self._now)
            self.messages.extend(new)
        files = dict(state.leash.keep_files(self._tx, now=self._now)) if first else {}
        version = state.leash.then.version if first else ""
        self.entries.append(Input(messages=tuple(each.id for each in new), files=files, agent_version=version))

    def _turn_tokens(self) -> int:
        """Estimated tokens of this turn so far."""
        state = self._state
        tokens = estimate_tokens(state.task.spec.goal)
        tokens += sum(estimate_tokens(each.text) for each in (*state.messages.values(), *self.messages))
        return tokens + self.folded().extent.said

    def _advance_call(self, pending: turn.PendingCall) -> Planned | None:
        """Takes one call one stage further; the plan where it must act outside."""
        match pending.stage:
            case turn.Stage.JUDGE:
                self.entries += self._gate.judge(pending.call)
            case turn.Stage.REFUSE:
                self._refuse(pending)
            case turn.Stage.PERFORM:
                return self._perform(pending)
            case turn.Stage.REPEAT:
                return self._repeat(pending)
            case _:
                assert_never(pending.stage)
        return None

    def _perform(self, pending: turn.PendingCall) -> Planned | None:
        """Acts where the effect is on our own store; else writes the intent."""
        call, state = pending.call, self._state
        if pending.answer is not None:
            why = self._gate.refusal(call, pending.arguments, pending.answer)
            if why:
                self._settle(call, ResultStatus.DENIED, why)
                return None
        tool = state.leash.tool_or_none(call.name)
        if tool is None:
            self._settle(call, ResultStatus.INVALID, f"{call.name} is gone since it was allowed")
            return None
        why = call_guards.refusal(self._tx, state, call, tool=tool, arguments=pending.arguments or {}, now=self._now)
        if why:
            self._settle(call, ResultStatus.ERROR, why)
            return None
        edited = pending.answer is not None and pending.answer.arguments is not None
        bound = pending.answer.bound if edited and pending.answer is not None else self._bound_before(call)
        intent = self._gate.intent(call, tool, pending.arguments, bound=bound)
        self.entries.append(intent)
        match tool:
            case OutsideTool():
                return Planned(call=call, intent=intent, at=self._now)
            case StoreTool():
                self._act_in_store(tool, intent)
                return None
            case TurnTool():
                result = tool.act(state.context(intent, now=self._now), intent.arguments)
            case _:
                assert_never(tool)
        self.entries.append(result.outcome(call_id=call.id, tool=call.name))
        return None

    def _act_in_store(self, tool: StoreTool, intent: ToolIntent) -> None:
        """Effect and result in this commit; no result where the call waits for something, and may."""
        context = self._state.context(intent, now=self._now)
        result = perform_in(self._tx, tool, context=context, arguments=intent.arguments)
        if result.wait is not None and self._state.own:
            self._waits.append(result.wait)
            return
        self.entries.append(result.outcome(call_id=intent.call_id, tool=intent.tool))

    def _bound_before(self, call: ToolCall) -> dict[str, Any] | None:
        for entry in reversed((*self._journal, *self.entries)):
            if isinstance(entry, ToolIntent) and entry.call_id == call.id:
                return entry.bound
            if isinstance(entry, Judged) and entry.call_id == call.id and entry.decision is Decision.ASK:
                return entry.bound
        return None

    def _repeat(self, pending: turn.PendingCall) -> Planned | None:
        """The same intent once more, with the same key."""
        call = pending.call
        tool = self._state.leash.tool_or_none(call.name)
        if isinstance(tool, StoreTool):  # it has waited for something
            self._act_in_store(tool, self._gate.intent(call, tool, pending.arguments, bound=self._bound_before(call)))
            return None
        if not isinstance(tool, OutsideTool):
            self._settle(call, ResultStatus.ERROR, f"{call.name} cannot be repeated: it is gone since")
            return None
        intent = self._gate.intent(call, tool, pending.arguments, bound=self._bound_before(call))
        return Planned(call=call, intent=intent, at=self._intended_at(call), repeated=True)

    def _intended_at(self, call: ToolCall) -> Instant:
        steps = self._tx.steps(self._state.task.id)
        times = [each.at for each in steps if isinstance(each.entry, ToolIntent) and each.entry.call_id == call.id]
        return times[0] if times else self._now

    def _refuse(self, pending: turn.PendingCall) -> None:
        """The result of a call that a person settled without letting it act."""
        answer, call = pending.answer, pending.call
        if call.name == ASK_TOOL and answer is not None and answer.decision == "answered":
            self._settle(call, ResultStatus.OK, f"{answer.by} answers: {answer.text}")
        elif call.id in self._intents():
            self._settle(call, ResultStatus.UNKNOWN, f"settled by a person: {pending.refusal}")
        else:
            self._settle(call, ResultStatus.DENIED, pending.refusal)

    def _intents(self) -> set[str]:
        return {each.call_id for each in (*self._journal, *self.entries) if isinstance(each, ToolIntent)}

    def _ask_unknown(self, action: turn.AskUnknown) -> Act | Outcome | None:
        """An effect that may have happened: a probe or a person settles it, or a shared session's model is told."""
        state, call = self._state, action.call
        tool = state.leash.tool_or_none(call.name)
        if isinstance(tool, OutsideTool) and tool.probe is not None and call.id not in state.probed:
            return Act(planned=(Planned(call=call, intent=action.intent, at=self._now, doubtful=True),))
        if not state.own:
            words = "it may have happened: the node died between the intent and the result. It was not repeated"
            self._settle(call, ResultStatus.UNKNOWN, words)
            return None
        question = self._gate.ask(
            NewQuestion(
                kind=QuestionKind.UNKNOWN,
                text=f"Did {call.name} happen? The node died between intent and result. "
                "Allow: it did not, do it again. Deny or answer: what is known.",
                agent=state.leash.then.id,
                task=state.task.id,
                session=state.session,
                call_id=call.id,
                action=Action(tool=call.name, arguments=action.intent.arguments, agent=state.leash.then.id),
                reason=f"the outcome of an effect that is {action.intent.effect.value} is unknown",
            )
        )
        self.entries.append(  # so that nobody is asked twice about one doubt
            Judged(
                call_id=call.id, tool=call.name, decision=Decision.ASK, reason="outcome unknown", question=question.id
            )
        )
        return _park((question.id,), kind=WaitKind.UNKNOWN)

    def _ask_limit(self, action: turn.AskLimit) -> Outcome | None:
        """A limit parks with what is there; in a shared session the turn ends and the question stays open."""
        state = self._state
        words = f"{state.task.name} {turn.limit_words(action)}"
        question = self._gate.ask(
            NewQuestion(
                kind=QuestionKind.BUDGET,
                text=f"{words}. May it go on?",
                agent=state.leash.then.id,
                task=state.task.id,
                session=state.session,
                reason=f"limit of {action.limit}",
                rule=f"limits.{action.limit}",
                stored=not state.own,
            )
        )
        reached = LimitReached(limit=action.limit, value=action.value, used=action.used, question=question.id)
        self.entries.append(reached)
        purse.announce_limit(state, self._tx, action.limit, words=words, now=self._now)
        if state.own:
            return None
        text = f"Stopped at a limit: {words}. {question.name} asks whether to go on."
        return self._done(TaskResult(text=text, trust=self._trust(), private=self._is_private()))

    def _ended(self, action: turn.Finish) -> Outcome:
        if action.failed:
            return Fail(error=action.failed, error_class=action.failed_as)
        trust, private = self._trust(), self._is_private()
        return self._done(TaskResult(text=action.text, data=action.data, trust=trust, private=private))

    def _done(self, result: TaskResult) -> Done:
        """The call that a limit has stopped, or a summary that was begun before a crash and is not needed any more, has
        money set aside."""
        summary = unwritten_summary((*self._journal, *self.entries))
        return Done(result=result, holds=self.folded().open_intent is not None or summary is not None)

    def _trust(self) -> Trust:
        """Of what the turn comes to: external where strangers wrote what it has read, also just now."""
        return Trust.EXTERNAL if is_tainted(self.entries) else self._state.trust

    def _is_private(self) -> bool:
        return self._state.private or is_private(self.entries)

    def _settle(self, call: ToolCall, status: ResultStatus, text: str) -> None:
        self.entries.append(ToolOutcome(call_id=call.id, tool=call.name, status=status, text=text))


def _park(questions: Sequence[int], *, kind: WaitKind) -> Park:
    names = tuple(f"Q{each}" for each in questions)
    return Park(wait=Wait(kind=kind, refs=names), reason=f"waits for {', '.join(names)}")


def _park_for(waits: Sequence[Wait]) -> Park:
    """Any of them wakes the turn, which looks again."""
    refs = tuple(dict.fromkeys(ref for each in waits for ref in each.refs))
    ends = [each.until_at for each in waits if each.until_at is not None]
    wait = Wait(kind=waits[0].kind, refs=refs, until_at=min(ends, default=None))
    return Park(wait=wait, reason=f"waits for {', '.join(refs)}")


def _wait_for_a_model(refusal: Refusal, *, now: Instant) -> Park:
    until_at = max(refusal.until_at, now + SECOND)
    wait = Wait(kind=WaitKind.TIME, refs=refusal.breakers, until_at=until_at)
    return Park(wait=wait, reason=f"no model can be had: {refusal.reason}")
