"""The tool that tells somebody something: `message.send`, to the operator or by mail.

Telling the operator is a message in the operator's inbox, in the transaction of the call. A mail becomes one task of
kind delivery in that transaction; what performs it is in `delivery`. Knows nothing of outboxes.
"""

from __future__ import annotations

import msgspec

from ostinato.domain.errors import Invalid
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.message import OPERATOR, OPERATOR_SESSION, NewMessage
from ostinato.domain.step import Effect
from ostinato.domain.task import NewTask, TaskKind
from ostinato.domain.values import Source
from ostinato.store.port import Tx
from ostinato.tools.mail import ADDRESS, Letter, check_letter, is_message_id, letter_id
from ostinato.tools.port import AnyTool, Arguments, StoreTool, ToolContext, ToolResult, object_schema, text_schema
from ostinato.tools.tasks import spec_of, taint_of

MAIL = "mail:"
OUTBOX_TOOL = "mail.outbox"
"""What a delivery of a mail performs; no agent can call it."""

TEXT_CHARS_MAX = 50_000
"""Of one message."""


def _send(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    to = arguments["to"]
    if to == OPERATOR:
        return _tell_operator(tx, context, arguments)
    if to.startswith(MAIL):
        return _send_mail(tx, context, arguments)
    raise Invalid(f"{to[:80]!r} is no recipient", cure="Use operator or mail:name@example.com.")


def _tell_operator(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    subject, text = arguments.get("subject", ""), arguments["text"]
    tx.append_message(
        OPERATOR_SESSION,
        NewMessage(
            source=Source.AGENT,
            text=f"{subject}\n\n{text}" if subject else text,
            sender=context.agent,
            requester=context.requester,
            trust=taint_of(context),
            depth=context.depth,
            causes=context.causes,
            client_id=context.key,
        ),
        agent=OPERATOR,
        now=context.now,
        wake=False,
    )
    tx.announce(
        NewEvent(
            name=EventName.DELIVERY_SENT,
            task=context.task,
            agent=context.agent,
            session=context.session,
            actor=context.agent,
            reason=subject or text[:200],
            data={"to": OPERATOR, "text": text},
        ),
        now=context.now,
    )
    return ToolResult(text="the operator has it")


def _send_mail(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    letter = Letter(
        id=letter_id(context.now, context.key),
        fleet=context.fleet,
        agent=context.agent,
        to=arguments["to"].removeprefix(MAIL),
        subject=arguments.get("subject", ""),
        text=arguments["text"],
        at=context.now,
        in_reply_to=_answered(context, arguments["to"].removeprefix(MAIL)),
    )
    check_letter(letter)
    task = tx.add_task(
        NewTask(
            kind=TaskKind.DELIVERY,
            title=f"mail to {letter.to}",
            spec=spec_of(context, input={"tool": OUTBOX_TOOL, "arguments": msgspec.to_builtins(letter)}),
            # No agent: a letter does not wait until its author has a place free. Stopping the author holds it still.
            depth=context.depth,
            key=f"mail:{context.key}",
        ),
        now=context.now,
        actor=context.agent,
    )
    return ToolResult(text=f"{task.name} delivers it", data={"delivery": letter.id, "task": task.name})


def _answered(context: ToolContext, to: str) -> str:
    """The Message-ID of the mail that this turn came from, where the letter goes back to its sender."""
    origin = context.origin
    if origin is None or origin.channel != "mail" or origin.peer.casefold() != to.casefold():
        return ""
    return origin.thread if is_message_id(origin.thread) else ""


def _is_to_operator(arguments: Arguments) -> bool:
    return bool(arguments["to"] == OPERATOR)


def _recipient(arguments: Arguments) -> str:
    return str(arguments["to"])


def message_tools() -> tuple[AnyTool, ...]:
    """`message.send`."""
    return (
        StoreTool(
            name="message.send",
            description="Send a message to operator, or a mail to mail:<address>.",
            parameters=object_schema(
                "to text",
                to={"type": "string", "pattern": f"^(operator|mail:{ADDRESS})$", "maxLength": 260},
                subject=text_schema(),
                text=text_schema(least=1, most=TEXT_CHARS_MAX),
            ),
            effect=Effect.IRREVERSIBLE,
            outward=True,
            harmless=_is_to_operator,
            recipient=_recipient,
            act=_send,
        ),
    )
