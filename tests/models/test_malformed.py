"""300 malformed replies: none is an accident, and none is acted on."""

from __future__ import annotations

import asyncio
import json

import pytest

from ostinato.domain.chat import ModelReply
from ostinato.models.port import ModelFailed
from ostinato.testing.clock import ManualClock
from tests.conftest import run
from tests.models.malformed import Malformed, corpus
from tests.models.stage import IMPATIENT, Asker, asking, http, reply

CORPUS = list(corpus())
FAMILIES = sorted({each.name.rpartition("-")[0] or each.name for each in CORPUS})


def test_the_corpus_is_as_large_as_is_claimed() -> None:
    assert len(CORPUS) >= 300
    assert len({each.name for each in CORPUS}) == len(CORPUS)


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


async def outcome(bad: Malformed) -> ModelReply | ModelFailed:
    """What comes of one bad reply; then the same model answers a good one."""
    clock = ManualClock()
    good = http(json.dumps(reply("fine")).encode())
    async with asking(bad.answer, clock=clock, timeouts=IMPATIENT) as (asker, server):
        found = await asked(asker, clock)
        assert 1 <= len(asker.attempts) <= 3
        server.answers = [good]
        after = await asked(asker, clock)
        assert isinstance(after, ModelReply)
        assert after.text == "fine"
        return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_malformed_reply_is_an_accident_or_is_acted_on(family: str) -> None:
    async def main() -> None:
        for bad in CORPUS:
            if (bad.name.rpartition("-")[0] or bad.name) == family:
                found = await outcome(bad)
                if isinstance(found, ModelFailed):
                    assert found.error_class in {"transient", "rate_limited", "permanent", "too_long"}, bad.name
                    assert len(str(found)) < 600, bad.name
                    assert str(found).isprintable(), bad.name
                elif not bad.acts:
                    assert not [each for each in found.calls if each.arguments is not None], (bad.name, found)

    run(main(), timeout_s=60)
