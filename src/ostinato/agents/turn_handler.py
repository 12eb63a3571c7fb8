"""Performs goals and turns: asks models and lets tools act, and hands each answer of the world to `turn_step.advance`.

The only room of a turn that awaits. Knows nothing of what a journal means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from ostinato.agents import call_guards, compactor, purse, recall
from ostinato.agents.leash import LeashMaker
from ostinato.agents.live import LiveText
from ostinato.agents.model_choices import TRANSIENT, ModelChoices, is_down
from ostinato.agents.moves import Act, Advance, AskModel, Ended, Planned
from ostinato.agents.prompt import PastTurn, chat_parts, tokens_of
from ostinato.agents.turn_gate import TurnGate
from ostinato.agents.turn_state import TurnState
from ostinato.agents.turn_step import advance
from ostinato.agents.unfit import Unfit, hold
from ostinato.domain import budget
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest, StopReason, ToolCall
from ostinato.domain.compaction import unwritten_summary
from ostinato.domain.errors import Fenced
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.ledger import Charge, held_by
from ostinato.domain.message import OWN_KINDS, Message, kind_of
from ostinato.domain.secret import KNOWN
from ostinato.domain.step import Compacted, Entry, Input, ModelAnswer, ModelIntent, ToolOutcome
from ostinato.domain.task import Fail, Outcome, Requeue, Retry, Task, TaskKind
from ostinato.domain.values import Instant, Trust, Value, digest_of
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.models.failures import RATE_LIMITED
from ostinato.models.port import Model, ModelFailed, Models
from ostinato.store.port import Claim, Reads, Tx
from ostinato.tools.port import AnyTool, OutsideTool, ToolContext, ToolResult, failed
from ostinato.tools.toolbox import perform

PAST_TURNS_MAX = 40
"""Earlier turns of a shared session that are read for its history."""

RESUMED_STEPS_MAX = 200
"""Of a turn that goes on in the commit of its claim: some milliseconds of the writer's time, at most."""

LATE_CHARS_MAX = 2_000
"""Of a result that came too late, its begin is kept; its digest says which one it was."""


class Past(Value):
    """A session's earlier turns, oldest first, with their messages by id."""

    turns: tuple[PastTurn, ...] = ()
    messages: dict[int, Message] = {}
    bound: int = 0
    """At least so many tokens as a prompt shows of them."""


class TurnHandler:
    """The engine's handler for goals (own sessions) and turns (any session)."""

    def __init__(
        self,
        kind: TaskKind,
        *,
        leashes: LeashMaker,
        models: Models,
        live: LiveText,
        choices: ModelChoices | None = None,
    ) -> None:
        self.kind = kind
        self.timeout_s = 3_600.0
        self._leashes = leashes
        self._choices = choices or ModelChoices(models)
        self._live = live
        self._opened: dict[tuple[int, int], tuple[TurnState, Advance] | Settled] = {}

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Takes the first steps of a new turn in the claim's own commit: its inbox, its files, its first intent; the
        next ones of a turn that goes on, where little has to be read for that."""
        self._opened.pop((task.id, task.token), None)  # of a claim that was undone, and has this token once more
        if task.steps > RESUMED_STEPS_MAX or (task.steps and kind_of(task.session or "") not in OWN_KINDS):
            return  # it reads its journal, and its session's, in a commit of its own
        try:
            self._opened[task.id, task.token] = self._resume(tx, task, now=now)
        except Unfit as unfit:
            self._opened[task.id, task.token] = _held(tx, task, unfit, now=now)

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """Goes on until the turn ends, parks or must be tried again."""
        task = attempt.task
        opened = self._opened.pop((task.id, task.token), None)
        if opened is None:
            try:
                opened = await attempt.store.run(lambda tx: self._resume(tx, task, now=attempt.clock.now()))
            except Unfit as broken:
                unfit = broken
                return await attempt.store.run(lambda tx: _held(tx, task, unfit, now=attempt.clock.now()))
        if isinstance(opened, Settled):
            return opened
        state, done = opened
        state.took_place(done)
        run = _Run(state, attempt, live=self._live)
        return await run.until_ended(done)

    def _resume(self, tx: Tx, task: Task, *, now: Instant) -> tuple[TurnState, Advance] | Settled:
        steps = tx.steps(task.id) if task.steps else ()
        state = self._state(tx, task, journal=[step.entry for step in steps])
        held = held_by(steps)
        state.call_held_at, state.summary_held_at = held.call_at or None, held.summary_at or None
        if task.steps and state.has_past:  # calls may be judged before the model is asked again
            past = read_past(tx, state)
            state.learn_past(
                (turn.task for turn in past.turns), past.messages.values(), (e for t in past.turns for e in t.entries)
            )
        if not task.steps and (answered := recall.answer(state, tx, now=now)) is not None:
            return Settled(task=answered)
        return state, advance(state, tx, now=now)

    def _state(self, tx: Tx, task: Task, *, journal: Sequence[Entry]) -> TurnState:
        leash = self._leashes.leash(tx, task, journal=journal)
        state = TurnState(task, leash=leash, choices=self._choices, journal=journal)
        state.load(tx)
        return state


class _Run:
    """One attempt in the outside world."""

    def __init__(self, state: TurnState, attempt: AttemptPort, *, live: LiveText) -> None:
        self._state = state
        self._attempt = attempt
        self._live = live
        self._past: Past | None = None
        self._estimated = 0

    async def until_ended(self, done: Advance) -> Outcome | Ending | Settled:
        """Model, tools, model, tools; the transaction in between says which."""
        while True:
            produced: list[Entry]
            within: Callable[[Tx], None] | None = None
            match done.move:
                case Ended():
                    return Settled(task=done.move.task)
                case AskModel():
                    if self._attempt.draining:
                        why = "an urgent task goes first" if self._attempt.preempted else "the node is stopping"
                        return Requeue(reason=f"{why}; the turn goes on from its journal")
                    answer, within = await self._ask(done.move.call)
                    if isinstance(answer, Retry | Requeue):  # another model may be asked instead
                        setback = answer if isinstance(answer, Retry) else None
                        done = await self._advance([], within=within, failed=setback)
                        continue
                    if not isinstance(answer, ModelAnswer):
                        return Ending(outcome=answer, within=within)
                    produced = [answer]
                    if answer.calls:
                        await self._state.look_ahead(answer.calls, now=self._attempt.clock.now())
                case Act():
                    produced = await self._act(done.move.planned)
            done = await self._advance(produced, within=within)

    async def _advance(
        self, produced: Sequence[Entry], *, within: Callable[[Tx], None] | None, failed: Retry | None = None
    ) -> Advance:
        state, now = self._state, self._attempt.clock.now()
        store = self._attempt.store
        try:
            done = await store.run(lambda tx: advance(state, tx, produced, now=now, within=within, failed=failed))
        except Unfit as broken:
            unfit = broken
            claim = self._attempt.claim
            task = await store.run(lambda tx: hold(tx, claim, unfit, produced=produced, within=within, now=now))
            return Advance(journal=(*state.journal, *produced), messages=(), move=Ended(task=task), at=now)
        except Fenced as fenced:
            await self._keep_late(produced, fenced)
            raise
        state.took_place(done)
        return done

    async def _keep_late(self, produced: Sequence[Entry], fenced: Fenced) -> None:
        """What a tool has done after the claim was gone is told, and changes nothing: whoever holds the task now finds
        an intent without a result, and people find here what became of it."""
        told = late_events(self._state, self._attempt.claim, produced, reason=fenced.message)
        now = self._attempt.clock.now()

        def tell(tx: Tx) -> None:
            for each in told:
                tx.announce(each, now=now)

        if told:
            await self._attempt.store.run(tell)

    async def _ask(self, call: int) -> tuple[ModelAnswer | Outcome, Callable[[Tx], None]]:
        """The model's reply, or how the attempt ends without one; and what to write into the ledger."""
        state, clock = self._state, self._attempt.clock
        intent = state.asked
        attempts: list[HttpAttempt] = []
        listens = self._live.listener(state.session) if state.session else None
        request = await self._request(call)
        began = clock.elapsed_s()
        try:
            reply = await state.model.ask(request, on_attempt=attempts.append, on_text=listens)
        except ModelFailed as failure:
            outcome: Outcome = Fail(error=str(failure), error_class=failure.error_class)
            if failure.error_class in TRANSIENT:
                outcome = Retry(error=str(failure), error_class=failure.error_class, after_s=failure.after_s)
            if failure.error_class == RATE_LIMITED and not attempts:  # nothing was sent, so that nothing has failed
                outcome = Requeue(reason=str(failure))
            # What is reserved stays so until the reply, or until the task ends: it belongs to the open intent.
            return outcome, self._charges(call, attempts, settled=None, failure=failure)
        if listens is not None:
            listens.end()
        answer = _answer(call, reply, state.model, duration_ms=(clock.elapsed_s() - began) * 1_000)
        trust = Trust.EXTERNAL if reply.outside else state.trust
        answer = replace(answer, trust=trust, private=state.private)
        state.leash.gauge.learn(state.model.name, estimated=self._estimated, counted=reply.usage.input_tokens)
        return answer, self._charges(call, attempts, settled=(intent, answer))

    async def _request(self, call: int) -> ModelRequest:
        state = self._state
        if self._past is None:
            self._past = await self._attempt.store.read(lambda tx: read_past(tx, state)) if state.has_past else Past()
            earlier = (entry for each in self._past.turns for entry in each.entries)
            state.learn_past((turn.task for turn in self._past.turns), self._past.messages.values(), earlier)
        messages = {**self._past.messages, **state.messages}
        await self._make_room(self._past, messages)
        parts = chat_parts(
            state.leash.fixed,
            past=self._past.turns,
            task=state.task,
            entries=state.journal,
            messages=messages,
            timezone=state.leash.timezone,
            history_tokens_max=state.leash.context_limits.history,
            message_tokens_max=state.leash.context_limits.message,
        )
        self._estimated = tokens_of(parts) + state.leash.spec_tokens
        return ModelRequest(
            model=state.model.model,
            parts=parts,
            tools=state.leash.specs,
            output_tokens_max=state.model.output_tokens_max,
            effort=state.asked.effort,
            call=call,
            user=state.task.name,
        )

    async def _make_room(self, past: Past, messages: Mapping[int, Message]) -> None:
        """Folds what the prompt has no room for; what was begun before a crash is finished, with what was set aside."""
        state, attempt = self._state, self._attempt
        found = compactor.plan(state, past.turns, messages, past_bound=past.bound)
        if found is None:
            return
        plan, now = found, attempt.clock.now()
        intent = unwritten_summary(state.journal)
        if intent is None:
            intent = await attempt.store.run(lambda tx: compactor.intend(state, tx, plan, now=now))
            state.was_recorded(intent, at=now)
        begun, attempts = intent, list[HttpAttempt]()
        made = await compactor.write(state, plan, begun, on_attempt=attempts.append)
        made = replace(made, facts=await attempt.store.read(lambda reads: compactor.facts_now(state, reads, plan)))

        def within(tx: Tx) -> None:
            for each in attempts:
                price = state.choices.model(begun.model).price
                tx.charge(_charge(state, 0, each, price=price), now=attempt.clock.now())
            spent = made.usd_micros or 0
            purse.settle(state, tx, begun, usd_micros=spent, tokens=made.usage.tokens, now=attempt.clock.now())

        await attempt.record([made], within=within)
        state.was_recorded(made, at=attempt.clock.now())

    def _charges(
        self,
        call: int,
        attempts: Sequence[HttpAttempt],
        *,
        settled: tuple[ModelIntent, ModelAnswer] | None,
        failure: ModelFailed | None = None,
    ) -> Callable[[Tx], None]:
        """Ledger rows, one for each HTTP attempt, the reservation settled where the call is over, and what the outcome
        says about the model."""
        state, now = self._state, self._attempt.clock.now()
        rows = [_charge(state, call, each, price=state.model.price) for each in attempts]
        down = failure is not None and bool(attempts) and is_down(failure, attempts[-1].status)

        def write(tx: Tx) -> None:
            for row in rows:
                tx.charge(row, now=now)
            if failure is None:
                state.choices.went_well(tx, state.model, task=state.task, now=now)
            else:
                state.choices.went_wrong(tx, state.model, failure, task=state.task, now=now, down=down)
            if settled is not None:
                intent, answer = settled
                state.leash.gauge.keep(tx, state.model.name)
                spent, tokens = answer.usd_micros or 0, answer.usage.tokens
                purse.settle(state, tx, intent, usd_micros=spent, tokens=tokens, now=now)

        return write

    async def _act(self, planned: Sequence[Planned]) -> list[Entry]:
        """Lets the tools act at the same time. Each result is recorded as it comes; the last is left to the caller,
        so that it shares its commit with what follows from it."""
        if len(planned) == 1:
            outcome = await self._act_once(planned[0])
            return [outcome] if outcome is not None else []
        running = [asyncio.ensure_future(self._act_once(each)) for each in planned]
        try:
            for index, finished in enumerate(asyncio.as_completed(running)):
                outcome = await finished
                assert outcome is not None, "only one call at a time is doubtful"
                if index == len(running) - 1:
                    return [outcome]
                try:
                    kept = await self._attempt.store.run(partial(self._keep, outcome))
                except Fenced as fenced:
                    await self._keep_late([outcome], fenced)
                    raise
                self._state.was_recorded(kept, at=self._attempt.clock.now())
        finally:
            for each in running:
                each.cancel()
        raise AssertionError("as_completed yields once for each call")

    def _keep(self, outcome: ToolOutcome, tx: Tx) -> Entry:
        """Records one of several results, with what is known of it by now."""
        state, now = self._state, self._attempt.clock.now()
        call_guards.learn(tx, state, [outcome], journal=state.journal, now=now)
        (kept,) = TurnGate(state, tx, now=now).received([outcome], state.journal)
        tx.record_steps(state.claim, [kept], now=now)
        return kept

    async def _act_once(self, planned: Planned) -> ToolOutcome | None:
        """The result of one call; None where nobody can tell whether it has happened before."""
        state, clock = self._state, self._attempt.clock
        context = state.context(planned.intent, now=planned.at, repeated=planned.repeated)
        tool = state.leash.tool_or_none(planned.call.name)
        began = clock.elapsed_s()
        if planned.doubtful:
            has_happened = await _probe(tool, context, planned)
            if has_happened is None:
                state.probed.add(planned.call.id)
                return None
            if has_happened:
                words = ToolResult(text="done: it had happened before the node died, and was not repeated")
                return words.outcome(call_id=planned.call.id, tool=planned.call.name)
        if isinstance(tool, OutsideTool):
            result = await perform(tool, context, planned.intent.arguments)
        else:
            result = failed(f"{planned.call.name} is gone since it was allowed; nothing was done")
        elapsed_ms = (clock.elapsed_s() - began) * 1_000
        return result.outcome(call_id=planned.call.id, tool=planned.call.name, duration_ms=elapsed_ms)


def _held(tx: Tx, task: Task, unfit: Unfit, *, now: Instant) -> Settled:
    return Settled(task=hold(tx, Claim(task=task.id, token=task.token), unfit, now=now))


def read_past(reads: Reads, state: TurnState) -> Past:
    """The earlier turns of a turn's session."""
    turns: list[PastTurn] = []
    through = 0
    for task in reads.session_tasks(state.session, before=state.task.id, limit=PAST_TURNS_MAX):
        if task.id <= through:
            break  # a summary stands for it
        turn = PastTurn(task=task, entries=tuple(each.entry for each in reads.steps(task.id)))
        turns.append(turn)
        through = max([through, *(each.through for each in turn.entries if isinstance(each, Compacted))])
    ids = [i for turn in turns for e in turn.entries if isinstance(e, Input) for i in e.messages]
    messages = reads.messages_by_id(ids) if ids else {}
    turns.reverse()
    return Past(turns=tuple(turns), messages=messages, bound=compactor.bound_of_past(turns, messages))


async def _probe(tool: AnyTool | None, context: ToolContext, planned: Planned) -> bool | None:
    """What the tool says about a call whose result was lost; a probe that fails cannot tell."""
    if not isinstance(tool, OutsideTool) or tool.probe is None:
        return None
    try:
        return await tool.probe(context, planned.intent.arguments)
    except Exception:  # whatever goes wrong with the probe, a person can still be asked
        return None


def _answer(call: int, reply: ModelReply, model: Model, *, duration_ms: float) -> ModelAnswer:
    """A reply as a journal entry, priced; what cannot be acted on is named as a problem."""
    problem = reply.problem
    if not problem and not reply.calls:
        if reply.stop is StopReason.FILTER:
            problem = "the provider's content filter stopped it"
        elif not reply.text.strip():
            problem = "it was cut off before anything was said" if reply.stop is StopReason.LENGTH else "it was empty"
    usage = reply.usage
    price = model.price
    return ModelAnswer(
        call=call,
        model=reply.model or model.model,
        text=KNOWN.text(reply.text),
        calls=tuple(map(_without_secrets, reply.calls)),
        thoughts=reply.thoughts,
        stop=reply.stop,
        usage=usage,
        usd_micros=None if price is None else budget.cost_of(price, reply.usage),
        duration_ms=duration_ms,
        problem=KNOWN.text(problem),
    )


def _without_secrets(call: ToolCall) -> ToolCall:
    """A model that has come to know a value, by whatever way, can neither use it nor write it down."""
    arguments, raw = KNOWN.value(call.arguments), KNOWN.text(call.raw)
    return call if (arguments, raw) == (call.arguments, call.raw) else replace(call, arguments=arguments, raw=raw)


def _charge(state: TurnState, call: int, attempt: HttpAttempt, *, price: budget.Price | None) -> Charge:
    return Charge(
        task=state.task.id,
        agent=state.leash.then.id,
        session=state.session,
        trigger=state.task.spec.trigger.value,
        call=call,
        provider=attempt.provider,
        model=attempt.model,
        status=attempt.status,
        input_tokens=attempt.usage.input_tokens,
        cached_tokens=attempt.usage.cached_tokens,
        output_tokens=attempt.usage.output_tokens,
        usd_micros=None if price is None else budget.cost_of(price, attempt.usage),
        duration_ms=attempt.duration_ms,
        error=attempt.error,
    )


def late_events(state: TurnState, claim: Claim, produced: Sequence[Entry], *, reason: str) -> list[NewEvent]:
    """Evidence of results that came too late: the claim's token, the call, how it ended, and the begin of its text."""
    return [
        NewEvent(
            name=EventName.TASK_LATE,
            task=claim.task,
            agent=state.leash.then.id,
            session=state.session,
            reason=reason,
            data={
                "token": claim.token,
                "call": each.call_id,
                "tool": each.tool,
                "status": each.status.value,
                "text": each.text[:LATE_CHARS_MAX],
                "digest": digest_of(each.text.encode()),
            },
        )
        for each in produced
        if isinstance(each, ToolOutcome)
    ]
