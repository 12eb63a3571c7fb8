"""What a fleet says about one model: where it is, what it is called there, and how long to wait for it.

Knows nothing of HTTP or of files; the configuration fills these in, the catalogue reads them.
"""

from __future__ import annotations

from ostinato.domain.budget import Price
from ostinato.domain.values import Value

TIERS = ("cheap", "standard", "strong")
"""Names that stand for a model by what it costs and can do."""


class Timeouts(Value):
    """How long one attempt may take, in seconds, by phase."""

    connect_s: float = 10.0
    """Until the connection stands."""
    first_byte_s: float = 120.0
    """From there until the first byte of the answer; reasoning models think before they speak."""
    silence_s: float = 60.0
    """Between two pieces of the answer."""
    total_s: float = 600.0
    """The whole attempt."""


class ModelSettings(Value):
    """One model of a fleet."""

    provider: str
    """`openai`, `anthropic`, `scripted`, or any name for a server of your own; prices are looked up by it."""
    model: str
    """The provider's own name."""
    base_url: str = ""
    """Up to and including `/v1`; empty: the provider's usual one, where it is known."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; with `_FILE` appended, one that names a file. Empty: the
    provider's usual one, or no key where none is usual."""
    dialect: str = ""
    """`openai` or `anthropic`; empty: the provider's own, and for an unknown provider `openai`."""
    script: str = ""
    """Provider `scripted`: the script file."""
    in_process: bool = False
    """Provider `scripted`: answer without HTTP, for simulations."""
    context_tokens: int = 128_000
    output_tokens_max: int = 8_192
    price: Price | None = None
    """Overrides the price list."""
    temperature: float | None = None
    """For every request that names none itself."""
    effort: str | None = None
    """Reasoning effort, for every request that names none itself."""
    thinking: str = ""
    """Dialect `anthropic`: `adaptive`, `disabled` or a number of tokens; empty: the model's own way."""
    stream: bool = True
    fallback: tuple[str, ...] = ()
    """Models or tiers to ask, in this order, where this one cannot be had."""
    timeouts: Timeouts = Timeouts()
