"""300 malformed replies of each dialect: none is an accident, and none is acted on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ostinato.domain.chat import ModelReply
from ostinato.models.port import ModelFailed
from ostinato.testing.clock import ManualClock
from tests.conftest import run
from tests.models import malformed, malformed_anthropic
from tests.models.malformed import Malformed
from tests.models.malformed_anthropic import said
from tests.models.stage import IMPATIENT, Asker, asking, http, reply

CORPORA = {"openai": list(malformed.corpus()), "anthropic": list(malformed_anthropic.corpus())}
GOOD = {"openai": reply("fine"), "anthropic": said([{"type": "text", "text": "fine"}])}


def family(bad: Malformed) -> str:
    """What its name begins with."""
    return bad.name.rpartition("-")[0] or bad.name


FAMILIES = sorted({(dialect, family(each)) for dialect, corpus in CORPORA.items() for each in corpus})


@pytest.mark.parametrize("dialect", CORPORA)
def test_the_corpus_is_as_large_as_is_claimed(dialect: str) -> None:
    corpus = CORPORA[dialect]
    assert len(corpus) >= 300
    assert len({each.name for each in corpus}) == len(corpus)


def trusting(answer: bytes | list[bytes | float], dialect: str) -> str:
    """What a reader makes of a reply that looks at nothing: `breaks`, `acts` on a call, `believes` that
    this is all, and ends the turn with it, be it nothing; empty where it notices that the end has not come."""
    whole = answer if isinstance(answer, bytes) else b"".join(each for each in answer if isinstance(each, bytes))
    try:
        head, body = whole.split(b"\r\n\r\n", 1)
        if b"event-stream" in head:
            lines = (line[6:] for line in body.splitlines() if line.startswith(b"data: "))
            said = [json.loads(line) for line in lines if line != b"[DONE]"]
            texts, calls = _streamed(said, dialect)
        else:
            texts, calls = _whole(json.loads(body), dialect)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "breaks"
    ended = b"event-stream" not in head or b"[DONE]" in body or b"message_stop" in body
    return "acts" if calls else "believes" if texts or ended else ""


def _whole(said: Any, dialect: str) -> tuple[list[Any], list[Any]]:
    if dialect == "anthropic":
        blocks = said["content"]
        return [each["text"] for each in blocks if each["type"] == "text"], [
            each["input"] for each in blocks if each["type"] == "tool_use"
        ]
    message = said["choices"][0]["message"]
    calls = [json.loads(each["function"]["arguments"]) for each in message.get("tool_calls") or ()]
    return [message["content"]], calls


def _streamed(said: list[Any], dialect: str) -> tuple[list[Any], list[Any]]:
    if dialect == "anthropic":
        opened = [each["content_block"]["name"] for each in said if each["type"] == "content_block_start"]
        pieces = [each["delta"] for each in said if each["type"] == "content_block_delta"]
        return [each.get("text", "") + each.get("partial_json", "") for each in pieces], opened
    deltas = [each["choices"][0]["delta"] for each in said]
    calls = [call["function"] for each in deltas for call in each.get("tool_calls") or ()]
    return [each.get("content") for each in deltas if each.get("content")], calls


@pytest.mark.parametrize("dialect", CORPORA)
def test_a_reader_that_looks_at_nothing_falls_for_nearly_all_of_them(dialect: str, tell: Callable[[str], None]) -> None:
    found = Counter(trusting(each.answer, dialect) for each in CORPORA[dialect])
    assert sum(found.values()) - found[""] > 0.95 * len(CORPORA[dialect]), found
    assert len({family(each).removesuffix("-streamed") for each in CORPORA[dialect]}) >= 10
    tell(f"{dialect}: of {len(CORPORA[dialect])} malformed replies a trusting reader breaks at {found['breaks']}, acts "
         f"on {found['acts']} and believes {found['believes']}")  # fmt: skip


async def asked(asker: Asker, clock: ManualClock) -> ModelReply | ModelFailed:
    """One question, while time jumps wherever somebody waits."""
    task = asyncio.ensure_future(asker.ask())
    while not task.done():
        await asyncio.wait({task}, timeout=0.005)
        clock.jump()
    try:
        return task.result()
    except ModelFailed as error:
        return error


AGAIN_MAX = 50


async def answered(asker: Asker, clock: ManualClock) -> ModelReply:
    """What comes of a question that is answered well. A busy machine may need longer than an impatient asker waits, so
    that it is asked again; a model that the reply before has broken answers never."""
    for _ in range(AGAIN_MAX):
        found = await asked(asker, clock)
        if isinstance(found, ModelReply):
            return found
    raise AssertionError("it does not answer any more")


async def outcome(bad: Malformed, dialect: str) -> ModelReply | ModelFailed:
    """What comes of one bad reply; then the same model answers a good one."""
    clock = ManualClock()
    good = http(json.dumps(GOOD[dialect]).encode())
    async with asking(bad.answer, clock=clock, timeouts=IMPATIENT, dialect=dialect) as (asker, server):
        found = await asked(asker, clock)
        assert 1 <= len(asker.attempts) <= 3
        server.answers = [good]
        after = await answered(asker, clock)
        assert after.text == "fine"
        return found


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "name"), FAMILIES)
def test_no_malformed_reply_is_an_accident_or_is_acted_on(dialect: str, name: str) -> None:
    async def main() -> None:
        for bad in CORPORA[dialect]:
            if family(bad) == name:
                found = await outcome(bad, dialect)
                if isinstance(found, ModelFailed):
                    assert found.error_class in {"transient", "rate_limited", "permanent", "too_long"}, bad.name
                    assert len(str(found)) < 600, bad.name
                    assert str(found).isprintable(), bad.name
                elif not bad.acts:
                    assert not [each for each in found.calls if each.arguments is not None], (bad.name, found)

    run(main())
