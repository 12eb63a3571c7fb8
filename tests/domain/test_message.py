"""What a session's key says about it, and what a message keeps."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.message import (
    OWN_KINDS,
    Message,
    NewMessage,
    Session,
    SessionKind,
    kind_of,
    main_session,
    task_session,
)
from ostinato.domain.values import Attachment, Origin, Source, Trust, to_json

names = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=8)


def session(key: str) -> Session:
    """A session as the store would give it."""
    return Session(key=key, agent="triage", kind=kind_of(key), cursor=0, created_at=0, active_at=0)


@pytest.mark.parametrize(
    ("key", "kind", "own"),
    [
        ("main:triage", SessionKind.MAIN, False),
        ("task:12", SessionKind.TASK, True),
        ("isolated:triage:file:3", SessionKind.ISOLATED, True),
        ("child:14", SessionKind.CHILD, True),
        ("room:billing", SessionKind.ROOM, False),
        ("channel:web", SessionKind.CHANNEL, False),
        ("slack:C1:170.2", SessionKind.CHANNEL, False),
        ("mail:a@shop.example", SessionKind.CHANNEL, False),
        ("", SessionKind.CHANNEL, False),
    ],
)
def test_a_key_tells_the_kind_and_whether_the_session_belongs_to_one_task(
    key: str, kind: SessionKind, own: bool
) -> None:
    assert kind_of(key) is kind
    assert session(key).own is own


@given(st.text(max_size=20))
def test_every_text_is_the_key_of_some_kind(key: str) -> None:
    assert kind_of(key) in SessionKind


@given(names)
def test_what_a_channel_calls_a_peer_never_makes_its_session_belong_to_a_task(peer: str) -> None:
    for channel in ("slack", "mail", "web", "telegram"):
        assert kind_of(f"{channel}:{peer}") not in OWN_KINDS
        assert kind_of(f"{channel}:task:{peer}") not in OWN_KINDS


@given(names, st.integers(1))
def test_the_keys_that_the_runtime_makes_are_of_their_kind(agent: str, task: int) -> None:
    assert kind_of(main_session(agent)) is SessionKind.MAIN
    assert kind_of(task_session(task)) is SessionKind.TASK
    assert task_session(task) != task_session(task + 1)


messages = st.builds(
    Message,
    id=st.integers(1),
    session=st.text(max_size=9),
    at=st.integers(0),
    source=st.sampled_from(Source),
    text=st.text(max_size=30),
    trust=st.sampled_from(Trust),
    origin=st.none() | st.builds(Origin, channel=names, peer=names),
    depth=st.integers(0, 5),
    causes=st.lists(names, max_size=2).map(tuple),
    attachments=st.lists(st.builds(Attachment, name=names, digest=names), max_size=2).map(tuple),
    client_id=st.none() | names,
)


@given(messages)
def test_a_message_comes_back_from_json_as_it_was(message: Message) -> None:
    assert msgspec.json.decode(to_json(message), type=Message) == message


def test_a_message_without_more_words_comes_from_the_operator() -> None:
    new = NewMessage(source=Source.OPERATOR, text="hello")
    assert (new.sender, new.requester, new.trust) == ("operator", "operator", Trust.OPERATOR)
