"""300 malformed replies of each dialect: none is an accident, and none is acted on."""

from __future__ import annotations

import asyncio
import json

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


async def outcome(bad: Malformed, dialect: str) -> ModelReply | ModelFailed:
    """What comes of one bad reply; then the same model answers a good one."""
    clock = ManualClock()
    good = http(json.dumps(GOOD[dialect]).encode())
    async with asking(bad.answer, clock=clock, timeouts=IMPATIENT, dialect=dialect) as (asker, server):
        found = await asked(asker, clock)
        assert 1 <= len(asker.attempts) <= 3
        server.answers = [good]
        after = await asker.ask()  # it needs no jump of the clock, which could only make a busy machine look slow
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

    run(main(), timeout_s=60)
