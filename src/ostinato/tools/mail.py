"""Letters that leave the fleet: what one is, and the `.eml` file (RFC 5322) that it becomes in the outbox.

Pure. A letter is fixed when it is sent, so that writing it twice gives the same bytes under the same name. Knows
nothing of tasks or folders.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from ostinato.domain.errors import Invalid
from ostinato.domain.values import Instant, Value

ADDRESS = r"[A-Za-z0-9_%+'.-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*"
"""One address and nothing beside it, so that a declared `mail:*@example.com` cannot be met by a list of two."""

SUBJECT_CHARS_MAX = 200
"""Of the subject of a letter."""
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}@[!-;=?-~]{1,250}>")  # printable ASCII but < and >
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Letter(Value):
    """One mail as it will be written. `id` names the delivery: letters, digits and dashes."""

    id: str
    fleet: str
    agent: str
    to: str
    subject: str
    text: str
    at: Instant
    in_reply_to: str = ""
    """Message-ID of the mail that this answers."""


def letter_id(at: Instant, key: str) -> str:
    """The stable name of a delivery, from the moment and the call that sent it: `20260301T070000Z-3fa9c1d2e4b5`."""
    return f"{_EPOCH + timedelta(microseconds=at):%Y%m%dT%H%M%SZ}-{key[:12]}"


def check_letter(letter: Letter) -> None:
    """Raises Invalid for what would forge a header or a file name, or is no letter."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", letter.id):
        raise Invalid(f"{letter.id[:80]!r} does not name a delivery")
    if not re.fullmatch(ADDRESS, letter.to):
        raise Invalid(f"{letter.to[:80]!r} is not one plain mail address", cure="Write it as name@example.com.")
    if len(letter.subject) > SUBJECT_CHARS_MAX or not letter.subject.isprintable():
        raise Invalid("The subject is too long or holds line breaks or control characters", cure="Use one short line.")
    if letter.in_reply_to and not is_message_id(letter.in_reply_to):
        raise Invalid("The mail that this answers has no proper Message-ID")


def is_message_id(text: str) -> bool:
    """True for a Message-ID as it may stand in a header."""
    return _MESSAGE_ID.fullmatch(text) is not None


def to_eml(letter: Letter) -> bytes:
    """The letter as an RFC 5322 message; equal letters give equal bytes. Raises Invalid for a forged header."""
    check_letter(letter)
    domain = f"{_slug(letter.fleet)}.invalid"  # RFC 2606: a name that never resolves; a channel gives the real one
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = Address(display_name=_line(letter.fleet), username=_slug(letter.agent), domain=domain)
        message["To"] = Address(addr_spec=letter.to)
        message["Subject"] = letter.subject
        message["Date"] = _EPOCH + timedelta(microseconds=letter.at)
        message["Message-ID"] = f"<{letter.id}@{domain}>"
        if letter.in_reply_to:
            message["In-Reply-To"] = letter.in_reply_to
            message["References"] = letter.in_reply_to
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no robot should answer
        message.set_content(letter.text)
        return message.as_bytes()
    except ValueError as error:
        raise Invalid(f"That is no mail: {error}", cure="Nothing was sent.") from error


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:63] or "fleet"


def _line(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
