"""What the day would cost with a real model: mails, times tokens, times price; said before anything is asked.

Knows nothing of how the model is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomlkit

from ostinato.domain.budget import Price, cost
from ostinato.domain.errors import Invalid, NotFound
from ostinato.domain.values import Value
from ostinato.models.prices import PriceBook, PriceQuery
from ostinato.models.providers import provider_of
from ostinato.models.settings import ModelSettings
from ostinato.workspace.fleet_file import FLEET_FILE

INPUT_TOKENS = 8_000
"""Of one mail, from its arrival to the finished draft: 6,800 in the scripted day, and a real model asks more often."""

OUTPUT_TOKENS = 1_500
"""Of one mail: real models write longer than rules."""

NAME = "real"


class Estimate(Value):
    """What a day may cost."""

    mails: int
    price: Price | None

    @property
    def usd(self) -> float | None:
        """Dollars; None where the price is unknown."""
        if self.price is None:
            return None
        tokens = {"input_tokens": self.mails * INPUT_TOKENS, "output_tokens": self.mails * OUTPUT_TOKENS}
        return cost(self.price, cached_tokens=0, **tokens) / 1_000_000

    @property
    def text(self) -> str:
        """The calculation in words."""
        tokens = f"{self.mails} mails x ({INPUT_TOKENS:,} tokens in + {OUTPUT_TOKENS:,} out)"
        if self.price is None:
            return f"{tokens}, at a price that is not known here"
        price = f"${self.price.input_usd_micros / 1e6:g} and ${self.price.output_usd_micros / 1e6:g} a million"
        return f"{tokens} at {price} = about ${self.usd:.2f}"


def settings_of(model: str) -> ModelSettings:
    """What `provider/name` stands for. Raises Invalid for an unknown provider, NotFound without its key."""
    provider, slash, name = model.partition("/")
    if not slash or not name:
        raise Invalid(f"{model!r} is no model", cure="Write provider/name, such as openai/gpt-5-mini.")
    settings = ModelSettings(provider=provider, model=name)
    key = provider_of(NAME, settings).api_key_env
    if key and not (os.environ.get(key) or os.environ.get(f"{key}_FILE")):
        raise NotFound(f"There is no key for {provider} in the environment", cure=f"Set {key}, and try again.")
    return settings


def estimate(settings: ModelSettings, *, mails: int) -> Estimate:
    """What so many mails may cost."""
    [price] = PriceBook().find([PriceQuery(provider=settings.provider, model=settings.model)])
    return Estimate(mails=mails, price=price)


def write_into(fleet: Path, settings: ModelSettings) -> None:
    """Lets the fleet's tiers name a real model."""
    file = fleet / FLEET_FILE
    document = tomlkit.parse(file.read_text(encoding="utf-8"))
    tables: Any = document
    tables["models"][NAME] = {"provider": settings.provider, "model": settings.model}
    for tier in tables["tiers"]:
        tables["tiers"][tier] = NAME
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
