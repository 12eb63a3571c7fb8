"""A canary in every secret, and a whole node whose model, commands, servers and provider try to let it out.

It must be nowhere: not in a byte of the fleet's folder, not in a line of the log, not in an answer of the API, not on a
command line. The same tricks get out where values are not known.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.agents.live import LiveText
from ostinato.app import FleetApp, call_here
from ostinato.domain.secret import (
    CHARS_MIN,
    KNOWN,
    STARS,
    VALUES_MAX,
    Redactor,
    Secret,
    StreamRedactor,
    is_weak,
)
from ostinato.domain.task import NewTask, TaskKind, TaskSpec
from ostinato.engine import vault
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.operation import Operation, read_request
from ostinato.gateway.registry import routes
from tests.agents.fleet import write_fleet
from tests.conftest import FULL, run
from tests.sandbox.ground import ORDINARY

TEXTS = st.text(max_size=30)
CROWD = {f"Ünlike-{number * 7_919:06}/{'abcdefghij'[number % 10] * 9}" for number in range(60)}
MANY = Redactor([Secret(each, each) for each in sorted(CROWD)])
"""Knows more than it would look for one by one."""

TOOLS = """---
allow: [exec.run, http.get, http.post, web.read, files.write, files.read, memory.note, message.send, tasks.create]
files: {{write: ["notes/"]}}
exec: {{commands: [python3, "sh"], timeout: 30s}}
network: ["localhost:{port}"]
recipients: [operator]
secrets: [CANARY]
credentials:
  localhost:{port}: {{Authorization: "Basic ${{{{ secrets.CANARY }}}}"}}
---
"""
AGENTS = "---\ngates_off: [irreversible, outward, taint, memory]\nlimits: {identical: 100}\n---\n"
FLEET = """
[fleet]
name = "canaries"
model = "script"
[models.script]
provider = "scripted"
model = "script"
script = "model.yaml"
in_process = true
[models.real]
provider = "openai"
model = "gpt"
base_url = "http://127.0.0.1:{port}/v1"
api_key_env = "PROVIDER_CANARY"
"""
READ = "import os, sys, base64, json, urllib.parse, html; v = os.environ['CANARY']; r = v.encode(); "
SPOKEN = {
    "as it is": ("print(v)", lambda v: v),
    "on the error stream": ("print(v, file=sys.stderr)", lambda v: v),
    "in a traceback": ("raise ValueError(v)", lambda v: v),
    "in pieces that arrive one by one": ("[(sys.stdout.write(c), sys.stdout.flush()) for c in v]", lambda v: v),
    "base64": ("print(base64.b64encode(r).decode())", lambda v: _b64(v)),
    "base64 behind one byte": ("print(base64.b64encode(b'u' + r).decode())", lambda v: _b64(v, before="u")[2:-4]),
    "base64 behind two bytes": ("print(base64.b64encode(b'u:' + r).decode())", lambda v: _b64(v, before="u:")[3:-4]),
    "base64 for addresses": ("print(base64.urlsafe_b64encode(r).decode())", lambda v: _b64(v).translate(_SAFE)),
    "hexadecimal": ("print(r.hex())", lambda v: v.encode().hex()),
    "HEXADECIMAL": ("print(r.hex().upper())", lambda v: v.encode().hex().upper()),
    "hexadecimal with colons": ("print(r.hex(':'))", lambda v: v.encode().hex(":")),
    "hexadecimal with spaces": ("print(r.hex(' '))", lambda v: v.encode().hex(" ")),
    "as an address": ("print(urllib.parse.quote(v, safe=''))", lambda v: quote(v, safe="")),
    "as a form": ("print(urllib.parse.urlencode({'v': v}))", lambda v: quote(v, safe="")),
    "as JSON": ("print(json.dumps({'v': v}))", lambda v: v[:12]),
    "as HTML": ("print(html.escape(v))", lambda v: v[:12]),
    "backwards": ("print(v[::-1])", lambda v: v[::-1]),
    "at the end of much": ("print('x' * 200000); print(v)", lambda v: v),
    "between much": ("print('x' * 700000 + v + 'y' * 700000)", lambda v: v),
    "many times": ("print(v * 100)", lambda v: v * 2),
}
"""How a command says what it was given -> code, and what of it would be found."""

_SAFE = str.maketrans("+/", "-_")
Canaries = tuple[str, str]


def _b64(value: str, *, before: str = "") -> str:
    return base64.b64encode((before + value).encode()).decode()


def script(canary: str, port: int) -> str:
    """A model that tries everything in one reply, then says the value itself."""
    codes = {name: code for name, (code, _) in SPOKEN.items()}
    apart = [codes.pop(name) for name in ("in a traceback", "at the end of much", "between much")]
    codes["into a file"] = "open('leak', 'w').write(v)"
    calls: list[dict[str, Any]] = [
        {"tool": "exec.run", "args": {"argv": ["python3", "-c", READ + code], "secrets": ["CANARY"]}}
        for code in ("; print(); ".join(codes.values()), *apart)
    ]
    calls += [
        {
            "tool": "exec.run",
            "args": {"argv": ["python3", "-c", READ + "open('leak', 'w').write(v)"], "secrets": ["CANARY"]},
        },
        {"tool": "http.get", "args": {"url": f"http://localhost:{port}/echo"}},
        {"tool": "http.get", "args": {"url": f"http://localhost:{port}/echo?v={quote(canary, safe='')}"}},
        {"tool": "http.get", "args": {"url": f"http://{canary}/"}},
        {"tool": "http.post", "args": {"url": f"http://localhost:{port}/echo", "json": {canary: canary}}},
        {"tool": "web.read", "args": {"url": f"http://localhost:{port}/page"}},
        {"tool": "files.write", "args": {"path": "notes/a.md", "text": f"it is {canary}, {_b64(canary)}"}},
        {"tool": "memory.note", "args": {"text": f"remember {canary}"}},
        {"tool": "message.send", "args": {"to": "operator", "text": f"psst {canary}"}},
        {"tool": "tasks.create", "args": {"title": f"try {canary}", "agent": "helper"}},
        {"tool": f"x.{canary}", "args": {}},
        {"tool": "files.read", "args": {"path": canary, "lines": canary}},
    ]
    second = [{"tool": "files.read", "args": {"path": "leak"}}]
    rules = [
        {"when": {"user": "try "}, "text": f"the child says {canary}"},
        {"when": {"call": 1}, "text": f"calling with {canary}", "calls": calls},
        {"when": {"call": 2}, "calls": second},
    ]
    return json.dumps({"rules": rules, "default": {"text": f"done, it was {canary} or {_b64(canary)}"}})


@contextlib.asynccontextmanager
async def echo(state: dict[str, str]) -> AsyncIterator[int]:
    """A server that says back whatever it was told, also as a provider of models."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            kind, status, text = "application/json", 200, json.dumps({"head": head, "b64": _b64(head)})
            if " /v1/" in head:
                status, text = 401, json.dumps({"error": {"message": f"bad key {head} {_b64(state['provider'])}"}})
            elif " /page" in head:
                kind, text = "text/html", f"<title>{state['canary']}</title><p>{head}</p>"
            body = text.encode()
            start = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nX-Echo: {state['canary']}\r\n"
            writer.write(f"{start}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fleet's folder that its owner can reach."""
    made = Path(tempfile.mkdtemp(prefix="ostinato-canaries-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


class Lines(threading.Thread):
    """Looks at every command line of the machine while the node works."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        """Until it is told that all is over."""
        while not self.ended.wait(0.03):
            for each in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(each.read_bytes())


def furnish(folder: Path, files: dict[str, str], model: str) -> None:
    """Writes the fleet, and gives it to a user as whom commands may run."""
    write_fleet(folder, files)
    (folder / "model.yaml").write_text(model)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)


async def added(app: FleetApp, title: str, agent: str) -> int:
    """A new task, by its number."""
    assert app.store is not None
    new = NewTask(kind=TaskKind.GOAL, title=title, agent=agent, spec=TaskSpec(goal=title))
    return (await app.store.run(lambda tx: tx.add_task(new, now=app.clock.now()))).id


def left(folder: Path) -> dict[str, bytes]:
    """Every file of the fleet, but for those that hold it by the test's own will."""
    (folder / "model.yaml").unlink()
    (folder / "agents/helper/leak").unlink(missing_ok=True)  # a command may write what it was given into its folder
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def told(folder: Path, canaries: Canaries, *, ask: bool = True) -> dict[str, bytes]:
    """Lets a node do all of that, and gathers whatever anybody could read of it afterwards: place -> bytes."""
    output, lines = io.StringIO(), Lines()
    async with echo({"canary": canaries[0], "provider": canaries[1]}) as port:
        files = {
            "ostinato.toml": FLEET.format(port=port),
            "model.yaml": "default: {text: nothing}\n",
            "agents/helper/TOOLS.md": TOOLS.format(port=port),
            "agents/helper/AGENTS.md": AGENTS,
            "agents/helper/SOUL.md": "You help.\n",
            "agents/real/AGENTS.md": "---\nmodel: real\n---\n",
            "agents/real/SOUL.md": "You ask a provider.\n",
        }
        await asyncio.to_thread(furnish, folder, files, script(canaries[0], port))
        app = FleetApp(folder, log=LogLines(output))
        lines.start()
        await app.start()
        assert app.node is not None
        try:
            ids = [await added(app, f"find {canaries[0]}", "helper"), await added(app, "ask", "real")]
            for each in ids:
                await app.node.completions.wait(each)
        finally:
            await app.stop()
            lines.ended.set()
    found = await asyncio.to_thread(left, folder)
    assert len(found) > 8
    found |= {"the log": output.getvalue().encode(), "command lines": b"\n".join(lines.seen)}
    for route in routes() if ask else ():
        if isinstance(route, Operation) and route.method == "GET":
            for fields in ({},) if not route.path_keys else tuple({"task": f"T{each}"} for each in ids):
                with contextlib.suppress(Exception):  # what asks for more than that is not asked here
                    found[f"{route.name} {fields}"] = msgspec.json.encode(
                        await asyncio.to_thread(call_here, folder, route, read_request(route, fields))
                    )
    return found


def leaks(found: dict[str, bytes], canary: str) -> dict[str, set[str]]:
    """Trick -> the places in which its spelling stands."""
    out: dict[str, set[str]] = {}
    for name, (_, spelled) in SPOKEN.items():
        form = spelled(canary)
        for place, data in found.items():
            if form.encode() in data or json.dumps(form)[1:-1].encode() in data:
                out.setdefault(name, set()).add(place)
    return out


@pytest.mark.slow
def test_no_canary_is_found_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = ('CANARY-7c1f"&<+/9e', "PROVIDER-canary-5b2a8")
    monkeypatch.setenv("CANARY", canaries[0])
    monkeypatch.setenv("PROVIDER_CANARY", canaries[1])
    vault.learn(("CANARY",))  # the test's own task names it, before any agent has begun
    found = run(told(folder, canaries), timeout_s=60)
    assert leaks(found, canaries[0]) == {}
    assert leaks(found, canaries[1]) == {}
    together = b"\n".join(found.values())
    for each in canaries:
        assert each[:12].encode() not in together
        assert each[-10:].encode() not in together
    assert b"***" in found[".ostinato/ostinato.db"] + found.get(".ostinato/ostinato.db-wal", b"")
    assert b'"text":"' in found["the log"]


@pytest.mark.slow
def test_where_values_are_not_known_nearly_all_of_it_gets_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = ('OTHER-3d9b0a"&<+/77', "UNKNOWN-canary-1c6e4")
    monkeypatch.setattr(Redactor, "learn", lambda _self, _secret: None)
    monkeypatch.setenv("CANARY", canaries[0])
    monkeypatch.setenv("PROVIDER_CANARY", canaries[1])
    out = leaks(run(told(folder, canaries, ask=False), timeout_s=60), canaries[0])
    assert len(out) > 0.95 * len(SPOKEN), sorted(set(SPOKEN) - set(out))


@pytest.mark.slow
@given(st.text(min_size=CHARS_MIN, max_size=40), st.text(max_size=30), st.text(max_size=30), st.integers(1, 7))
def test_nothing_of_a_secret_is_left_however_a_stream_is_cut(value: str, before: str, after: str, size: int) -> None:
    redactor = Redactor([Secret("X", value)])
    whole, stream = before + value + after, StreamRedactor(redactor)
    pieces = [stream.feed(whole[at : at + size]) for at in range(0, len(whole), size)]
    said = "".join([*pieces, stream.rest()])
    if value not in "***" and "***" not in value:
        assert value not in said
    assert value not in redactor.text(whole) or value in "***"


@given(st.text(min_size=CHARS_MIN, max_size=20), st.binary(max_size=30), st.binary(max_size=30), st.data())
def test_no_part_of_a_secret_is_left_beside_a_gap(value: str, head: bytes, tail: bytes, data: st.DataObject) -> None:
    redactor = Redactor([Secret("X", value)])
    form = data.draw(st.sampled_from(redactor.forms))
    begun, ends = (form[: data.draw(st.integers(1, len(form) - 1))] for _ in range(2))
    before, after = redactor.edges(head + begun, form[len(form) - len(ends) :] + tail)
    assert (len(before), len(after)) == (len(head + begun), len(ends + tail))
    assert before.endswith(b"*" * len(begun))
    assert after.startswith(b"*" * len(ends))


@settings(max_examples=200 if FULL else 8)
@given(st.data())
def test_of_very_many_secrets_each_is_taken_out_as_if_it_were_the_only_one(data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(sorted(CROWD)))
    spelling = data.draw(st.sampled_from([value, value[::-1], value.encode().hex(), json.dumps(f"é{value}")[1:-1]]))
    before, after = data.draw(TEXTS), data.draw(TEXTS)
    alone = Redactor([Secret("X", value)])
    for text in (before + after, before + spelling + after, f"{before} {' '.join(spelling)} {after}"):
        assert MANY.text(text) == alone.text(text)
        assert MANY.row((1, text, None)) == alone.row((1, text, None))
        for stored in (text, text.encode(errors="surrogatepass")):
            assert MANY.stored(stored) == alone.stored(stored)


def test_a_secret_that_is_renewed_every_hour_makes_nothing_slower_after_weeks() -> None:
    redactor = Redactor()
    for number in range(50):
        redactor.learn(Secret("ALWAYS", "the-same-one-0815"))
        redactor.learn(Secret("RENEWED", f"token-of-hour-{number:04}"))
    assert len(redactor.forms) < 40 * VALUES_MAX
    kept = ["the-same-one-0815", *(f"token-of-hour-{50 - age:04}" for age in range(1, VALUES_MAX + 1))]
    assert all(redactor.text(each) == STARS for each in kept)


def test_two_threads_that_learn_secrets_at_once_forget_none() -> None:
    redactor = Redactor()
    values = [f"value-{number:03}-of-many" for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: redactor.learn(Secret(each, each)), values))
    assert {redactor.text(each) for each in values} == {STARS}


def test_a_secret_as_long_as_a_file_is_looked_for_beside_a_gap_in_no_time() -> None:
    value = "".join(f"{number:05}" for number in range(13_000))
    redactor = Redactor([Secret("X", value)])
    began_s = time.process_time()
    head, _ = redactor.edges(b"x" * 100_000 + value[:50_000].encode(), b"y" * 100_000)
    assert head == b"x" * 100_000 + b"*" * 50_000
    assert time.process_time() - began_s < 10.0  # 0.2 s are usual; comparing at every length takes a minute


def test_quotes_and_accents_hide_no_value_however_programs_write_them() -> None:
    value = 'pass/9+x"y\\z=<Q>é-0001'
    redactor = Redactor([Secret("KEY", value)])
    inner = (json.dumps({"k": value}), json.dumps({"k": value}, ensure_ascii=False))
    spelled = [*inner, *map(json.dumps, inner), *(json.dumps(each, ensure_ascii=False) for each in inner)]
    spelled += [repr(value), ascii(value), repr(value.encode()), value.encode("unicode_escape").decode()]
    for each in spelled:
        left = redactor.text(f"it is {each}")
        assert "***" in left, each
        assert "pass" not in left, each
        assert "0001" not in left, each


def test_a_live_text_is_told_without_the_secret_and_to_its_end() -> None:
    KNOWN.learn(Secret("LIVE", "live-Secret-4711-x"))
    heard: list[str] = []
    live = LiveText()
    live.watch("s", heard.append)
    listener = live.listener("s")
    assert listener is not None
    for each in "it is live-Secret-4711-x, and this ends with live-Sec":
        listener(each)
    listener.end()
    assert "".join(heard) == "it is ***, and this ends with live-Sec"


def test_a_secret_can_neither_be_shown_nor_written_down() -> None:
    import copy
    import pickle

    secret = Secret("X", "value-of-it-123")
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>5}",
        repr([secret]),
        str({"a": secret}),
    ]
    assert not any("value" in each for each in shown)
    for write in (pickle.dumps, msgspec.json.encode, msgspec.to_builtins, json.dumps, vars):
        with pytest.raises((TypeError, NotImplementedError)):
            write(secret)
    assert copy.deepcopy(secret) is secret
    assert secret.reveal() == "value-of-it-123"
    assert secret == Secret("Y", "value-of-it-123")
    with pytest.raises(TypeError):
        hash(secret)


@pytest.mark.parametrize("value", ["short", "password", "two words", "123456789"])
def test_what_stands_in_any_text_by_chance_does_not_garble_what_is_stored(value: str) -> None:
    assert is_weak(value)
    redactor = Redactor([Secret("X", value)])
    assert redactor.stored(f"a {value} b") == f"a {value} b"


@given(st.text(min_size=16, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_the_net_under_the_store_catches_a_strong_value_in_texts_and_in_bytes(
    value: str, before: str, after: str
) -> None:
    redactor = Redactor([Secret("X", value)])
    if is_weak(value):
        return
    whole = before + value + after
    assert value not in redactor.stored(whole) or value in STARS + before + after
    assert value.encode() not in redactor.stored(whole.encode()) or value in STARS + before + after
    assert redactor.stored(5) == 5
    assert redactor.stored(None) is None
