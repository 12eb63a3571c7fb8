"""Recording real exchanges: what is written replays what was said, at another time too, and holds no secret."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostinato.cli.model_commands import record_model
from ostinato.domain.chat import AssistantPart, ModelReply, Thought, ToolPart, Usage, UserPart
from ostinato.domain.errors import Conflict, Invalid
from ostinato.models.chat_model import Provider
from ostinato.models.http_transport import REPLY_MAX_BYTES
from ostinato.models.providers import DIALECTS
from ostinato.models.reply import RawCall, Whole
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.reading import parse_script, read_script
from ostinato.models.scripted.recorder import Recorder, Source
from ostinato.models.scripted.recording import Exchange, Refusal, Secrets, pattern_of, script_text
from ostinato.models.scripted.script import FaultKind, Result, Seen, plan
from ostinato.models.scripted.server import ScriptServer
from ostinato.models.scripted.template import escape_template, fill, parse_template
from ostinato.models.tool_names import wire_name
from tests.conftest import run
from tests.models.chats import texts, values
from tests.models.stage import Asker, RawServer, http, reply
from tests.models.stage import call as wire_call

CANARY = "canary/Key+4711=="
SCRIPT = """
rules:
  - when: {user: weather}
    thinking: "They ask."
    text: "I look for {user} with {{braces}} and canary/Key+4711=="
    calls: [{tool: files.read, args: {path: "canary/Key+4711==", n: 1, deep: {list: [1, null, "{{x}}"]}}}]
    usage: {input: 50, cached: 20, output: 7}
  - when: {tool: files.read, attempt: 1}
    fault:
      status: 529
      retry_after: 0
      body: '{"error": {"type": "overloaded_error", "message": "canary/Key+4711=="}}'
  - when: {tool: files.read}
    text: "It says: {result}"
"""


@asynccontextmanager
async def recording(real: ScriptServer, script: Path, dialect: str) -> AsyncIterator[Recorder]:
    provider = Provider(base_url=real.url, dialect=DIALECTS[dialect])
    recorder = Recorder(Source(provider=provider, key=CANARY), script)
    await recorder.start()
    try:
        yield recorder
    finally:
        await recorder.stop()


async def conversation(url: str, dialect: str, when: str, **settings: Any) -> list[ModelReply]:
    """Two calls and one failure in between, at some time."""
    asker = Asker(url, dialect=dialect, **settings)
    try:
        goal = UserPart(text=f"[T{len(when)} from operator, {when}] the weather? (a|b) {CANARY}")
        first = await asker.ask(parts=(goal,))
        call = first.calls[0]
        result = ToolPart(call_id=call.id, provider_id=call.provider_id, name=call.name, text=f"rain at {when}\n$1.50")
        reply = AssistantPart(text=first.text, calls=first.calls, thoughts=first.thoughts)
        return [first, await asker.ask(parts=(goal, reply, result), call=2)]
    finally:
        await asker.close()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_recording_replays_what_a_real_model_said_and_holds_no_secret(
    tmp_path: Path, dialect: str, stream: bool
) -> None:
    script = tmp_path / "recorded.yaml"

    async def main() -> None:
        real = ScriptServer(Player(parse_script(SCRIPT)))
        await real.start()
        async with recording(real, script, dialect) as recorder:
            said = await conversation(recorder.url, dialect, "2026-11-21T15:04+00:00", stream=stream)
        await real.stop()
        text = script.read_text()
        for form in (CANARY, quote(CANARY, safe=""), base64.b64encode(CANARY.encode()).decode()[:-2]):
            assert form not in text
        assert script.stat().st_mode & 0o777 == 0o600
        replaying = ScriptServer(Player(read_script(script)))
        await replaying.start()
        again = await conversation(replaying.url, dialect, "2027-02-03T04:05:06+01:00", stream=stream)
        await replaying.stop()
        assert [each.text for each in again] == [each.text.replace(CANARY, "***") for each in said]
        assert again[0].calls[0].arguments == {"path": "***", "n": 1, "deep": {"list": [1, None, "{x}"]}}
        assert again[0].usage == said[0].usage
        assert len(again[0].thoughts) == (1 if dialect == "anthropic" else 0)
        rules = read_script(script).rules
        assert [rule.answer.fault.kind if rule.answer.fault else None for rule in rules] == [
            None,
            FaultKind.STATUS,
            None,
        ]

    run(main())


def test_a_recording_without_an_exchange_leaves_nothing_and_overwrites_nothing(tmp_path: Path) -> None:
    script = tmp_path / "recorded.yaml"

    async def main() -> None:
        recorder = Recorder(Source(provider=Provider(base_url="http://127.0.0.1:1/v1")), script)
        await recorder.start()
        await recorder.stop()
        assert not script.exists()
        script.write_text("mine")
        with pytest.raises(Conflict, match="is there already"):
            await recorder.start()
        assert script.read_text() == "mine"

    run(main())


@pytest.mark.slow
def test_whatever_a_server_sends_holds_no_secret_and_can_be_read(tmp_path: Path) -> None:
    script = tmp_path / "recorded.yaml"
    own = "the_askers_own=4712"
    answers = (
        http(json.dumps(reply("a", calls=[wire_call(f"x{CANARY}", "{}")])).encode()),
        http(b"{}", status="429 Slow", headers=f"Retry-After: {CANARY}\r\n"),
        http(b"." * 3_990 + CANARY.encode(), status="500 Oops", kind="text/plain"),
        http(f"who is {own}?".encode(), status="401 No", kind="text/plain"),
        http(b"", status="999 What"),
        http(json.dumps(reply("x" * (REPLY_MAX_BYTES + 1))).encode()),
    )

    async def main() -> None:
        words: list[str] = []
        async with RawServer(*answers).open() as real:
            provider = Provider(base_url=real.url, dialect=DIALECTS["openai"])
            recorder = Recorder(Source(provider=provider, key=CANARY), script, told=words.append)
            await recorder.start()
            asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {own}"}) as session:
                for _ in answers:
                    async with session.post(f"{recorder.url}/chat/completions", json=asked) as answer:
                        await answer.read()
            await recorder.stop()
        text = script.read_text()
        assert CANARY[:8] not in text
        assert own not in text
        assert len(read_script(script).rules) == 4
        assert len(words) == 2, "what is too long, or no script can say, is told of"

    run(main())


def test_a_server_that_cannot_be_reached_is_said_so(tmp_path: Path) -> None:
    async def main() -> None:
        told: list[str] = []
        recorder = Recorder(
            Source(provider=Provider(base_url="http://127.0.0.1:1/v1")), tmp_path / "r.yaml", told=told.append
        )
        await recorder.start()
        try:
            asker = Asker(recorder.url)
            failure = await asyncio.wait_for(asker.fails(), 20)
            await asker.close()
            assert "502" in str(failure)
            assert "cannot be reached" in told[0]
        finally:
            await recorder.stop()

    run(main())


@pytest.mark.slow
def test_the_command_records_what_a_model_of_the_fleet_says(tmp_path: Path) -> None:
    toml = """
[models.real]
provider = "here"
model = "m"
base_url = "URL"
api_key_env = "REAL_KEY"
[models.script]
provider = "scripted"
script = "s.yaml"
[tiers]
cheap = "real"
"""

    async def main() -> None:
        real = ScriptServer(Player(parse_script("default: {text: 'my key is canary-4711 and my word is tülip!'}")))
        await real.start()
        (tmp_path / "ostinato.toml").write_text(toml.replace("URL", real.url))
        environment = {**os.environ, "REAL_KEY": "canary-4711", "WORD": "tülip!"}
        command = [sys.executable, "-m", "ostinato", "model", "record"]
        options = ["--to", str(tmp_path / "r.yaml"), "--secret", "WORD", "--fleet", str(tmp_path)]
        process = await asyncio.create_subprocess_exec(
            *command, "cheap", *options, env=environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        asker = Asker(url)
        assert (await asker.ask("hello")).text == "my key is canary-4711 and my word is tülip!"
        await asker.close()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert read_script(tmp_path / "r.yaml").rules[0].answer.text == parse_template(
            "my key is *** and my word is ***"
        )
        for model, words in (("script", "is a script already"), ("chaep", "Did you mean 'cheap'?")):
            with pytest.raises(Invalid, match=re.escape(words)):
                record_model(model, to=tmp_path / "other.yaml", fleet=tmp_path)
        await real.stop()

    run(main())


@settings(max_examples=40)
@given(texts)
def test_an_escaped_template_gives_the_text_as_it_was(text: str) -> None:
    for each in (text, "{" + text + "}", "{{" + text + "}}", "{user}" + text + "{{user|lower}}", "{{{item}}}"):
        assert fill(parse_template(escape_template(each)), {"user": "no", "item": "no"}) == each


@settings(max_examples=40)
@given(texts)
def test_a_pattern_matches_its_text_and_the_same_at_another_time(text: str) -> None:
    assert re.search(pattern_of(text), text)
    then, now = f"{text} T12 2026-01-01T00:00Z {'ab' * 16}", f"{text} T345 2027-12-31T23:59:59+01:00 {'cd' * 16}"
    assert re.search(pattern_of(then), now)
    assert not re.search(pattern_of(then), f"{now} and more")


calls = st.builds(
    RawCall,
    id=st.just("c"),
    name=st.sampled_from(["files__read", "ask"]),
    arguments=st.dictionaries(texts, values, max_size=3).map(json.dumps) | st.sampled_from(["", "{", "[]", "{x}"]),
)
wholes = st.builds(
    Whole,
    text=texts,
    calls=st.lists(calls, max_size=2).map(tuple),
    thoughts=st.lists(st.builds(Thought, model=st.just("m"), text=texts, signature=st.just("s")), max_size=1).map(
        tuple
    ),
    finish=st.sampled_from(["stop", "length", "content_filter", None]),
    usage=st.just(Usage(input_tokens=9, cached_tokens=2, output_tokens=3)),
)


@pytest.mark.slow
@settings(max_examples=25)
@example(Whole(text="a\x85b\u2028\r\n\ufeff c"), "\x85")
@given(wholes, texts)
def test_whatever_was_said_the_script_says_again(whole: Whole, asked: str) -> None:
    seen = Seen(model="m", user=(asked,), asked=(asked,))
    text = script_text([Exchange(seen=seen, reply=whole)], Secrets(()))
    found = plan(parse_script(text), seen, {})
    assert found.fault is None
    assert found.text == whole.text
    assert [call.tool for call in found.calls] == [wire_name(call.name) for call in whole.calls]
    for call, original in zip(found.calls, whole.calls, strict=True):
        try:
            expected = json.loads(original.arguments or "{}")
        except ValueError:
            assert call.arguments == original.arguments
        else:
            assert json.loads(call.arguments) == expected


def test_what_was_asked_again_is_answered_in_turn() -> None:
    seen = Seen(model="m", results=(Result(tool="ask", text="no"),), call=2)
    said = [Refusal(status=503), Whole(text="one"), Whole(text="two")]
    player = parse_script(script_text([Exchange(seen=seen, reply=each) for each in said], Secrets(())))
    counts: dict[str, int] = {}
    told = []
    for _ in range(4):
        found = plan(player, seen, counts)
        for name in found.counted:
            counts[name] = counts.get(name, 0) + 1
        told.append(found.text or (found.fault.status if found.fault else 0))
    assert told == [503, "one", "two", "two"]


@settings(max_examples=40)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40), texts, st.integers(0, 5))
def test_a_secret_is_found_in_every_disguise(secret: str, around: str, before: int) -> None:
    secrets = Secrets([secret])
    coded = base64.b64encode(b"x" * before + secret.encode() + b"yz").decode()
    for text in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert secret not in secrets.removed_from(around + text + around)
    assert secrets.removed_from(coded) != coded


def test_what_has_the_published_form_of_a_key_is_never_written() -> None:
    letters, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
    body = letters + digits
    keys = [
        "sk-" + body, "sk-ant-" + body, "gsk_" + body, "AIza" + body[:35], "Bearer " + body, "ghp_" + body,
        "github_pat_" + body, "glpat-" + letters, "xoxb-" + digits + "-" + letters, "AKIA" + letters[:16].upper(),
        "hf_" + body, "npm_" + body, "SG." + letters + "." + body, "eyJ" + letters + ".eyJ" + body + "." + letters,
        f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n{body}\n-----END RSA PRIVATE KEY-----", "ost_" + body,
        f"-----BEGIN PRIVATE KEY-----\n{body}", f"kim:{body}",
    ]  # fmt: skip
    for key in keys:
        text = Secrets(()).removed_from(f"It is https://{key}@example.com" if key.startswith("kim") else f"It is {key}")
        assert body[3:16] not in text.lower(), key
        assert "***" in text, key
    prose = "See https://example.com/a:b@c and the keyboard, T12, skills; hf_short, 12:30, mail a@b.example."
    assert Secrets(()).removed_from(prose) == prose
