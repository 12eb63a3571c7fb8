"""Models through pydantic-ai: real ones of that library, asking the script server in both dialects."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from ostinato.domain.chat import (
    AssistantPart,
    HttpAttempt,
    ModelReply,
    ModelRequest,
    StopReason,
    SystemPart,
    ToolPart,
    Usage,
    UserPart,
)
from ostinato.engine.clock import SystemClock
from ostinato.models.catalogue import FleetModels
from ostinato.models.dialect import names_of
from ostinato.models.port import Model, ModelFailed
from ostinato.models.pydantic_ai.chat import messages_of, parameters_of
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.reading import parse_script
from ostinato.models.scripted.server import ScriptServer
from ostinato.models.settings import ModelSettings, Timeouts
from ostinato.testing.clock import ManualClock
from tests.conftest import FULL, run
from tests.models import malformed, malformed_anthropic
from tests.models.chats import requests
from tests.models.stage import TOOLS, Answer, RawServer, call, http, reply

pytestmark = pytest.mark.slow

SCRIPT = """
rules:
  - when: {user: weather, system: brief}
    thinking: "They ask for {user}"
    text: "I look."
    calls: [{tool: files.read, args: {path: "weather.txt"}}]
    usage: {input: 100, cached: 60, output: 7}
  - when: {tool: files.read}
    text: "It says: {result}"
  - when: {user: broken}
    calls: [{tool: files.read, raw: '{"path": '}]
  - when: {user: busy}
    fault: {status: 529, retry_after: 30}
  - when: {user: drop}
    fault: drop
  - when: {user: hang}
    fault: hang
default: {text: "hm"}
"""

NAMES = ("openai-chat", "anthropic")


@asynccontextmanager
async def asking(name: str, tmp_path: Path, **more: Any) -> AsyncIterator[Model]:
    """A model of that library in front of a script."""
    server = ScriptServer(Player(parse_script(SCRIPT)))
    await server.start()
    url = server.url if name == "openai-chat" else server.url.removesuffix("/v1")
    found = ModelSettings(
        provider="pydantic-ai",
        model=f"{name}:m",
        base_url=url,
        api_key_env="KEY",
        **{"timeouts": Timeouts(total_s=0.5), **more},
    )
    models = FleetModels(
        {"m": found}, clock=SystemClock(), folder=tmp_path, environment={"KEY": "canary-123456"}, jitter=lambda: 0.0
    )
    try:
        yield models.resolve("m")
    finally:
        await models.close()
        await server.stop()


async def ask(model: Model, *parts: Any, attempts: list[HttpAttempt] | None = None) -> ModelReply:
    request = ModelRequest(model=model.model, parts=parts, tools=TOOLS, output_tokens_max=500, effort=None)
    return await model.ask(request, on_attempt=(attempts if attempts is not None else []).append)


@pytest.mark.parametrize("name", NAMES if FULL else NAMES[:1])
def test_a_whole_conversation_goes_through_the_library(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with asking(name, tmp_path, timeouts=Timeouts(total_s=20.0)) as model:
            opening = (SystemPart(text="be brief"), UserPart(text="the weather"))
            attempts: list[HttpAttempt] = []
            first = await ask(model, *opening, attempts=attempts)
            assert (first.text, first.stop, first.problem) == ("I look.", StopReason.TOOLS, "")
            assert first.usage == Usage(input_tokens=100, cached_tokens=60, output_tokens=7)
            call = first.calls[0]
            assert (call.name, call.arguments) == ("files.read", {"path": "weather.txt"})
            assert [each.status for each in attempts] == [200]
            thoughts = [each.text for each in first.thoughts]
            assert thoughts == (["They ask for the weather"] if name == "anthropic" else [])
            reply = AssistantPart(text=first.text, calls=first.calls, thoughts=first.thoughts)
            result = ToolPart(call_id=call.id, provider_id=call.provider_id, name=call.name, text="rain")
            assert (await ask(model, *opening, reply, result)).text == "It says: rain"

    run(main())


@pytest.mark.parametrize("name", NAMES[:1])
def test_failures_are_told_apart_and_are_one_attempt_each(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with asking(name, tmp_path, timeouts=Timeouts(total_s=20.0)) as model:
            attempts: list[HttpAttempt] = []
            with pytest.raises(ModelFailed) as busy:
                await ask(model, UserPart(text="busy"), attempts=attempts)
            assert (busy.value.error_class, busy.value.after_s) == ("rate_limited", 30.0)
            assert [each.status for each in attempts] == [529], "the library does not try again by itself"
            assert "canary" not in str(busy.value)

    run(main())


def test_malformed_arguments_are_not_acted_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with asking("openai-chat", tmp_path, timeouts=Timeouts(total_s=20.0)) as model:
            found = await ask(model, UserPart(text="broken"))
            assert [call.arguments for call in found.calls] == [None]

    run(main())


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with asking("openai-chat", tmp_path) as model:
            with contextlib.suppress(ModelFailed):  # only the library's imports, which may outlast its patience
                await ask(model, UserPart(text="warm up"))
            with pytest.raises(ModelFailed) as hung:
                await ask(model, UserPart(text="hang"))
            assert hung.value.error_class == "transient"

    run(main())


class Hurried(SystemClock):
    """Waits between attempts take no time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


COUNTED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def spoken(text: Any = "fine", **more: Any) -> dict[str, Any]:
    """A reply with all that the library insists on."""
    return {"object": "chat.completion", "created": 1, **reply(text, usage=COUNTED), **more}


def calling(name: str, arguments: Any) -> dict[str, Any]:
    return spoken(None, **reply(None, calls=[call(name, arguments)], finish="tool_calls", usage=COUNTED))


HOSTILE: dict[str, Answer] = {
    "half a reply": http(b'{"id": "r", "choices": ['),
    "a page": http(b"<html>log in</html>", kind="text/html"),
    "a list": http(b"[1, 2]"),
    "deep": http(b"[" * 50_000 + b"]" * 50_000),
    "nobody's letter": http(json.dumps(spoken("X")).replace('"X"', '"\\ud800"').encode()),
    "no choices": http(json.dumps(spoken(choices=[])).encode()),
    "another shape": http(json.dumps(spoken(choices=[{"message": 7}])).encode()),
    "an error inside": http(b'{"error": {"type": "authentication_error", "message": "canary-123456 is no key"}}'),
    "a refused key": http(b'{"error": {"message": "canary-123456 is no key"}}', status="401 No"),
    "down": http(b"oops", status="500 Oops", kind="text/plain"),
    "somewhere else": http(b"", status="307 Moved", headers="Location: http://127.0.0.1:9/v1\r\n"),
    "packed": http(gzip.compress(json.dumps(spoken()).encode()), headers="Content-Encoding: gzip\r\n"),
    "nine megabytes": http(json.dumps(spoken("x" * 9_000_000)).encode()),
    "cut off": [http(json.dumps(spoken()).encode())[:-20], b""],
    "an unknown tool": http(json.dumps(calling("rm_rf", '{"path": "/"}')).encode()),
    "arguments that are a list": http(json.dumps(calling("files__read", "[]")).encode()),
    "tokens without end": http(json.dumps(spoken(usage={**COUNTED, "prompt_tokens": 10**30})).encode()),
    "nothing": [b""],
    "come later": http(b"{}", status="429 Slow", headers="Retry-After: 30\r\n"),
}  # fmt: skip
"""What servers should not send."""


@asynccontextmanager
async def both(dialect: str, **timeouts: float) -> AsyncIterator[tuple[FleetModels, RawServer]]:
    """The library's model and our own in front of one server."""
    library = {"openai": "openai-chat", "anthropic": "anthropic"}[dialect]
    async with RawServer(b"").open() as server:
        patience = Timeouts(**timeouts)
        own = ModelSettings(
            provider="here", model="m", dialect=dialect, base_url=server.url, api_key_env="KEY", stream=False,
            timeouts=patience,
        )  # fmt: skip
        url = server.url if dialect == "openai" else server.url.removesuffix("/v1")
        theirs = replace(own, provider="pydantic-ai", dialect="", model=f"{library}:m", base_url=url)
        models = FleetModels(
            {"own": own, "theirs": theirs}, clock=Hurried(), environment={"KEY": "canary-123456"}, jitter=lambda: 0.0
        )
        try:
            yield models, server
        finally:
            await models.close()


async def told(model: Model) -> tuple[Any, ...]:
    """What comes of one question: the kind of its end, and the status of each row of the ledger."""
    attempts: list[HttpAttempt] = []
    end: tuple[Any, ...]
    shown = ""
    try:
        found = await ask(model, UserPart(text="hi"), attempts=attempts)
        calls = [(each.name, each.arguments) for each in found.calls]
        end = (found.text[:100], bool(found.problem), found.stop, calls)
        assert 0 <= found.usage.tokens < 10**13
        (found.text + found.problem).encode()
    except ModelFailed as error:
        end = (error.error_class, error.after_s)
        shown = str(error)
    assert "canary" not in f"{shown} {attempts}"
    return (*end, [each.status for each in attempts])


def test_a_hostile_server_gets_no_further_than_with_a_model_of_our_own() -> None:
    async def main() -> None:
        async with both("openai") as (models, server):
            for name, answer in HOSTILE.items():
                server.answers = [answer]
                own, theirs = await told(models.resolve("own")), await told(models.resolve("theirs"))
                if name == "nobody's letter":  # a whole answer, and yet no text that anybody can write down
                    own, theirs = own[:1], theirs[:1]
                assert theirs == own, name

    run(main())


if FULL:  # 750 replies take half a minute

    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    def test_no_malformed_reply_is_an_accident_or_is_acted_on(dialect: str) -> None:
        corpus = {"openai": malformed.corpus, "anthropic": malformed_anthropic.corpus}[dialect]

        async def main() -> None:
            async with both(dialect, first_byte_s=0.2, silence_s=0.2, total_s=0.5) as (models, server):
                for bad in corpus():
                    server.answers = [bad.answer]
                    end = await told(models.resolve("theirs"))
                    calls = end[3] if len(end) == 5 else []
                    assert bad.acts or all(not arguments for _, arguments in calls), bad.name

        run(main())


@pytest.mark.parametrize(
    ("model", "words"), [("nobody:m", "nobody"), ("deepseek:m", "deepseek takes no base_url")]
)  # fmt: skip
def test_a_model_that_cannot_be_as_its_settings_say_is_asked_nothing(model: str, words: str, tmp_path: Path) -> None:
    async def main() -> None:
        found = ModelSettings(
            provider="pydantic-ai", model=model, base_url="http://127.0.0.1:9/v1", api_key_env="KEY"
        )  # fmt: skip
        models = FleetModels({"m": found}, clock=ManualClock(), folder=tmp_path, environment={"KEY": "canary-123456"})
        with pytest.raises(ModelFailed) as unknown:
            await ask(models.resolve("m"), UserPart(text="hi"))
        assert unknown.value.error_class == "permanent"
        assert words in str(unknown.value)
        await models.close()

    run(main())


def test_where_the_library_is_missing_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)

    async def main() -> None:
        found = ModelSettings(provider="pydantic-ai", model="openai:m")
        models = FleetModels({"m": found}, clock=ManualClock(), folder=tmp_path)
        with pytest.raises(ModelFailed) as missing:
            await ask(models.resolve("m"), UserPart(text="hi"))
        assert "pip install 'ostinato[pydantic-ai]'" in str(missing.value.cure)
        await models.close()

    run(main())


@settings(max_examples=10)
@given(requests())
def test_any_conversation_can_be_said_in_the_librarys_words(request_: ModelRequest) -> None:
    from pydantic_ai import messages

    names = names_of(request_)
    found = messages_of(request_, names)
    replies = [each for each in found if isinstance(each, messages.ModelResponse)]
    assert len(replies) == sum(isinstance(part, AssistantPart) for part in request_.parts)
    assert len(parameters_of(request_, names).function_tools) == len(request_.tools)
