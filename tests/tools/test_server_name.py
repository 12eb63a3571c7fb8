"""Whom TLS asks for in a tunnel, by the first messages of a real client."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.tools.web.server_name import foreign_name


def hello(name: str | None) -> bytes:
    """What a client says first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        side.do_handshake()
    return outgoing.read()


@pytest.mark.slow
def test_a_tunnel_is_for_the_host_that_was_judged() -> None:
    said = hello("api.example.com")
    assert not foreign_name(said, "api.example.com")
    assert foreign_name(said, "other.example.com")
    assert not foreign_name(hello(None), "api.example.com")


def test_what_is_no_tls_is_left_alone_and_what_is_cut_short_is_not() -> None:
    first = hello("evil.test")
    assert not foreign_name(b"", "api.example.com")
    assert not foreign_name(b"SSH-2.0-x\r\n", "api.example.com")
    for size in range(1, len(first) - 1):
        assert foreign_name(first[:size], "api.example.com"), size


@given(st.binary(max_size=300))
def test_whatever_comes_it_is_read_or_refused(data: bytes) -> None:
    foreign_name(b"\x16" + data, "api.example.com")
