"""Models by name and tier, scripts served from inside, prices found, ignored or free."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.budget import Price
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest, UserPart
from ostinato.domain.errors import Invalid
from ostinato.engine.clock import SystemClock
from ostinato.models.catalogue import FREE, FleetModels
from ostinato.models.port import Model, ModelFailed
from ostinato.models.prices import PriceBook, PriceQuery
from ostinato.models.scripted.script import FaultKind
from ostinato.models.settings import ModelSettings
from ostinato.testing.clock import ManualClock, run_virtual
from tests.conftest import run
from tests.models.stage import TOOLS
from tests.models.test_script_server import READS, check, faulty

PRICE = Price(input_usd_micros=1, cached_usd_micros=1, output_usd_micros=1)

DEAR = Price(input_usd_micros=9, cached_usd_micros=9, output_usd_micros=9)


class NoPrices(PriceBook):
    """A price list that knows one model, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[PriceQuery]] = []

    def find(self, queries: Any) -> list[Price | None]:
        self.asked.append(list(queries))
        return [PRICE if each.model == "known" else None for each in queries]


def models(prices: PriceBook | None = None, **more: Any) -> FleetModels:
    settings = {
        "openai/mini": ModelSettings(provider="openai", model="known"),
        "local": ModelSettings(provider="here", model="x", base_url="http://127.0.0.1:1/v1"),
        "dear": ModelSettings(provider="openai", model="known", price=DEAR),
    }
    return FleetModels(more.pop("settings", settings), clock=SystemClock(), prices=prices or NoPrices(), **more)


def test_names_and_tiers_lead_to_models_and_each_is_built_once() -> None:
    found = models(tiers={"cheap": "local"}, default="openai/mini")
    assert found.resolve("local").name == "local"
    assert found.resolve("cheap") is found.resolve("local")
    assert found.resolve(None).name == "openai/mini"
    assert found.resolve("strong").name == "openai/mini"
    assert (found.resolve(None).model, found.resolve(None).provider) == ("known", "openai")
    assert found.names == ("dear", "local", "openai/mini")


def test_without_a_default_the_standard_tier_or_the_only_model_is_it() -> None:
    assert models(tiers={"standard": "local"}).resolve(None).name == "local"
    only = {"one": ModelSettings(provider="openai", model="m")}
    assert models(settings=only).resolve("cheap").name == "one"


@pytest.mark.parametrize(
    ("more", "wanted", "words"),
    [
        ({}, "lokal", "Did you mean 'local'?"),
        ({}, "chaep", "Did you mean 'cheap'?"),
        ({}, None, "no default model"),
        ({}, "cheap", "no default model"),
        ({"settings": {}}, None, "no model"),
    ],
)
def test_an_unknown_name_says_what_is_known(more: dict[str, Any], wanted: str | None, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        models(**more).resolve(wanted)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tiers": {"cheep": "local"}}, "models.tiers: Unknown tier 'cheep'"),
        ({"tiers": {"cheap": "lokal"}}, "models.tiers.cheap: Unknown model 'lokal'"),
        ({"tiers": {"cheap": "strong", "strong": ("cheap", "strong")}}, "models.tiers.cheap: the tier 'cheap' leads"),
        ({"default": "lokal"}, "models.default: Unknown model 'lokal'"),
    ],
)
def test_tiers_and_default_must_lead_somewhere(more: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        models(**more)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ModelSettings(provider="nobody", model="m"), "'nobody' has no usual address"),
        (ModelSettings(provider="openai", model="m", base_url="ftp://x"), "no HTTP address"),
        (ModelSettings(provider="openai", model="m", base_url="http://a b"), "no HTTP address"),
        (ModelSettings(provider="scripted", model="m"), "models.m.script: a scripted model needs a script"),
        (ModelSettings(provider="scripted", model="m", script="gone.yaml"), "cannot be read"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_the_model_is_wanted(settings: ModelSettings, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        models(settings={"m": settings}).resolve("m")
    assert words in str(caught.value)


def test_a_price_is_overridden_found_or_unknown_and_all_are_asked_for_at_once() -> None:
    prices = NoPrices()
    found = models(prices)
    assert found.resolve("openai/mini").price == PRICE
    assert found.resolve("local").price is None
    assert found.resolve("dear").price == DEAR
    assert [[each.model for each in asked] for asked in prices.asked] == [["known", "x"]] * 2


def test_prices_can_be_looked_up_ahead() -> None:
    prices = NoPrices()
    run(models(prices).prepare())
    assert len(prices.asked[0]) == 2


# --- scripts ------------------------------------------------------------------------------------------------------


async def asked(model: Model, text: str = "inbox/a.eml") -> tuple[ModelReply, list[HttpAttempt]]:
    attempts: list[HttpAttempt] = []
    request = ModelRequest(model=model.model, parts=(UserPart(text=text),), tools=TOOLS)
    return await model.ask(request, on_attempt=attempts.append), attempts


def scripted(tmp_path: Path, script: str, *, clock: Any = None, **more: Any) -> FleetModels:
    (tmp_path / "s.yaml").write_text(script)
    settings = {
        name: ModelSettings(provider="scripted", model=name, script="s.yaml", **more) for name in ("one", "two")
    }
    return FleetModels(settings, default="one", clock=clock or SystemClock(), folder=tmp_path)


@pytest.mark.slow
def test_a_script_answers_through_http_or_without_it_alike(tmp_path: Path) -> None:
    async def main() -> None:
        found = []
        for in_process in (False, True):
            catalogue = scripted(tmp_path, READS, in_process=in_process)
            reply, attempts = await asked(catalogue.resolve("one"))
            await catalogue.close()
            await catalogue.close()
            assert [(each.status, each.usage) for each in attempts] == [(200, reply.usage)]
            found.append(reply)
        assert found[0] == found[1]
        assert found[0].calls[0].name == "files.read"

    run(main())


def test_models_of_one_script_share_its_server_and_its_memory(tmp_path: Path) -> None:
    async def main() -> None:
        catalogue = scripted(tmp_path, "rules: [{when: {nth: '1+'}, text: '{model} {nth}'}]")
        replies = await asyncio.gather(*(asked(catalogue.resolve(name)) for name in ("one", "two", "one")))
        await catalogue.close()
        assert sorted(reply.text.split()[1] for reply, _ in replies) == ["1", "2", "3"]
        assert sorted(reply.text.split()[0] for reply, _ in replies) == ["one", "one", "two"]

    run(main())


def test_a_script_is_free_unless_it_or_the_settings_name_a_price(tmp_path: Path) -> None:
    assert scripted(tmp_path, "default: {text: a}").resolve(None).price == FREE
    priced = scripted(tmp_path, "price: {input: 1, output: 2}\ndefault: {text: a}").resolve(None).price
    assert priced == Price(input_usd_micros=1_000_000, cached_usd_micros=1_000_000, output_usd_micros=2_000_000)
    assert scripted(tmp_path, "default: {text: a}", price=PRICE).resolve(None).price == PRICE


@pytest.mark.parametrize("kind", list(FaultKind))
def test_each_fault_means_the_same_without_http(tmp_path: Path, kind: FaultKind) -> None:
    clock = ManualClock()

    async def main() -> ModelReply | ModelFailed:
        model = scripted(tmp_path, faulty(kind), clock=clock, in_process=True).resolve(None)
        try:
            return (await asked(model))[0]
        except ModelFailed as error:
            return error

    check(kind, run_virtual(main(), clock), stream=False)


def test_delays_pass_on_the_clock_that_is_given(tmp_path: Path) -> None:
    clock = ManualClock()
    catalogue = scripted(tmp_path, "delay: 30m\ndefault: {text: a}", clock=clock, in_process=True)
    reply, attempts = run_virtual(asked(catalogue.resolve(None)), clock)
    assert reply.text == "a"
    assert attempts[0].duration_ms == 1_800_000


@pytest.mark.slow
def test_a_fleet_with_nothing_to_ask_loads_no_http_client_and_no_price_list() -> None:
    code = (
        "import sys; from ostinato.models.catalogue import FleetModels;"
        "heavy = {'aiohttp', 'genai_prices', 'pydantic', 'ruamel', 'uvicorn'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
