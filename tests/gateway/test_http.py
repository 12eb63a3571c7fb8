"""The edge: whatever comes over the socket gets a clear answer below 500, and valid requests work afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.person import NewToken, Role, token_digest
from ostinato.gateway.operation import DEPTH_MAX, AnyRoute, Operation, Stream, read_request
from ostinato.gateway.registry import route_named, routes
from ostinato.gateway.server import SOCKET_NAME, listen, socket_address
from ostinato.store.port import Tx
from tests.conftest import FULL, run
from tests.gateway.ground import NOW, ask, ask_for, ground, served

POSTS = [each for each in routes() if each.method == "POST"]
GETS = [each for each in routes() if each.method == "GET"]

BODIES: dict[str, Callable[[], bytes]] = {
    "cut off": lambda: b'{"title": "x"',
    "no JSON": lambda: b"title=x",
    "not a number": lambda: b'{"title": NaN}',
    "endless": lambda: b'{"title": Infinity, "priority": 1e999}',
    "deep list": lambda: b"[" * 100_000 + b"]" * 100_000,
    "deep object": lambda: b'{"input":' * 5_000 + b"1" + b"}" * 5_000,
    "just too deep": lambda: b'{"input":{"a":' + b"[" * (DEPTH_MAX + 2) + b"]" * (DEPTH_MAX + 2) + b"}}",
    "a list": lambda: b"[1, 2]",
    "a text": lambda: b'"hello"',
    "null": lambda: b"null",
    "null keys": lambda: b'{"title": null, "task": null, "agent": null, "text": null, "question": null, "name": null}',
    "numbers for texts": lambda: b'{"title": 1, "agent": 2, "text": 3, "reason": 4, "file": 5, "name": 6}',
    "lists for texts": lambda: b'{"title": [], "agent": [], "text": [], "reason": [], "file": [], "name": []}',
    "objects for texts": lambda: b'{"title": {}, "agent": {}, "text": {}, "reason": {}, "file": {}, "name": {}}',
    "huge number": lambda: b'{"priority": 99999999999999999999999999, "title": "x", "agent": "clerk"}',
    "half a character": lambda: b'{"title": "\\ud800", "text": "\\ud800", "reason": "\\udfff", "agent": "clerk"}',
    "broken UTF-8": lambda: b'{"title": "\xff\xfe", "text": "\xff"}',
    "UTF-16": lambda: '{"title": "x"}'.encode("utf-16"),
    "nothing but spaces": lambda: b'{"title": "", "text": "", "agent": "", "name": "", "file": ""}',
    "unknown key": lambda: b'{"titel": "x"}',
    "key of another type": lambda: b'{"__class__": {"x": 1}, "constructor": 1}',
    "too long": lambda: b'{"title": "' + b"x" * 2_000_000 + b'"}',
    "long text": lambda: b'{"title": "' + b"x" * 300_000 + b'", "text": "' + b"x" * 300_000 + b'"}',
    "many keys": lambda: msgspec.json.encode({f"k{number}": 1 for number in range(5_000)}),
    "controls": lambda: b'{"agent": "a\\u0000b", "title": "a\\u0000b\\u001b[2J", "name": "\\u202e", "file": "\\u0000"}',
    "paths": lambda: b'{"agent": "../../etc", "name": "../x", "file": "/proc/self/mem", "title": "x", "text": "x"}',
}

QUERIES = {
    "unknown key": "limt=3",
    "twice": "limit=3&limit=4",
    "no number": "limit=many",
    "negative": "limit=-1",
    "too many": "limit=99999999999999999999",
    "empty": "limit=",
    "not a number": "limit=NaN",
    "broken escapes": "agent=%ff%fe",
    "NUL": "before=%00",
    "no id": "before=T12x",
    "zero": "before=T0",
    "huge id": "before=T99999999999999999999",
    "other digits": "before=T%D9%A1%D9%A2",
    "no time": "since=yesterday",
    "year 99999": "since=99999-01-01T00:00:00Z",
    "no zone": "since=2026-01-01T00:00:00",
    "endless time": "since=1e400d",
    "brackets": "state[]=x&a[b]=c",
}

PATHS = {
    "no id": "x",
    "NUL": "%00",
    "huge": "9" * 5_000,
    "traversal": "..%2f..%2fetc",
    "broken": "%ff",
    "bidi": "%e2%80%ae",
    "space": "%20",
    "dots": "..",
}


def filled(path: str, value: str) -> str:
    """A route's path with `value` in the place of each field."""
    return "/".join(value if part.startswith("{") else part for part in path.split("/"))


def check_refusal(status: int, data: bytes, *, what: object) -> None:
    """Below 500, and in words; 200 is fine where the input happens to mean something."""
    assert 200 <= status < 500, (what, status, data)
    if status != 200 and not data.startswith(b"Invalid HTTP request"):
        error = msgspec.json.decode(data)["error"]
        assert set(error) == {"code", "message", "place", "cure"}, what
        assert error["message"], what
        assert "Traceback" not in error["message"]


@pytest.mark.slow
def test_hostile_bodies_queries_and_paths_never_break_anything(tmp_path: Path) -> None:
    def attack(folder: Path) -> int:
        tried = 0
        for route in POSTS:
            for family, body in BODIES.items():
                target = filled(route.path, "T1" if "task" in route.path else "clerk")
                check_refusal(*ask(folder, "POST", target, body=body()), what=(route.name, family))
                tried += 1
        for route in GETS:
            if not isinstance(route, Operation):
                continue
            for family, query in QUERIES.items():
                target = f"{filled(route.path, 'T1')}?{query}"
                check_refusal(*ask(folder, "GET", target), what=(route.name, family))
                tried += 1
        for route in routes():
            for family, value in PATHS.items():
                if not route.path_keys:
                    continue
                body = b"{}" if route.method == "POST" else None
                check_refusal(
                    *ask(folder, route.method, filled(route.path, value), body=body), what=(route.name, family)
                )
                tried += 1
        return tried

    async def go() -> tuple[int, int, Any]:
        async with ground(tmp_path / "fleet") as made, served(made):
            tried = await asyncio.to_thread(attack, made.folder)
            fields = {"title": "Still there", "agent": "clerk"}
            status, answer = await asyncio.to_thread(ask_for, made.folder, route_named("tasks.add"), fields)
            return tried, status, answer

    tried, status, answer = run(go(), timeout_s=120.0)
    assert tried > 1_000
    assert (status, answer["title"]) == (200, "Still there")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
KEYS = sorted({field.encode_name for route in POSTS for field in msgspec.structs.fields(route.request)})


@pytest.mark.slow
@settings(max_examples=600 if FULL else 150)
@given(st.sampled_from(routes()), st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), JSON, max_size=6))
def test_any_request_is_read_or_refused_with_a_place(route: Any, fields: dict[str, Any]) -> None:
    places = []
    try:
        assert isinstance(read_request(route, fields), route.request)
    except Invalid as error:
        places.append(error.place)
    assert all(place.startswith("request") for place in places)


RAW = {
    "nonsense": b"\x00\x01\x02\x03 hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "no version": b"GET /\r\n\r\n",
    "endless header": b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    "wrong length": b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n{}",
    "two lengths": b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "both ways": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "hung up": b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{",
    "huge chunk": b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\nx",
}


@pytest.mark.slow
def test_raw_nonsense_on_the_socket_is_survived(tmp_path: Path) -> None:
    def send(folder: Path, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
            opened.settimeout(5.0)
            with socket_address(folder / ".ostinato") as address:
                opened.connect(address)
            try:
                opened.sendall(data)
                opened.shutdown(socket.SHUT_WR)
                return opened.recv(1_000)
            except ConnectionError:
                return b""

    async def go() -> list[bytes]:
        async with ground(tmp_path / "fleet") as made, served(made):
            replies = [await asyncio.to_thread(send, made.folder, data) for data in RAW.values()]
            assert (await asyncio.to_thread(ask, made.folder, "GET", "/healthz"))[0] == 200
            return replies

    for reply in run(go()):
        assert not reply.startswith(b"HTTP/1.1 5"), reply


def test_a_body_must_say_that_it_is_json_and_a_path_must_exist(tmp_path: Path) -> None:
    async def go() -> list[tuple[int, bytes]]:
        async with ground(tmp_path / "fleet") as made, served(made):
            return [
                await asyncio.to_thread(
                    ask, made.folder, "POST", "/api/v1/tasks", body=b'{"title":"x"}', content_type="text/plain"
                ),
                await asyncio.to_thread(ask, made.folder, "GET", "/api/v1/taks"),
                await asyncio.to_thread(ask, made.folder, "PUT", "/api/v1/tasks", body=b"{}"),
                await asyncio.to_thread(ask, made.folder, "GET", "/api/v1/tasks", body=b"{}"),
                await asyncio.to_thread(ask, made.folder, "POST", "/api/v1/tasks?title=x", body=b"{}"),
                await asyncio.to_thread(ask, made.folder, "POST", "/api/v1/tasks/T1/cancel", body=b'{"task":"T2"}'),
            ]

    typed, missing, method, body, query, twice = run(go())
    assert [each[0] for each in (typed, missing, method, body, query, twice)] == [422, 404, 405, 422, 422, 422]
    assert b"Did you mean '/api/v1/tasks'" in missing[1]
    assert b"It takes: GET, POST" in method[1]


@pytest.mark.slow
def test_every_route_asks_for_its_role_before_it_looks_at_anything_else(tmp_path: Path) -> None:
    """No token, a weaker one, an unknown and a revoked one, for every operation and stream there is."""
    secrets = {role: f"ost_{role.word}" for role in Role}

    def said(folder: Path, route: AnyRoute, token: str) -> int:
        target = re.sub(r"\{\w+\}", "1", route.path)
        body = b"{}" if route.writes and route.method != "DELETE" else None
        return ask(folder, route.method, target, body=body, authorization=token)[0]

    async def go() -> None:
        async with ground(tmp_path / "fleet", past=False) as made, served(made):

            def people(tx: Tx) -> None:
                for role, secret in secrets.items():
                    tx.add_token(NewToken(person="p", role=role, digest=token_digest(secret)), actor="x", now=NOW)
                gone = tx.add_token(NewToken(person="g", role=Role.ADMIN, digest=token_digest("ost_gone")), actor="x",
                                    now=NOW)  # fmt: skip
                tx.revoke_token(gone.id, actor="x", now=NOW)

            await made.store.run(people)
            for route in routes():
                if isinstance(route, Stream) and not route.writes:
                    continue  # it would be followed for ever; its refusal is the same code
                for token in ("Bearer ost_other", "Bearer ost_gone", "Basic YTpi", "nonsense"):
                    assert await asyncio.to_thread(said, made.folder, route, token) == 401, (route.name, token)
                for role in Role:
                    if role < route.role:
                        got = await asyncio.to_thread(said, made.folder, route, f"Bearer {secrets[role]}")
                        assert got == 403, (route.name, role)
                if route.role > Role.VIEWER:
                    assert await asyncio.to_thread(said, made.folder, route, "") == 403, route.name

    run(go())


def test_the_socket_is_the_owners_alone_however_deep_the_folder(tmp_path: Path) -> None:
    deep = tmp_path
    while len(os.fsencode(deep)) < 160:
        deep = deep / ("d" * 40)
    deep.mkdir(parents=True, mode=0o700)
    with listen(deep):
        assert stat.S_IMODE((deep / SOCKET_NAME).lstat().st_mode) == 0o600
        with listen(deep):  # what is left of a dead node is replaced
            pass


def test_the_socket_is_not_made_where_others_can_write_or_in_the_place_of_a_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(Invalid, match="Others can write"):
        listen(tmp_path)
    tmp_path.chmod(0o700)
    (tmp_path / SOCKET_NAME).write_text("precious")
    with pytest.raises(Conflict, match="something else"):
        listen(tmp_path)
    assert (tmp_path / SOCKET_NAME).read_text() == "precious"
