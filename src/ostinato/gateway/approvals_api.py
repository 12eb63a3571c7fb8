"""Operations on questions: what only a person can settle.

The first decision wins; an approval is bound to the exact action. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from ostinato.agents.rehearsal import Wanted
from ostinato.domain.errors import Conflict, Denied, Invalid
from ostinato.domain.permission import NewPermission, Permission, permission_from
from ostinato.domain.person import Role, people_of
from ostinato.domain.question import Answer, Question, QuestionKind, QuestionState, agent_of_answer, check_decider
from ostinato.domain.step import Decision
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso, iso_or_none, parse_id
from ostinato.gateway.operation import Ask, View, member_of, operation
from ostinato.gateway.tasks_api import PageSize, Text, Word
from ostinato.gateway.tools_api import json_object, rehearsal_of
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


class EditQuestion(Ask):
    """Other arguments for an action that waits; nothing is decided."""

    question: Word
    arguments: Annotated[str, msgspec.Meta(max_length=100_000)]
    """JSON."""


class AllowQuestion(Ask):
    """Let the action happen, once. `arguments` replace the agent's where a person changes them first; `always` allows
    its like for good, by patterns such as `to=mail:*@example.com`."""

    question: Word
    reason: Text = ""
    arguments: dict[str, Any] | None = None
    more: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)] | None = None
    """How much more, where a limit asks: dollars, or what else the limit counts; without it, the same once more."""
    always: Annotated[list[Text], msgspec.Meta(max_length=32)] = []


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
        state=None if request.state == "all" else member_of(QuestionState, request.state, what="state"),
        kind=member_of(QuestionKind, request.kind, what="kind") if request.kind else None,
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


@operation("approvals.edited", "GET /api/v1/approvals/{question}/edited")
async def edited(context: Context, request: EditQuestion) -> QuestionView:
    """What an action would be with other arguments, judged as it would be when a person allows it so. Nothing is
    decided or written."""
    number = parse_id(request.question, "Q")
    asked = await context.store.read(lambda tx: tx.question(number))
    _check_editable(asked)
    if asked.state is not QuestionState.PENDING:
        raise Conflict(f"{asked.name} is already {asked.state.value}", cure="There is nothing left to edit.")
    arguments = json_object(request.arguments)
    return question_view(replace(asked, arguments=arguments, edited_bound=await _judged(context, asked, arguments)))


def _check_editable(question: Question) -> None:
    if question.kind is not QuestionKind.APPROVAL:
        what = f"{question.name} asks for no approval of an action, so it has no arguments to change"
        raise Invalid(what, place="key 'arguments'", cure="Leave them out.")


@operation("approvals.allow", "POST /api/v1/approvals/{question}/allow", role=Role.OPERATOR)
async def allow(context: Context, request: AllowQuestion) -> QuestionView:
    """Allow an action once, as it is or with changed arguments; or let a limit be passed once more."""
    number = parse_id(request.question, "Q")

    def check(question: Question) -> None:
        if question.kind is QuestionKind.ASK:
            raise Conflict(
                f"{question.name} asks for an answer", cure=f'ostinato approvals answer {question.name} "..."'
            )
        if request.arguments is not None:
            _check_editable(question)
        if request.more is not None and question.kind is not QuestionKind.BUDGET:
            what = f"{question.name} asks for no more of anything"
            raise Invalid(what, place="key 'more'", cure="Leave it out.")

    asked = await context.store.read(lambda tx: tx.question(number))
    check(asked)
    edited = asked
    if request.arguments is not None:
        bound = await _judged(context, asked, request.arguments)
        edited = replace(asked, arguments=request.arguments, edited_bound=bound)
    leave = _leave(edited, request.always, by=context.caller.name) if request.always else None
    decision = Answer(
        state=QuestionState.ALLOWED,
        by=context.caller.name,
        text=request.reason,
        arguments=edited.arguments if request.more is None else {"more": request.more},
        bound=edited.edited_bound,
    )
    return await _settle(context, number, decision, check=check, leave=leave)


async def _judged(context: Context, asked: Question, arguments: dict[str, Any]) -> dict[str, Any]:
    """What an edited action is bound to. Raises Invalid where its tool does not take it, Denied where the policy does
    not: what a person edits is judged like what a model says."""
    action = asked.action
    assert action is not None, "an approval is about an action"
    wanted = Wanted(agent=action.agent, tool=action.tool, arguments=arguments, trust=asked.trust, session=asked.session)
    found = await rehearsal_of(context).judge(wanted, now=context.now)
    if found.verdict is None or found.facts is None:
        raise Invalid(f"{action.tool} does not take this: {found.problem}", place="key 'arguments'")
    if found.verdict.decision is Decision.DENY:
        what = f"The edited action is denied: {found.verdict.reason} [{found.verdict.rule}]"
        raise Denied(what, cure="Edit it otherwise, or change the rule.")
    return found.facts.bound


def _leave(asked: Question, patterns: Sequence[str], *, by: str) -> NewPermission:
    """The standing permission that a person gives along. Raises Invalid, and Denied where none may last."""
    action = asked.allowed_action
    if action is None or asked.kind is not QuestionKind.APPROVAL or not asked.gate:
        raise Invalid(f"{asked.name} is no approval that could be given for good", place="key 'always'")
    new = permission_from(
        patterns, agent=action.agent, tool=action.tool, arguments=action.arguments, bound=action.bound
    )
    return replace(new, gate=asked.gate, by=by, question=asked.id)


@operation("approvals.deny", "POST /api/v1/approvals/{question}/deny", role=Role.OPERATOR)
async def deny(context: Context, request: DenyQuestion) -> QuestionView:
    """Refuse; the agent reads the reason as the result of its call."""
    number = parse_id(request.question, "Q")
    return await _settle(context, number, _answer(context, QuestionState.DENIED, request.reason))


@operation("approvals.answer", "POST /api/v1/approvals/{question}/answer", role=Role.OPERATOR)
async def answer(context: Context, request: AnswerQuestion) -> QuestionView:
    """Answer what an agent asked, or say what became of an action whose outcome is unknown."""
    number = parse_id(request.question, "Q")
    asked = await context.store.read(lambda tx: tx.question(number))
    if asked.kind is QuestionKind.FAILURE and (agent := agent_of_answer(request.text)):
        await context.card(agent)  # it exists

    def check(question: Question) -> None:
        if question.kind in (QuestionKind.APPROVAL, QuestionKind.BUDGET, QuestionKind.REVIEW):
            raise Conflict(
                f"{question.name} can be allowed or denied",
                cure=f"ostinato approvals allow {question.name}, or deny {question.name} --reason ...",
            )

    return await _settle(context, number, _answer(context, QuestionState.ANSWERED, request.text), check=check)


def _answer(context: Context, state: QuestionState, text: str) -> Answer:
    return Answer(state=state, by=context.caller.name, text=text)


def _granted(question: Question, arguments: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a leave names, in the unit of the limit: people say dollars where the runtime counts micro-dollars."""
    if question.kind is not QuestionKind.BUDGET or arguments is None:
        return arguments
    is_money = question.rule.endswith((".usd", "usd_micros"))
    return {"more": round(arguments["more"] * 1_000_000) if is_money else arguments["more"]}


async def _settle(
    context: Context,
    number: int,
    decision: Answer,
    *,
    check: Callable[[Question], None] | None = None,
    leave: NewPermission | None = None,
) -> QuestionView:
    now, caller = context.now, context.caller

    def write(tx: Tx) -> QuestionView:
        asked = tx.question(number)
        if check is not None:
            check(asked)
        if asked.state is QuestionState.PENDING:  # else whoever came first is named, whoever comes now
            check_decider(asked, caller.name, Role(caller.role), people=people_of(tx.tokens()), now=now)
        granted = _granted(asked, decision.arguments)
        settled = tx.answer(number, replace(decision, arguments=granted), now=now)
        if leave is not None:
            tx.add_permission(leave, now=now)
        return question_view(settled)

    return await context.store.run(write)


class WhichPermissions(Ask):
    """Those that hold, or with `all` also the revoked ones; of one agent."""

    agent: Word | None = None
    all: bool = False


class PermissionView(View):
    """What a person has allowed for good."""

    id: str
    agent: str
    tool: str
    gate: str
    exact: dict[str, Any]
    like: dict[str, str]
    bound: dict[str, Any]
    by: str
    question: str
    added_at: str
    revoked_at: str | None
    revoked_by: str


class PermissionList(View):
    """Permissions, oldest first."""

    permissions: list[PermissionView]


class WhichPermission(Ask):
    """A permission by its id, such as P3."""

    permission: Word


@operation("approvals.permissions", "GET /api/v1/permissions")
async def list_permissions(context: Context, request: WhichPermissions) -> PermissionList:
    """What people have allowed for good: each answers one gate, for one agent, one tool and matching arguments."""
    found = await context.store.read(lambda tx: tx.permissions())
    shown = [
        permission_view(each)
        for each in found
        if (request.all or each.revoked_at is None) and request.agent in (None, each.agent)
    ]
    return PermissionList(permissions=shown)


@operation("approvals.revoke", "POST /api/v1/permissions/{permission}/revoke", role=Role.OPERATOR)
async def revoke(context: Context, request: WhichPermission) -> PermissionView:
    """It answers nothing from now on: the gate asks again."""
    number, now, actor = parse_id(request.permission, "P"), context.now, context.caller.name
    return permission_view(await context.store.run(lambda tx: tx.revoke_permission(number, actor=actor, now=now)))


def permission_view(permission: Permission) -> PermissionView:
    """A permission, for people and programs."""
    return PermissionView(
        id=permission.name,
        agent=permission.agent,
        tool=permission.tool,
        gate=permission.gate,
        exact=permission.exact,
        like=permission.like,
        bound=permission.bound,
        by=permission.by,
        question=f"Q{permission.question}",
        added_at=iso(permission.added_at),
        revoked_at=iso_or_none(permission.revoked_at),
        revoked_by=permission.revoked_by,
    )
