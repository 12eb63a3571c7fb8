"""The Anthropic dialect over the wire: a script that is served, refusals, and errors in the middle of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.chat import AssistantPart, ModelReply, ModelRequest, StopReason, ToolPart, UserPart
from ostinato.engine.clock import SystemClock
from ostinato.models.catalogue import FleetModels
from ostinato.models.port import Model, ModelFailed
from ostinato.models.settings import ModelSettings
from ostinato.testing.clock import ManualClock
from tests.conftest import run
from tests.models.malformed_anthropic import BEGIN, OPEN, event, said
from tests.models.stage import IMPATIENT, TOOLS, asking, http, sse
from tests.models.test_malformed import asked

SCRIPT = """
rules:
  - when: {user: weather}
    thinking: "They ask for {user}"
    text: "I look."
    calls: [{tool: files.read, args: {path: "weather.txt"}}]
    usage: {input: 100, cached: 60, written: 30, output: 7}
  - when: {tool: files.read}
    thinking: "It says {result}"
    text: "{result}"
  - when: {user: break}
    fault: truncate
    text: "all of this is cut in the middle"
default: {text: "hm"}
"""


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[Model]:
    """A script behind the dialect."""
    (folder / "s.yaml").write_text(SCRIPT)
    found = ModelSettings(provider="scripted", model="m", script="s.yaml", dialect="anthropic", **settings)
    models = FleetModels({"m": found}, clock=SystemClock(), folder=folder, jitter=lambda: 0.0)
    try:
        yield models.resolve("m")
    finally:
        await models.close()


async def ask(model: Model, *parts: Any) -> ModelReply:
    return await model.ask(ModelRequest(model="m", parts=parts, tools=TOOLS), on_attempt=lambda attempt: None)


@pytest.mark.parametrize("how", [{"stream": True}, {"stream": False}, {"in_process": True}])
def test_a_script_speaks_the_dialect_and_takes_its_thoughts_back(tmp_path: Path, how: dict[str, Any]) -> None:
    async def main() -> None:
        async with served(tmp_path, **how) as model:
            goal = UserPart(text="the weather")
            first = await ask(model, goal)
            assert (first.text, first.stop, [each.text for each in first.thoughts]) == (
                "I look.",
                StopReason.TOOLS,
                ["They ask for the weather"],
            )
            usage = first.usage
            assert (usage.input_tokens, usage.cached_tokens, usage.written_tokens, usage.output_tokens) == (
                100, 60, 30, 7,
            )  # fmt: skip
            call = first.calls[0]
            assert (call.name, call.arguments) == ("files.read", {"path": "weather.txt"})
            reply = AssistantPart(text=first.text, calls=first.calls, thoughts=first.thoughts)
            result = ToolPart(call_id=call.id, provider_id=call.provider_id, name=call.name, text="rain")
            assert (await ask(model, goal, reply, result)).text == "rain"

    run(main())


def test_a_busy_provider_is_waited_for_as_it_asks() -> None:
    async def main() -> None:
        clock = ManualClock()
        body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
        busy = http(body, status="529 ", headers="retry-after: 3\r\nrequest-id: req_1\r\n")
        good = http(json.dumps(said()).encode())
        async with asking(busy, good, clock=clock, timeouts=IMPATIENT, dialect="anthropic") as (asker, server):
            found = await asked(asker, clock)
            assert isinstance(found, ModelReply)
            assert [(each.status, each.request_id) for each in asker.attempts] == [(529, "req_1"), (200, "")]
            assert "POST /v1/messages HTTP" in server.asked[0][0]

    run(main())


@pytest.mark.parametrize(("kind", "error_class"), [
    ("overloaded_error", "transient"), ("rate_limit_error", "rate_limited"), ("api_error", "transient"),
    ("authentication_error", "permanent"), ("invalid_request_error", "permanent"), ("odd", "transient"),
])  # fmt: skip
def test_an_error_in_the_middle_of_a_stream_has_the_class_of_its_kind(kind: str, error_class: str) -> None:
    async def main() -> None:
        clock = ManualClock()
        broken = sse(BEGIN, OPEN, event("error", error={"type": kind, "message": "no"}), done=False)
        async with asking(broken, clock=clock, timeouts=IMPATIENT, dialect="anthropic") as (asker, _):
            found = await asked(asker, clock)
            assert isinstance(found, ModelFailed)
            assert found.error_class == error_class

    run(main())


def test_a_prompt_that_is_too_long_is_said_so() -> None:
    async def main() -> None:
        error = {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}
        body = json.dumps({"type": "error", "error": error}).encode()
        async with asking(http(body, status="400 Bad Request"), dialect="anthropic") as (asker, _):
            found = await asker.fails()
            assert isinstance(found, ModelFailed)
            assert found.error_class == "too_long"

    run(main())


def test_the_key_is_sent_and_never_shown() -> None:
    async def main() -> None:
        body = b'{"error": {"type": "authentication_error", "message": "invalid x-api-key: canary-1234567890"}}'
        settings = {"api_key_env": "KEY", "environment": {"KEY": "canary-1234567890"}, "dialect": "anthropic"}
        async with asking(http(body, status="401 No"), **settings) as (asker, server):
            found = await asker.fails()
            assert "x-api-key: canary-1234567890" in server.asked[0][0]
            assert "canary" not in str(found)
            assert "KEY" in str(found)

    run(main())
