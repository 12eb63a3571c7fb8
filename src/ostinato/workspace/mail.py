"""A mail as an agent reads it: a few header lines, the text, and the names of what is attached.

Takes any bytes at all and never raises: mail from outside is broken in every way there is (RFC 5322 and MIME describe
the rest). Knows nothing of inboxes, agents or what a mail is about.
"""

from __future__ import annotations

import email
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

from ostinato.domain.values import Value
from ostinato.workspace.mail_headers import Headers, quietly
from ostinato.workspace.mail_parts import Contents, MailAttachment, report_of
from ostinato.workspace.readable import shortened

MAIL_BYTES_MAX = 32 * 1_048_576
"""More than mail servers let pass; what lies beyond is not looked at."""

TEXT_BYTES_MAX = 24_000
"""Most of a mail's text that an agent is shown: about 6,000 tokens."""


class Mail(Value):
    """What a mail says. Every text is readable (no lone surrogates, no control characters); every header is one line,
    and empty where the mail has none."""

    message_id: str = ""
    sender: str = ""
    """Name and address, as the mail has them; anybody can write anything there."""
    sender_address: str = ""
    reply_to: str = ""
    """The address that an answer goes to: Reply-To, else the sender, else Return-Path."""
    to: str = ""
    subject: str = ""
    date: str = ""
    accounts: tuple[str, ...] = ()
    """The addresses that it was sent to."""
    in_reply_to: str = ""
    thread: str = ""
    """The Message-ID that its thread began with, as far as it says; its own where it answers nothing."""
    list_id: str = ""
    auto_submitted: str = ""
    precedence: str = ""
    report: str = ""
    """`delivery-status`, `disposition-notification` or what else a multipart/report says it is."""
    is_spam: bool = False
    """A filter on the way has marked it so."""
    failed_checks: tuple[str, ...] = ()
    """Which of spf, dkim and dmarc failed, as the receiving server noted."""
    text: str = ""
    left_out_bytes: int = 0
    """How much of the text is not shown."""
    attachments: tuple[MailAttachment, ...] = ()
    attachments_left_out: int = 0


def read_mail(data: bytes) -> Mail:
    """Reads a mail from its bytes as they came. Never raises."""
    message = _parsed(data[:MAIL_BYTES_MAX])
    headers = Headers(message)
    contents = Contents(message)
    text, left_out = shortened(contents.text(), TEXT_BYTES_MAX)
    return Mail(
        message_id=headers.line("message-id"),
        sender=headers.line("from"),
        sender_address=headers.address("from"),
        reply_to=headers.address("reply-to") or headers.address("from") or headers.address("return-path"),
        to=headers.line("to"),
        subject=headers.line("subject"),
        date=headers.line("date"),
        accounts=headers.addresses("to", "cc", "delivered-to"),
        in_reply_to=headers.line("in-reply-to"),
        thread=next(iter((headers.line("references") or headers.line("in-reply-to")).split()), "")
        or headers.line("message-id"),
        list_id=headers.line("list-id") or headers.line("list-unsubscribe"),
        auto_submitted=headers.auto_submitted(),
        precedence=headers.line("precedence"),
        report=report_of(message),
        is_spam=headers.is_spam(),
        failed_checks=headers.failed_checks(),
        text=text,
        left_out_bytes=left_out,
        attachments=tuple(contents.attachments),
        attachments_left_out=contents.attachments_left_out,
    )


def _parsed(data: bytes) -> Message:
    """The mail with its parts; where those are nested without end, its headers with all the rest as one text."""
    whole = quietly(lambda: email.message_from_bytes(data, policy=compat32))
    return whole or quietly(lambda: BytesHeaderParser(policy=compat32).parsebytes(data)) or Message()


def mail_as_text(mail: Mail) -> str:
    """The form in which an agent reads a mail: header lines, an empty line, the text, the names of attachments.

    From, Reply-To (the address that an answer goes to) and Subject are always there, Subject last; other headers where
    they say something. The head ends at the first empty line, so that a mail's text cannot pose as its head.
    """
    head = [
        ("From", mail.sender or "(nobody)"),
        ("Reply-To", mail.reply_to or "(nobody)"),
        ("To", mail.to),
        ("Date", mail.date),
        ("Message-ID", mail.message_id),
        ("In-Reply-To", mail.in_reply_to),
        ("List-Id", mail.list_id),
        ("Auto-Submitted", mail.auto_submitted),
        ("Precedence", mail.precedence),
        ("Report", mail.report),
        ("Marked-As-Spam", "yes" if mail.is_spam else ""),
        ("Failed-Checks", ", ".join(mail.failed_checks)),
        ("Subject", mail.subject or "(none)"),
    ]
    lines = [f"{name}: {value}" for name, value in head if value]
    lines += ["", mail.text.strip() or "(no text)"]
    if mail.attachments:
        lines += ["", "Attachments:"]
        lines += [f"- {each.name} ({each.media_type}, {each.size_bytes:,} bytes)" for each in mail.attachments]
    if mail.attachments_left_out:
        lines.append(f"- and {mail.attachments_left_out} more")
    return "\n".join(lines)
