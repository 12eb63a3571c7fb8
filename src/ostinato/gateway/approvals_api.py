"""Operations on questions: what only a person can settle.

The first decision wins; an approval is bound to the exact action. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ostinato.domain.errors import Conflict, Invalid, unknown_name
from ostinato.domain.person import Role
from ostinato.domain.question import Answer, Question, QuestionKind, QuestionState
from ostinato.gateway.context import Context
from ostinato.gateway.notation import parse_id
from ostinato.gateway.operation import Ask, operation
from ostinato.gateway.tasks_api import PageSize, Text, Word
from ostinato.gateway.views import QuestionList, QuestionView, question_view
from ostinato.store.port import QuestionFilter, Reads, Tx


class WhichQuestions(Ask):
    """Which questions to list: the pending ones unless `state` says otherwise (`all` for every state)."""

    state: Word = "pending"
    kind: Word | None = None
    agent: Word | None = None
    task: Word | None = None
    before: Word | None = None
    limit: PageSize = 50


class WhichQuestion(Ask):
    """One question."""

    question: Word


class AllowQuestion(Ask):
    """Let the action happen, once. `arguments` replace the agent's where a person changes them first."""

    question: Word
    reason: Text = ""
    arguments: dict[str, Any] | None = None
    more: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)] | None = None
    """How much more, where a limit asks: dollars, or what else the limit counts; without it, the same once more."""


class DenyQuestion(Ask):
    """Refuse; the agent is told the reason."""

    question: Word
    reason: Text = ""


class AnswerQuestion(Ask):
    """Answer what an agent asked."""

    question: Word
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]


@operation("approvals.list", "GET /api/v1/approvals")
async def list_questions(context: Context, request: WhichQuestions) -> QuestionList:
    """Questions, newest first; the pending ones unless asked otherwise."""
    which = QuestionFilter(
        state=None if request.state == "all" else _member(QuestionState, request.state, "state"),
        kind=_member(QuestionKind, request.kind, "kind") if request.kind else None,
        agent=request.agent,
        task=parse_id(request.task, "T") if request.task else None,
    )
    before = parse_id(request.before, "Q") if request.before else None

    def read(tx: Reads) -> QuestionList:
        found = tx.questions(which, before=before, limit=request.limit)
        more = found[-1].name if len(found) == request.limit else None
        return QuestionList(questions=[question_view(each) for each in found], next=more)

    return await context.store.read(read)


@operation("approvals.show", "GET /api/v1/approvals/{question}")
async def show(context: Context, request: WhichQuestion) -> QuestionView:
    """One question: the exact action in full, who asks, why, and until when."""
    number = parse_id(request.question, "Q")
    return question_view(await context.store.read(lambda tx: tx.question(number)))


@operation("approvals.allow", "POST /api/v1/approvals/{question}/allow", role=Role.OPERATOR)
async def allow(context: Context, request: AllowQuestion) -> QuestionView:
    """Allow an action once, as it is or with changed arguments; or let a limit be passed once more."""
    number = parse_id(request.question, "Q")

    def check(question: Question) -> None:
        if question.kind is QuestionKind.ASK:
            raise Conflict(
                f"{question.name} asks for an answer", cure=f'ostinato approvals answer {question.name} "..."'
            )
        if request.arguments is not None and question.kind is not QuestionKind.APPROVAL:
            what = f"{question.name} asks for no approval of an action, so it has no arguments to change"
            raise Invalid(what, place="key 'arguments'", cure="Leave them out.")

        if request.more is not None and question.kind is not QuestionKind.BUDGET:
            what = f"{question.name} asks for no more of anything"
            raise Invalid(what, place="key 'more'", cure="Leave it out.")

    arguments = request.arguments if request.more is None else {"more": request.more}
    return await _settle(context, number, state=QuestionState.ALLOWED, text=request.reason, check=check,
                         arguments=arguments)  # fmt: skip


@operation("approvals.deny", "POST /api/v1/approvals/{question}/deny", role=Role.OPERATOR)
async def deny(context: Context, request: DenyQuestion) -> QuestionView:
    """Refuse; the agent reads the reason as the result of its call."""
    number = parse_id(request.question, "Q")
    return await _settle(context, number, state=QuestionState.DENIED, text=request.reason)


@operation("approvals.answer", "POST /api/v1/approvals/{question}/answer", role=Role.OPERATOR)
async def answer(context: Context, request: AnswerQuestion) -> QuestionView:
    """Answer what an agent asked, or say what became of an action whose outcome is unknown."""
    number = parse_id(request.question, "Q")

    def check(question: Question) -> None:
        if question.kind in (QuestionKind.APPROVAL, QuestionKind.BUDGET):
            raise Conflict(
                f"{question.name} can be allowed or denied",
                cure=f"ostinato approvals allow {question.name}, or deny {question.name} --reason ...",
            )

    return await _settle(context, number, state=QuestionState.ANSWERED, text=request.text, check=check)


def _granted(question: Question, arguments: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a leave names, in the unit of the limit: people say dollars where the runtime counts micro-dollars."""
    if question.kind is not QuestionKind.BUDGET or arguments is None:
        return arguments
    is_money = question.rule.endswith((".usd", "usd_micros"))
    return {"more": round(arguments["more"] * 1_000_000) if is_money else arguments["more"]}


async def _settle(
    context: Context,
    number: int,
    *,
    state: QuestionState,
    text: str,
    check: Any = None,
    arguments: dict[str, Any] | None = None,
) -> QuestionView:
    now = context.now

    def write(tx: Tx) -> QuestionView:
        question = tx.question(number)
        if check is not None:
            check(question)
        granted = _granted(question, arguments)
        decision = Answer(state=state, by=context.caller.name, text=text, arguments=granted)
        return question_view(tx.answer(number, decision, now=now))

    return await context.store.run(write)


def _member(kind: Any, name: str, what: str) -> Any:
    try:
        return kind(name.lower())
    except ValueError:
        known = [each.value for each in kind]
        raise Invalid(unknown_name(what, name[:60], known)) from None
