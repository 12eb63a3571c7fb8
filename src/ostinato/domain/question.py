"""Questions: what only a person can settle, and how it was settled.

Knows nothing of turns or channels. First decision wins, expiry is a denial, and an approval is bound to the digest of
the exact action.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.domain.budget import BudgetName
from ostinato.domain.errors import Conflict, Denied, Invalid
from ostinato.domain.escalation import Later
from ostinato.domain.gate import ADMIN, OPERATOR
from ostinato.domain.person import Role
from ostinato.domain.values import SECOND, Instant, Trust, Value, digest_of, to_json


class QuestionKind(enum.StrEnum):
    """What is asked."""

    APPROVAL = "approval"
    ASK = "ask"
    UNKNOWN = "unknown"
    BUDGET = "budget"
    REVIEW = "review"
    FAILURE = "failure"
    """A task has failed: shall it be tried again, given to another agent, or given up?"""


class QuestionState(enum.StrEnum):
    """Where a question stands; everything but pending is final."""

    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    """Its task was cancelled or ended before anybody answered."""


class Action(Value):
    """The exact action that an approval is about."""

    tool: str
    arguments: dict[str, Any]
    agent: str
    policy: str = ""
    """Version of the policy that asked."""
    bound: dict[str, Any] = {}
    """What else it is about, as its tool found it: the program behind a command's name, its digest, its folder."""

    @property
    def digest(self) -> str:
        """What an approval is bound to."""
        return digest_of(to_json(self))


class NewQuestion(Value):
    """A question to be stored."""

    kind: QuestionKind
    text: str
    agent: str
    task: int
    session: str
    call_id: str = ""
    action: Action | None = None
    reason: str = ""
    rule: str = ""
    expires_at: Instant | None = None
    trust: Trust = Trust.OPERATOR
    """The least trusted text that the turn had read when it asked; a stored action is no more trusted than that."""
    gate: str = ""
    """Identity of the gate that asks."""
    ask: str = OPERATOR
    """Who decides: `operator`, `admin`, or a person's name."""
    remind_s: float | None = None
    """Seconds after which it is asked once more, and again."""
    escalate: str = ""
    """Whom else to ask, `escalate_s` seconds after it was asked; empty: nobody."""
    escalate_s: float = 0.0
    later: tuple[Later, ...] = ()
    """Whom else to ask after these, and when."""
    requesters: tuple[str, ...] = ()
    """People on whose behalf the turn works: they do not decide while somebody else can."""
    stored: bool = False
    """True: a shared session's action, which the runtime performs itself once allowed."""
    budget: BudgetName | None = None
    """The account that it asks more for; it outlives the task that asked first."""


class Question(NewQuestion):
    """A question as it stands."""

    id: int
    state: QuestionState
    created_at: Instant
    decided_at: Instant | None = None
    decided_by: str = ""
    answer: str = ""
    arguments: dict[str, Any] | None = None
    """Edited arguments, where the person changed the action before allowing it."""
    edited_bound: dict[str, Any] | None = None
    """What was found beside the edited arguments; see `Action`."""

    @property
    def name(self) -> str:
        """How people call it: `Q7`."""
        return f"Q{self.id}"

    @property
    def allowed_action(self) -> Action | None:
        """The action that a person has allowed, or is asked to: the edited one, where there is one."""
        if self.action is None or self.arguments is None:
            return self.action
        return replace(self.action, arguments=self.arguments, bound=self.edited_bound or {})


class Answer(Value):
    """A person's decision."""

    state: QuestionState
    by: str
    text: str = ""
    arguments: dict[str, Any] | None = None
    """Other arguments, where the action was edited."""
    bound: dict[str, Any] | None = None
    """What was found beside them."""


_ALLOWED_ANSWERS = {
    QuestionKind.APPROVAL: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.BUDGET: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.REVIEW: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.ASK: {QuestionState.ANSWERED, QuestionState.DENIED},
    QuestionKind.UNKNOWN: {QuestionState.ANSWERED, QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.FAILURE: {QuestionState.ANSWERED, QuestionState.ALLOWED, QuestionState.DENIED},
}

RETRY, RETRY_WITH, GIVE_UP = "retry", "retry with ", "give up"
"""What can be answered to the question what is to become of a failed task."""


def agent_of_answer(text: str) -> str | None:
    """Who is to try a failed task again by this answer; empty: whoever has it; None: nobody, it is given up. Raises
    Invalid for anything else."""
    said = " ".join(text.split())
    if said.lower() == RETRY:
        return ""
    if said.lower().startswith(RETRY_WITH) and " " not in said[len(RETRY_WITH) :]:
        return said[len(RETRY_WITH) :]
    if said.lower() == GIVE_UP:
        return None
    raise Invalid(f"{text[:80]!r} is no answer to this", cure="Answer 'retry', 'retry with AGENT' or 'give up'.")


def check_answer(question: Question, answer: Answer, *, now: Instant) -> None:
    """Raises `Conflict` where the question is settled already, expired, or cannot be answered like that."""
    name = question.name
    if question.state is not QuestionState.PENDING:
        who = f" by {question.decided_by}" if question.decided_by else ""
        raise Conflict(f"{name} is already {question.state.value}{who}", cure="The first decision stands.")
    if answer.state is QuestionState.WITHDRAWN:
        return  # its task has ended, whenever that was
    has_expired = question.expires_at is not None and now >= question.expires_at
    if answer.state is QuestionState.EXPIRED:
        if not has_expired:
            raise Conflict(f"{name} has not expired", cure="Expiry is the runtime's to say, at its time.")
        return
    if has_expired:
        raise Conflict(f"{name} has expired, which counts as a denial", cure="Let the agent ask again.")
    if answer.state not in _ALLOWED_ANSWERS[question.kind]:
        wants = " or ".join(sorted(s.value for s in _ALLOWED_ANSWERS[question.kind]))
        raise Conflict(f"{name} is a question of kind {question.kind.value}", cure=f"It can be {wants}.")


def check_decider(question: Question, person: str, role: Role, *, people: Mapping[str, Role], now: Instant) -> None:
    """Raises `Denied` where this person is not to decide this question. `people` are those with a valid token.

    A gate can ask a role or one person, and somebody else after a while; an admin may always stand in. Whoever asked
    for the task decides only where nobody else could.
    """
    asked = asked_by(question, created_at=question.created_at, now=now)
    if not _is_asked(person, role, asked):
        whom = " or ".join(f"an {each}" if each in (OPERATOR, ADMIN) else each for each in asked)
        raise Denied(f"{question.name} asks {whom}", cure="Let them decide, or an admin.")
    if person not in question.requesters:
        return
    others = sorted(
        name for name, held in people.items() if name not in question.requesters and _is_asked(name, held, asked)
    )
    if others:
        whom = ", ".join(others[:5])
        raise Denied(f"{question.name} is about a task that {person} asked for", cure=f"Somebody else decides: {whom}.")


def _is_asked(person: str, role: Role, asked: Sequence[str]) -> bool:
    if role < Role.OPERATOR:
        return False
    named = [each for each in asked if each != ADMIN]  # a role is held, whatever somebody is called
    return role is Role.ADMIN or OPERATOR in named or person in named


def everybody_asked(question: NewQuestion) -> tuple[Later, ...]:
    """Whom it asks beside its first one, in the order of time."""
    first = (Later(to=question.escalate, after_s=question.escalate_s),) if question.escalate else ()
    return tuple(sorted((*first, *question.later), key=lambda each: each.after_s))


def asked_by(question: NewQuestion, *, created_at: Instant, now: Instant) -> list[str]:
    """Who is asked by now, the latest last."""
    return [question.ask, *(e.to for e in everybody_asked(question) if now >= created_at + round(e.after_s * SECOND))]


def next_call_at(question: NewQuestion, *, created_at: Instant, after: Instant) -> Instant | None:
    """When a pending question is asked once more, the next time after `after`; None: never before it expires."""
    times: list[Instant] = []
    if question.remind_s is not None:
        every = max(round(question.remind_s * SECOND), SECOND)
        times.append(created_at + ((after - created_at) // every + 1) * every)
    times += [created_at + round(each.after_s * SECOND) for each in everybody_asked(question)]
    times = [each for each in times if each > after and (question.expires_at is None or each < question.expires_at)]
    return min(times, default=None)
