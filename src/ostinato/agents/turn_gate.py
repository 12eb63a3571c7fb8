"""The gate's part in a transaction of a turn: what may be done, whom to ask, and which text comes from strangers.

It says what belongs into the journal; whoever follows the turn writes it. Knows nothing of models, nor of what a turn
does next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.agents import purse
from ostinato.agents.turn_state import TurnState
from ostinato.domain.chat import ToolCall
from ostinato.domain.instant import local, zone_named
from ostinato.domain.policy import CallFacts, Verdict
from ostinato.domain.question import Action, NewQuestion, Question, QuestionKind
from ostinato.domain.step import Answered, Decision, Entry, Judged, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.taint import touches
from ostinato.domain.values import SECOND, Instant, Trust
from ostinato.store.port import Tx
from ostinato.tools.marking import mark_writes, settle_writes
from ostinato.tools.memory import TODAY
from ostinato.tools.port import AnyTool, ToolContext
from ostinato.tools.toolbox import report_of
from ostinato.tools.turn import ASK_TOOL, question_text


class TurnGate:
    """Judges the calls of one turn, in one transaction."""

    def __init__(self, state: TurnState, tx: Tx, *, now: Instant) -> None:
        self._state = state
        self._tx = tx
        self._now = now
        self._judged: dict[str, tuple[ToolIntent, ToolContext]] = {}
        """What each call was judged by; what is allowed is made of the same."""

    def judge(self, call: ToolCall) -> list[Entry]:
        """The verdict, and for anything but allow what follows from it."""
        state = self._state
        judged = self._verdict(call, call.arguments)
        if isinstance(judged, str):
            return [_outcome(call, ResultStatus.INVALID, judged)]
        verdict, facts = judged
        question: Question | None = None
        if call.name == ASK_TOOL and verdict.decision is Decision.ALLOW:
            question = self._ask_person(call)
        elif verdict.decision is Decision.ASK:
            question = self._ask_leave(call, verdict, facts)
        entries: list[Entry] = [
            Judged(
                call_id=call.id,
                tool=call.name,
                decision=Decision.ASK if question else verdict.decision,
                reason=verdict.reason,
                rule=verdict.rule,
                question=question.id if question else None,
                bound=facts.bound if verdict.decision is Decision.ASK else {},
            )
        ]
        if verdict.decision is Decision.DENY:
            entries.append(_outcome(call, ResultStatus.DENIED, f"{verdict.reason} [{verdict.rule}]"))
        elif question and not state.own:
            words = f"{question.name} waits for a person; the result comes as a message"
            entries.append(_outcome(call, ResultStatus.PENDING, words))
        return entries

    def refusal(self, call: ToolCall, arguments: dict[str, Any] | None, answer: Answered) -> str:
        """Why a call that a person has allowed must not be made by now; empty where it may."""
        judged = self._verdict(call, arguments)
        if isinstance(judged, str):
            return judged
        verdict, _facts = judged
        return f"{answer.by} allowed it, but by now {verdict.reason}" if verdict.decision is Decision.DENY else ""

    def intent(
        self, call: ToolCall, tool: AnyTool, arguments: dict[str, Any] | None, *, bound: dict[str, Any] | None
    ) -> ToolIntent:
        """The intent of a call, bound to what was found when it was judged, or to what is there now where `bound` is
        None; with what its result will be. What it writes is marked before it is written."""
        state = self._state
        draft, context = self._judged.get(call.id) or self._draft(call, arguments)
        if draft.arguments != (arguments or {}) or context.policy is not state.leash.now.policy:
            draft, context = self._draft(call, arguments)
        report = report_of(tool, draft.arguments, context)
        outside = tool.outside_text or report.outside or self._reads_taint(tool, draft.arguments)
        intent = replace(
            draft,
            effect=report.effect,
            bound=report.bound if bound is None else bound,
            outside=outside,
            private=tool.private,
        )
        if outside or state.trust is Trust.EXTERNAL:
            self._taint(tool, intent)
        return intent

    def _draft(self, call: ToolCall, arguments: dict[str, Any] | None) -> tuple[ToolIntent, ToolContext]:
        draft = self._state.draft_intent(call, arguments)
        return draft, self._state.context(draft, now=self._now)

    def _taint(self, tool: AnyTool, intent: ToolIntent) -> None:
        mark_writes(self._tx, tool, intent, task=self._state.task, now=self._now, dated=self._dated)

    def received(self, produced: Sequence[Entry], journal: Sequence[Entry]) -> list[Entry]:
        """What the world has brought, with what is known of it by now. A result that could be read from a file that
        somebody has marked while it was read, is a stranger's word. Results that turned out to be so mark what their
        calls have written; those that say what they have changed leave nothing else marked."""
        entries, state = list(produced), self._state
        places = {each.call_id: at for at, each in enumerate(entries) if isinstance(each, ToolOutcome)}
        made = [each for each in journal if isinstance(each, ToolIntent) and each.call_id in places] if places else []
        for intent in made:
            outcome, tool = entries[places[intent.call_id]], state.leash.tool_or_none(intent.tool)
            if tool is None or not isinstance(outcome, ToolOutcome):
                continue  # gone meanwhile: whatever is marked stays so
            if not (intent.outside or outcome.outside) and self._reads_taint(tool, intent.arguments):
                outcome = entries[places[intent.call_id]] = replace(outcome, outside=True)
            if outcome.outside:
                self._taint(tool, intent)
            settle_writes(self._tx, tool, intent, wrote=outcome.wrote, task=state.task, now=self._now)
        return entries

    def ask(self, question: NewQuestion) -> Question:
        """Asks, with what the turn has read and for whom it works."""
        state = self._state
        return self._tx.ask(replace(question, trust=state.trust, requesters=state.requesters), now=self._now)

    def _verdict(self, call: ToolCall, arguments: dict[str, Any] | None) -> tuple[Verdict, CallFacts] | str:
        """What is wrong with the call itself, in words; or the stricter verdict of then and now."""
        state = self._state
        state.leash.renew()
        _draft, context = self._judged[call.id] = self._draft(call, arguments)
        return state.leash.judge(
            call,
            context=context,
            arguments=arguments,
            permissions=lambda: self._tx.permissions(state.leash.then.id),
            budget_left=lambda: purse.left(state, self._tx, now=self._now),
        )

    def _reads_taint(self, tool: AnyTool, arguments: dict[str, Any]) -> bool:
        """As it is now: other sessions of the agent write the same files."""
        paths = tool.reads(arguments)
        if not paths or self._state.trust is Trust.EXTERNAL:
            return False
        tainted = self._tx.tainted_files(self._state.leash.then.id)
        return any(touches(path, tainted) for path in paths)

    def _dated(self, path: str) -> str:
        if TODAY not in path:
            return path
        today = local(self._now, zone_named(self._state.leash.timezone))
        return path.replace(TODAY, f"{today:%Y-%m-%d}")

    def _ask_leave(self, call: ToolCall, verdict: Verdict, facts: CallFacts) -> Question:
        state, gate = self._state, verdict.gate
        assert gate is not None, "whatever asks is a gate"
        agent = state.leash.then.id
        return self.ask(
            NewQuestion(
                kind=QuestionKind.APPROVAL,
                text=f"May {agent} call {call.name}?",
                agent=agent,
                task=state.task.id,
                session=state.session,
                call_id=call.id,
                action=Action(
                    tool=call.name,
                    arguments=call.arguments or {},
                    agent=agent,
                    policy=state.leash.now.version,
                    bound=facts.bound,
                ),
                reason=verdict.reason,
                rule=verdict.rule,
                gate=gate.identity,
                ask=gate.ask,
                remind_s=gate.remind_s,
                escalate=gate.escalate,
                escalate_s=gate.escalate_s,
                expires_at=self._now + round(gate.expires_s * SECOND),
                stored=not state.own,
            )
        )

    def _ask_person(self, call: ToolCall) -> Question:
        state = self._state
        return self.ask(
            NewQuestion(
                kind=QuestionKind.ASK,
                text=question_text(call.arguments or {}),
                agent=state.leash.then.id,
                task=state.task.id,
                session=state.session,
                call_id=call.id,
                stored=not state.own,
            )
        )


def _outcome(call: ToolCall, status: ResultStatus, text: str) -> ToolOutcome:
    return ToolOutcome(call_id=call.id, tool=call.name, status=status, text=text)
