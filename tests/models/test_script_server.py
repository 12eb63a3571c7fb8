"""A script over real HTTP: both forms of reply, each fault as the adapter meets it, the log, and the process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.chat import AssistantPart, ModelReply, ToolPart, UserPart
from ostinato.domain.errors import Conflict
from ostinato.models.port import ModelFailed
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.reading import parse_script
from ostinato.models.scripted.script import FaultKind
from ostinato.models.scripted.server import ScriptServer
from ostinato.testing.clock import ManualClock
from tests.conftest import run, wait_until
from tests.models.stage import IMPATIENT, Asker

READS = """
rules:
  - when: {user: 'inbox/(?P<file>\\S+)'}
    text: "Let me look into {file}, which may take a little while."
    calls:
      - {tool: files.read, args: {path: "inbox/{file}"}}
      - {tool: ask, args: {question: "Is {file} yours?"}}
  - when: {tool: files.read, result: 'dog'}
    text: "A dog: {result|excerpt:20}"
default: {text: "hm: {user}"}
"""


@asynccontextmanager
async def playing(
    script: str, *, log: Path | None = None, **settings: Any
) -> AsyncIterator[tuple[Asker, ScriptServer]]:
    """A script behind HTTP, and a model that asks it."""
    server = ScriptServer(Player(parse_script(script)), log=log)
    await server.start()
    asker = Asker(server.url, **settings)
    try:
        yield asker, server
    finally:
        await asker.close()
        await server.stop()
        await server.stop()


@pytest.mark.parametrize("stream", [True, False])
def test_a_conversation_goes_through_the_real_adapter(stream: bool) -> None:
    async def main() -> None:
        async with playing(READS, stream=stream) as (asker, _):
            first = await asker.ask("look into inbox/a.eml", listen=True)
            assert first.text == "".join(asker.heard) == "Let me look into a.eml, which may take a little while."
            assert len(asker.heard) == (3 if stream else 1)
            assert [(each.id, each.name, each.arguments) for each in first.calls] == [
                ("1.0", "files.read", {"path": "inbox/a.eml"}),
                ("1.1", "ask", {"question": "Is a.eml yours?"}),
            ]
            results = tuple(
                ToolPart(call_id=each.id, provider_id=each.provider_id, name=each.name, text="a dog and a cat")
                for each in first.calls
            )
            parts = (UserPart(text="look"), AssistantPart(text=first.text, calls=first.calls), *results)
            second = await asker.ask(parts=parts, call=2)
            assert second.text == "A dog: a dog and a cat"
            assert second.usage.input_tokens > first.usage.input_tokens > 0

    run(main())


FAULTS: dict[FaultKind, tuple[str, str]] = {
    FaultKind.STATUS: ("transient", "the server answered 503: gone fishing"),
    FaultKind.DROP: ("transient", "the server hung up without an answer"),
    FaultKind.HANG: ("transient", "given up after no answer"),
    FaultKind.TRUNCATE: ("transient", ""),
    FaultKind.MALFORMED: ("", "no JSON"),
    FaultKind.HTML: ("transient", "no JSON object (text/html)"),
    FaultKind.EMPTY: ("problem", "has no choices"),
    FaultKind.CUT_ARGUMENTS: ("call", "not valid JSON"),
    FaultKind.NAN: ("call", "not valid JSON"),
    FaultKind.DUPLICATE_IDS: ("problem", "share the id"),
    FaultKind.UNKNOWN_TOOL: ("tool", "no_such_tool"),
    FaultKind.ENDLESS: ("problem", "longer than 8 MiB"),
    FaultKind.HUGE: ("problem", "longer than 8 MiB"),
}


def faulty(kind: FaultKind) -> str:
    fault = "{status: 503, body: 'gone fishing'}" if kind is FaultKind.STATUS else kind.value
    return f'rules: [{{text: "some text", calls: [{{tool: ask, args: {{question: "why?"}}}}], fault: {fault}}}]'


def check(kind: FaultKind, found: ModelReply | ModelFailed, *, stream: bool) -> None:
    expected, words = FAULTS[kind]
    if expected == "":
        expected = "problem" if stream else "transient"
    if isinstance(found, ModelFailed):
        assert (found.error_class, words in str(found)) == (expected, True), str(found)
    elif expected == "problem":
        assert words in found.problem
        assert found.calls == ()
    elif expected == "call":
        assert found.calls[0].arguments is None
        assert words in found.calls[0].problem
    else:
        assert [each.name for each in found.calls] == ["ask", words]


async def asked(asker: Asker, clock: ManualClock) -> ModelReply | ModelFailed:
    task = asyncio.ensure_future(asker.ask())
    while not task.done():
        await asyncio.wait({task}, timeout=0.005)
        clock.jump()
    try:
        return task.result()
    except ModelFailed as error:
        return error


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", list(FaultKind))
def test_each_fault_is_met_by_the_adapter(kind: FaultKind, stream: bool) -> None:
    async def main() -> None:
        clock = ManualClock()
        timeouts = {"timeouts": IMPATIENT} if kind is FaultKind.HANG else {}
        async with playing(faulty(kind), stream=stream, clock=clock, **timeouts) as (asker, _):
            found = await asked(asker, clock)
            if kind is FaultKind.HTML and stream:
                assert isinstance(found, ModelFailed)
            check(kind, found, stream=stream)

    run(main())


def test_a_fault_at_the_first_attempt_is_gone_at_the_second() -> None:
    async def main() -> None:
        script = """
        rules: [{when: {attempt: 1}, fault: {status: 429, retry_after: 3}}]
        default: {text: fine}
        """
        clock = ManualClock()
        async with playing(script, clock=clock) as (asker, _):
            found = await asked(asker, clock)
            assert isinstance(found, ModelReply)
            assert found.text == "fine"
            assert [each.status for each in asker.attempts] == [429, 200]
            assert clock.elapsed_s() == 3.0

    run(main())


def test_what_no_rule_knows_is_an_error_that_quotes_it() -> None:
    async def main() -> None:
        async with playing("rules: [{when: {user: a}, text: b}]") as (asker, _):
            error = await asker.fails("Xyz zy")
            assert isinstance(error, ModelFailed)
            assert error.error_class == "permanent"
            assert "no rule of script matches the last message" in str(error)
            assert "'Xyz zy'" in str(error)

    run(main())


def test_delays_and_paces_are_kept() -> None:
    async def main() -> None:
        async with playing("default: {text: 'a few pieces of text, slowly', delay: 20ms, pace: 5ms}") as (asker, _):
            found = await asker.ask(listen=True)
            assert found.text == "a few pieces of text, slowly"
            assert asker.attempts[0].duration_ms >= 40

    run(main())


def test_each_request_is_a_line_of_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log.jsonl"
        log.write_text("{}\n")
        async with playing(READS, log=log) as (asker, _):
            await asker.ask("look into inbox/a.eml", user="T-7")
            await asker.ask("something else")
            await asker.ask("something else")
        lines = [json.loads(line) for line in log.read_text().splitlines()][1:]
        assert [(each["rule"], each["user"], each["attempt"], each["tools"]) for each in lines] == [
            ("1", "T-7", 1, ["files__read", "ask"]),
            ("default", "", 1, []),
            ("default", "", 2, []),
        ]
        assert lines[1]["digest"] == lines[2]["digest"] != lines[0]["digest"]
        assert lines[0]["at"] > 1_700_000_000_000_000

    run(main())


def get(url: str, data: bytes | None = None) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, data, timeout=120) as found:
            return found.status, json.loads(found.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_other_addresses_and_bad_requests_get_an_error_of_the_dialect() -> None:
    async def main() -> None:
        async with playing("models: [cheap, strong]\ndefault: {text: a}") as (_, server):
            root = server.url.removesuffix("/v1")
            cases: list[tuple[str, bytes | None, int]] = [
                ("/healthz", None, 200),
                ("/v1/models", None, 200),
                ("/v1/models/", None, 200),
                ("/", None, 404),
                ("/v1/embeddings", b"{}", 404),
                ("/v1/chat/completions", None, 405),
                ("/v1/models", b"{}", 405),
                ("/v1/chat/completions", b"", 400),
                ("/v1/chat/completions", b"{", 400),
                ("/v1/chat/completions", b"[" * 100_000, 400),
                ("/v1/chat/completions", b'{"model": "m", "messages": 5}', 400),
                ("/v1/chat/completions", b'{"model": "m", "messages": [{}]}', 400),
                ("/v1/chat/completions", b'{"messages": []}', 400),
                ("/v1/chat/completions", b'{"model": "m", "messages": []}', 200),
            ]
            for path, data, status in cases:
                found = await asyncio.to_thread(get, root + path, data)
                assert found[0] == status, (path, data, found)
                assert status == 200 or found[1]["error"]["message"]
            _, models = await asyncio.to_thread(get, f"{server.url}/models")
            assert [each["id"] for each in models["data"]] == ["cheap", "strong"]

    run(main())


def test_a_port_that_is_taken_is_a_conflict_with_a_cure(tmp_path: Path) -> None:
    async def main() -> None:
        async with playing("default: {text: a}") as (_, server):
            other = ScriptServer(Player(parse_script("default: {text: a}")))
            with pytest.raises(Conflict, match="Choose another port"):
                await other.start(port=server.port)
            with pytest.raises(Conflict):
                await other.start(port=99_999)
            unwritable = ScriptServer(Player(parse_script("default: {text: a}")), log=tmp_path)
            with pytest.raises(Conflict):
                await unwritable.start()

    run(main())


# --- as a process -------------------------------------------------------------------------------------------------


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ostinato.models.scripted", *map(str, arguments)]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_script_is_a_process_that_says_its_port_and_ends_in_order(tmp_path: Path, ending: signal.Signals) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("default: {text: 'you said {user}'}")
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        command(script, "--port", "0", "--port-file", port_file, "--log", tmp_path / "log"), stdout=subprocess.PIPE
    )
    try:
        port = int(wait_until(lambda: port_file.exists() and port_file.read_text()))
        request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        _, found = get(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(request).encode())
        assert found["choices"][0]["message"]["content"] == "you said hi"
        assert json.loads((tmp_path / "log").read_text())["rule"] == "default"
    finally:
        process.send_signal(ending)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out.decode() == f"http://127.0.0.1:{port}/v1\n"
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("port")] == ["port"]


@pytest.mark.slow
def test_a_wrong_script_ends_the_process_with_one_clear_line(tmp_path: Path) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("rules:\n  - txet: a\n")
    done = subprocess.run(command(script), capture_output=True, text=True, timeout=120, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"{script}:2, key 'rules[1].txet': Unknown key 'txet'.")
    assert done.stderr.count("\n") == 1
