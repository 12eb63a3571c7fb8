"""Prices come from a list in another process, are remembered, and an unknown one is never 0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ostinato.domain.budget import Price
from ostinato.models import prices
from ostinato.models.prices import PriceBook, PriceQuery

QUERIES = [
    PriceQuery(provider="openai", model="gpt-4o"),
    PriceQuery(provider="openai", model="no-such-model"),
    PriceQuery(provider="mine", model="gpt-4o", address="https://api.openai.com/v1"),
    PriceQuery(provider="mine", model="gpt-4o", address="http://127.0.0.1:1/v1"),
    PriceQuery(provider="", model=""),
]
GPT_4O = Price(input_usd_micros=2_500_000, cached_usd_micros=1_250_000, output_usd_micros=10_000_000)


@pytest.mark.slow
def test_known_models_have_a_price_and_unknown_ones_none() -> None:
    assert PriceBook().find(QUERIES) == [GPT_4O, None, GPT_4O, None, None]


def no_list(queries: list[PriceQuery]) -> list[Price | None] | None:
    """A list that cannot be asked."""
    return None


def all_alike(queries: list[PriceQuery]) -> list[Price | None] | None:
    """A list that knows one price."""
    return [GPT_4O] * len(queries)


@pytest.mark.slow
def test_a_price_is_looked_up_once_and_remembered_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    assert PriceBook(file).find(QUERIES[:2]) == [GPT_4O, None]
    assert PriceBook(file, look_up=no_list).find(QUERIES[:2]) == [GPT_4O, None]
    assert [each.name for each in tmp_path.iterdir()] == ["prices.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": "older", "prices": {}}', b"\xff"])
def test_a_damaged_or_older_file_is_no_accident(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(content)
    assert PriceBook(file, look_up=no_list).find(QUERIES[:1]) == [None]
    assert PriceBook(file, look_up=all_alike).find(QUERIES[:1]) == [GPT_4O]
    assert PriceBook(file, look_up=no_list).find(QUERIES[:1]) == [GPT_4O]


def test_a_list_that_could_not_be_asked_is_asked_again(tmp_path: Path) -> None:
    answers = [None, [GPT_4O]]
    book = PriceBook(tmp_path / "no" / "such" / "folder" / "prices.json", look_up=lambda queries: answers.pop(0))
    assert book.find(QUERIES[:1]) == [None]
    assert book.find(QUERIES[:1]) == [GPT_4O]


@pytest.mark.slow
def test_a_list_that_hangs_or_babbles_leaves_prices_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(prices, "LOOK_UP_TIMEOUT_S", 0.2)
    assert PriceBook().find(QUERIES[:1]) == [None]
    for text in ("echo nonsense", "exit 1", "echo '[]'", "exec sleep 30"):
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        assert PriceBook().find(QUERIES[:1]) == [None]


@pytest.mark.slow
def test_the_list_is_not_loaded_here() -> None:
    code = (
        "import sys; from ostinato.models.prices import *;"
        "PriceBook().find([PriceQuery(provider='openai', model='gpt-4o')]);"
        "assert not {'genai_prices', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
