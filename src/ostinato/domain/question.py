"""Questions: what only a person can settle, and how it was settled.

Knows nothing of turns or channels. First decision wins, expiry is a denial, and an approval is bound to the digest of
the exact action.
"""

from __future__ import annotations

import enum
from typing import Any

from ostinato.domain.errors import Conflict
from ostinato.domain.values import Instant, Trust, Value, digest_of, to_json


class QuestionKind(enum.StrEnum):
    """What is asked."""

    APPROVAL = "approval"
    ASK = "ask"
    UNKNOWN = "unknown"
    BUDGET = "budget"


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
    stored: bool = False
    """True: a shared session's action, which the runtime performs itself once allowed."""


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

    @property
    def name(self) -> str:
        """How people call it: `Q7`."""
        return f"Q{self.id}"


class Answer(Value):
    """A person's decision."""

    state: QuestionState
    by: str
    text: str = ""
    arguments: dict[str, Any] | None = None


_ALLOWED_ANSWERS = {
    QuestionKind.APPROVAL: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.BUDGET: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.ASK: {QuestionState.ANSWERED, QuestionState.DENIED},
    QuestionKind.UNKNOWN: {QuestionState.ANSWERED, QuestionState.ALLOWED, QuestionState.DENIED},
}


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
