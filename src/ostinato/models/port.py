"""What the turn needs from a model, whoever serves it.

Knows nothing of sessions, policies or stores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ostinato.domain.budget import Price
from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest
from ostinato.domain.errors import OstinatoError


class ModelFailed(OstinatoError):
    """No reply could be had. `error_class`: transient, rate_limited, permanent (wrong key, unknown model), too_long
    (the context does not fit). `after_s`: the provider asked to wait that long."""

    code = "exhausted"

    def __init__(self, message: str, *, error_class: str, after_s: float | None = None, cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.error_class = error_class
        self.after_s = after_s


class Model(Protocol):
    """One model of one provider."""

    name: str
    """As the fleet's file calls it: `openai/gpt-5-mini`, `script/cheap`."""
    provider: str
    model: str
    """The provider's own name."""
    host: str
    """Where it is asked, as `api.example.com`; empty where no host is between us and it."""
    context_tokens: int
    output_tokens_max: int
    price: Price | None
    """None: unknown, which is never 0."""

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_attempt: Callable[[HttpAttempt], None],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """One complete reply. Retries transient failures itself a few times, within seconds; `on_attempt` is told of
        each HTTP attempt (a ledger row), `on_text` of each piece of text as it streams in. Raises ModelFailed."""

    async def close(self) -> None: ...


class Models(Protocol):
    """The models that a fleet may use."""

    def resolve(self, wanted: str | None) -> Model:
        """A tier (`cheap`, `standard`, `strong`) or a name; None: the fleet's default. Raises Invalid with the known
        names."""

    def strongest(self) -> str | None:
        """The name of the model behind the tier `strong`; None where the fleet has not set it."""

    def chain(self, wanted: str | None) -> tuple[str, ...]:
        """Names of the models to ask, one where the one before cannot be had; the first is what `resolve` gives. Empty
        for an unknown name."""
