"""A message reaches the operator in the commit of its call, and a letter is one file with honest headers.

No mail is sent anywhere: a letter ends in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.domain.event import EventName
from ostinato.domain.message import OPERATOR_SESSION
from ostinato.domain.step import ResultStatus
from ostinato.domain.task import TaskKind
from ostinato.domain.values import Origin, Source, Trust
from ostinato.store.port import EventFilter, TaskFilter
from ostinato.tools.mail import Letter, letter_id, to_eml
from ostinato.tools.messages import OUTBOX_TOOL
from tests.tools.conftest import Scene
from tests.tools.desk import BEGINS_AT, Desk

Play = Callable[[Scene], None]
LETTER = Letter(
    id=letter_id(BEGINS_AT, "3fa9c1d2e4b5aa"),
    fleet="Acme Support",
    agent="billing",
    to="ann@example.com",
    subject="Your refund",
    text="Dear Ann,\n\nit is on its way.\n",
    at=BEGINS_AT,
)


def test_the_operator_has_a_message_once_with_an_event(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        context = desk.context(trust=Trust.EXTERNAL, depth=2)
        arguments = {"to": "operator", "subject": "Double charge", "text": "Ann was charged twice."}
        for _ in range(2):
            sent = await desk.call("message.send", arguments, context)
            assert (sent.status, sent.text) == (ResultStatus.OK, "the operator has it")
        (message,) = await desk.see(lambda tx: tx.messages(OPERATOR_SESSION))
        assert message.text == "Double charge\n\nAnn was charged twice."
        assert (message.sender, message.source, message.trust, message.depth) == (
            "triage",
            Source.AGENT,
            Trust.EXTERNAL,
            2,
        )
        assert message.causes == (f"T{desk.task}",)
        turns = await desk.see(lambda tx: tx.tasks(TaskFilter(kinds=frozenset({TaskKind.TURN}))))
        assert [each.id for each in turns] == [desk.task], "nobody is woken by it"
        told = await desk.see(lambda tx: tx.events(EventFilter(names=frozenset({EventName.DELIVERY_SENT}))))
        assert (told[0].agent, told[0].reason, told[0].data["to"]) == ("triage", "Double charge", "operator")

    at_desk(scene)


def test_a_mail_becomes_one_delivery_that_is_fixed_when_it_is_sent(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        context = desk.context(key="3fa9c1d2e4b5aa")
        arguments = {"to": "mail:ann@example.com", "subject": "Your refund", "text": "It is on its way."}
        sent = await desk.call("message.send", arguments, context)
        assert sent.data == {"delivery": "20270115T080000Z-3fa9c1d2e4b5", "task": "T2"}
        assert (await desk.call("message.send", arguments, context)).data == sent.data
        (task,) = await desk.see(lambda tx: tx.tasks(TaskFilter(kinds=frozenset({TaskKind.DELIVERY}))))
        assert (task.title, task.agent, task.spec.created_by) == ("mail to ann@example.com", None, "triage")
        assert task.spec.input["tool"] == OUTBOX_TOOL
        assert task.spec.input["arguments"]["id"] == "20270115T080000Z-3fa9c1d2e4b5"
        assert task.spec.input["arguments"]["fleet"] == "Acme Support"

    at_desk(scene)


@pytest.mark.parametrize(
    ("origin", "answers"),
    [
        (Origin(channel="mail", peer="Ann@Example.com", thread="<1@example.com>"), "<1@example.com>"),
        (Origin(channel="mail", peer="eve@example.com", thread="<1@example.com>"), ""),
        (Origin(channel="cli", peer="ann@example.com", thread="<1@example.com>"), ""),
        (Origin(channel="mail", peer="ann@example.com", thread="<1@example.com>\nBcc: eve@example.org"), ""),
        (Origin(channel="mail", peer="ann@example.com", thread=""), ""),
        (None, ""),
    ],
)
def test_an_answer_names_the_mail_that_it_answers_and_no_other(
    at_desk: Play, *, origin: Origin | None, answers: str
) -> None:
    async def scene(desk: Desk) -> None:
        await desk.call("message.send", {"to": "mail:ann@example.com", "text": "x"}, origin=origin)
        task = await desk.see(lambda tx: tx.task(2))
        assert task.spec.input["arguments"].get("in_reply_to", "") == answers

    at_desk(scene)


@pytest.mark.parametrize("subject", ["a\nBcc: eve@example.org", "a\r\n\r\nbody", "\x1b[31m", "\u202eabc", "x" * 201])
def test_a_subject_cannot_forge_a_header(at_desk: Play, subject: str) -> None:
    async def scene(desk: Desk) -> None:
        sent = await desk.call("message.send", {"to": "mail:ann@example.com", "subject": subject, "text": "x"})
        assert (sent.status, "subject" in sent.text) == (ResultStatus.ERROR, True)
        assert not await desk.see(lambda tx: tx.tasks(TaskFilter(kinds=frozenset({TaskKind.DELIVERY}))))
        with pytest.raises(Invalid):
            to_eml(replace(LETTER, subject=subject))

    at_desk(scene)


def test_a_letter_says_who_when_and_to_whom() -> None:
    read = message_from_bytes(to_eml(replace(LETTER, in_reply_to="<1@example.com>")), policy=default)
    assert read["From"] == "Acme Support <billing@acme-support.invalid>"
    assert read["To"] == "ann@example.com"
    assert read["Subject"] == "Your refund"
    assert read["Date"].datetime == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert read["Message-ID"] == "<20270115T080000Z-3fa9c1d2e4b5@acme-support.invalid>"
    assert (read["In-Reply-To"], read["References"]) == ("<1@example.com>", "<1@example.com>")
    assert read["Auto-Submitted"] == "auto-generated"
    assert read.get_content().splitlines() == LETTER.text.splitlines()


def test_a_letter_without_an_answer_or_a_subject_is_a_letter() -> None:
    read = message_from_bytes(to_eml(replace(LETTER, subject="", fleet='日本語 \x07 "x" <a@b>, c')), policy=default)
    assert (read["Subject"], read["In-Reply-To"]) == ("", None)
    assert [(each.username, each.domain) for each in read["From"].addresses] == [("billing", "x-a-b-c.invalid")]
    assert read["From"].addresses[0].display_name == '日本語 "x" <a@b>, c'


@given(
    subject=st.text(st.characters(codec="utf-8"), max_size=220),
    text=st.text(st.characters(codec="utf-8"), max_size=400),
    fleet=st.text(st.characters(codec="utf-8"), max_size=40),
    to=st.sampled_from(["ann@example.com", "ann@example.com\n", "a@b, c@d", "x", "<a@b.c>", "ann+tag@a.b.c"]),
)
def test_whatever_is_written_gives_the_same_headers_and_equal_bytes_or_is_refused(
    *, subject: str, text: str, fleet: str, to: str
) -> None:
    letter = replace(LETTER, subject=subject, text=text, fleet=fleet, to=to)
    try:
        data = to_eml(letter)
    except Invalid:
        return
    assert data == to_eml(letter)
    head = data.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    assert names[:5] == [b"From", b"To", b"Subject", b"Date", b"Message-ID"]
    assert set(names[5:]) <= {b"Auto-Submitted", b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"}
    read = message_from_bytes(data, policy=default)
    assert read["To"] == to
    assert read["Subject"].split() == subject.split()
    assert read.get_content().split() == text.split()
