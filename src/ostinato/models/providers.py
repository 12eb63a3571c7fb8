"""Providers that are known by name: where they are, which variable usually holds their key, how they differ.

Any other name works too, with a `base_url`. Knows nothing of models or prices.
"""

from __future__ import annotations

from ostinato.domain.errors import Invalid, unknown_name
from ostinato.models.anthropic.dialect import ANTHROPIC
from ostinato.models.chat_model import Provider
from ostinato.models.dialect import Dialect
from ostinato.models.openai.dialect import OPENAI
from ostinato.models.settings import ModelSettings

SCRIPTED = "scripted"
"""The provider whose models are scripts."""

DIALECTS: dict[str, Dialect] = {each.name: each for each in (OPENAI, ANTHROPIC)}
"""Ways to speak with a server, by the names that the fleet's file uses."""

PYDANTIC_AI = "pydantic-ai"
"""The provider whose models are asked through that library: `model` is its name of the model, `bedrock:...`."""

KNOWN: dict[str, Provider] = {
    "anthropic": Provider(base_url="https://api.anthropic.com/v1", api_key_env="ANTHROPIC_API_KEY", dialect=ANTHROPIC),
    "openai": Provider(base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY", completion_limit=True),
    "openrouter": Provider(base_url="https://openrouter.ai/api/v1", api_key_env="OPENROUTER_API_KEY"),
    "mistral": Provider(base_url="https://api.mistral.ai/v1", api_key_env="MISTRAL_API_KEY"),
    "groq": Provider(base_url="https://api.groq.com/openai/v1", api_key_env="GROQ_API_KEY"),
    "deepseek": Provider(base_url="https://api.deepseek.com/v1", api_key_env="DEEPSEEK_API_KEY"),
    "x-ai": Provider(base_url="https://api.x.ai/v1", api_key_env="XAI_API_KEY"),
    "google": Provider(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai", api_key_env="GEMINI_API_KEY"
    ),
    "ollama": Provider(base_url="http://127.0.0.1:11434/v1"),
}
"""Names as the price list has them, where it has them."""


def provider_of(name: str, settings: ModelSettings) -> Provider:
    """Where and how the model `name` is asked. Raises Invalid where neither the settings nor this table say where."""
    if settings.provider == PYDANTIC_AI:
        return Provider(base_url=settings.base_url, api_key_env=settings.api_key_env)
    known = KNOWN.get(settings.provider, Provider())
    base_url = settings.base_url or known.base_url
    place = f"models.{name}.base_url"
    if not base_url:
        names = ", ".join(repr(each) for each in sorted(KNOWN))
        words = f"Provider {settings.provider!r} has no usual address. Known: {names}."
        raise Invalid(words, place=place, cure="Set `base_url`.")
    if not base_url.startswith(("http://", "https://")) or any(each.isspace() for each in base_url):
        words = f"{base_url!r} is no HTTP address"
        raise Invalid(
            words, place=place, cure="Write it up to and including `/v1`, as in 'https://api.example.com/v1'."
        )
    return Provider(
        base_url=base_url,
        api_key_env=settings.api_key_env or ("" if settings.base_url else known.api_key_env),
        completion_limit=known.completion_limit,
        dialect=named_dialect(name, settings.dialect) if settings.dialect else known.dialect,
    )


def named_dialect(name: str, dialect: str) -> Dialect:
    """The dialect that the settings of the model `name` ask for; empty: `openai`. Raises Invalid."""
    if dialect and dialect not in DIALECTS:
        raise Invalid(unknown_name("dialect", dialect, DIALECTS), place=f"models.{name}.dialect")
    return DIALECTS[dialect or OPENAI.name]
