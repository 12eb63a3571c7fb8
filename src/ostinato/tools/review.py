"""The tools of a reviewing agent: `review.accept` and `review.reject`.

Only a task that reviews another is given them, and they decide about that one alone. Verdict and record are one commit.
Knows nothing of what follows from a verdict.
"""

from __future__ import annotations

from ostinato.domain.errors import Conflict, Denied, Invalid
from ostinato.domain.reviewing import is_reviewed_by
from ostinato.domain.step import Effect, Reviewed
from ostinato.domain.turn import VERDICT_TOOLS
from ostinato.store.port import Tx
from ostinato.tools.port import AnyTool, Arguments, StoreTool, ToolContext, ToolResult, object_schema, text_schema
from ostinato.tools.tasks import may_tell, taint_of

ACCEPT, REJECT = VERDICT_TOOLS

NOTES_CHARS_MAX = 20_000
"""Characters of the notes of a verdict."""


def _accept(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    return _decide(tx, context, accepted=True, notes=arguments.get("notes", ""))


def _reject(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    if not arguments["notes"].strip():
        raise Invalid("The notes are empty", cure="Say what is to be put right.")
    return _decide(tx, context, accepted=False, notes=arguments["notes"])


def _decide(tx: Tx, context: ToolContext, *, accepted: bool, notes: str) -> ToolResult:
    own = tx.task(context.task)
    if own.spec.reviews is None:
        raise Denied("This task reviews nothing")
    reviewed = tx.task(own.spec.reviews)
    if reviewed.agent == context.agent:
        raise Denied(f"{reviewed.name} is your own work", cure="Somebody else decides about it.")
    if not is_reviewed_by(reviewed, own):
        raise Conflict(f"{reviewed.name} waits for no verdict of yours any more", cure="Finish.")
    verdict = Reviewed(
        accepted=accepted,
        by=context.agent,
        notes=notes,
        task=own.id,
        trust=taint_of(context),
        private=may_tell(context),
    )
    now = tx.review_task(reviewed.id, verdict, now=context.now).state.value
    return ToolResult(text=f"{reviewed.name} is {'accepted' if accepted else 'rejected'} ({now})")


def review_tools() -> tuple[AnyTool, ...]:
    """Both, always allowed: whoever asked for the review has given the leave."""
    notes = text_schema("for whoever did the work", most=NOTES_CHARS_MAX)
    return (
        StoreTool(
            name=ACCEPT,
            description="The result does what was asked for: accept it.",
            parameters=object_schema(notes=notes),
            effect=Effect.IDEMPOTENT,
            always_allowed=True,
            act=_accept,
        ),
        StoreTool(
            name=REJECT,
            description="Return the result, with what is to be put right.",
            parameters=object_schema("notes", notes={**notes, "minLength": 1}),
            effect=Effect.IDEMPOTENT,
            always_allowed=True,
            act=_reject,
        ),
    )
