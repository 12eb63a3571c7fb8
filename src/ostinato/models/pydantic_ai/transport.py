"""The way to a provider through pydantic-ai: one exchange. Loaded with the first call; it takes seconds and 100 MB.

Knows nothing of retries. Whatever its library or a server does ends as a reply, a reply with a problem, or a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.domain.chat import ModelReply
from ostinato.domain.values import Instant
from ostinato.models.chat_model import Question, Trace, finished
from ostinato.models.failures import PERMANENT, TRANSIENT, Failure, failure_of_status, plain, retry_after_s
from ostinato.models.pydantic_ai.chat import messages_of, parameters_of, settings_of, whole_of
from ostinato.models.settings import Timeouts

if TYPE_CHECKING:
    from pydantic_ai.models import Model

INSTALL = "Install it with: pip install 'ostinato[pydantic-ai]', and the provider's own client."


class PydanticAiTransport:
    """Exchanges by means of one of pydantic-ai's models (see `Transport`). `model` is its name of it, such as
    `bedrock:amazon.nova-lite-v1:0`; a key and an address that are not given are found by its own means."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str = "",
        now: Callable[[], Instant],
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._name = model
        self._base_url = base_url
        self._now = now
        self._timeouts = timeouts
        self._model: Model | None = None
        self._key = ""
        self._ends = contextlib.AsyncExitStack()

    async def exchange(self, question: Question, trace: Trace) -> ModelReply | Failure:
        """One attempt (see `Transport`)."""
        try:
            from pydantic_ai import direct
            from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError, UserError
        except ModuleNotFoundError:
            return Failure(error_class=PERMANENT, text="pydantic-ai is not installed", cure=INSTALL)
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                model = await self._opened(question.key)
                response = await direct.model_request(
                    model,
                    messages_of(question.request, question.names),
                    model_settings=settings_of(question.request),
                    model_request_parameters=parameters_of(question.request, question.names),
                )
        except TimeoutError:
            return Failure(error_class=TRANSIENT, text="given up after an answer without an end")
        except ModelHTTPError as error:
            trace.status = error.status_code
            return failure_of_status(
                error.status_code,
                _body(error.body or error.message),
                after_s=retry_after_s(error.headers or {}, self._now()),
                key_name=question.key_name,
            )
        except (UserError, ImportError, ValueError) as error:  # a name that nobody knows, a client that is missing
            text = plain(str(error))
            return Failure(error_class=PERMANENT, text=text, cure="Check `model`; " + INSTALL)
        except (ModelAPIError, AgentRunError, OSError) as error:
            text = plain(str(error) or type(error).__name__)
            return Failure(error_class=TRANSIENT, text=f"the exchange failed: {text}", again=True)
        trace.status = 200
        trace.request_id = plain(response.provider_response_id or "")
        whole = whole_of(response, asked=question.request.model)
        if whole.text and question.on_text is not None and not whole.problem:
            question.on_text(whole.text)
        return finished(whole, question, trace)

    async def close(self) -> None:
        """Close what is open; twice is fine, and the next call opens it anew."""
        self._model = None
        await self._ends.aclose()

    async def _opened(self, key: str) -> Model:
        """The library's model, with the key of now."""
        from pydantic_ai.models import infer_model

        if self._model is None or key != self._key:
            await self.close()
            self._key = key
            model = infer_model(self._name, self._provider)
            self._model = await self._ends.enter_async_context(model)
        return self._model

    def _provider(self, name: str) -> Any:
        """The library's provider. What it does not take (an address, a key) is its own affair."""
        from pydantic_ai.providers import infer_provider_class

        kind = infer_provider_class(name)
        given = {"base_url": self._base_url, "api_key": self._key}
        taken = inspect.signature(kind.__init__).parameters
        return kind(**{each: value for each, value in given.items() if value and each in taken})


def _body(said: object) -> bytes:
    """An error's body as it may have come."""
    try:
        return msgspec.json.encode(said)
    except (TypeError, ValueError, RecursionError):
        return str(said).encode("utf-8", "replace")
