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
from ostinato.models.http_transport import Patience
from ostinato.models.pydantic_ai.chat import messages_of, parameters_of, settings_of, whole_of
from ostinato.models.pydantic_ai.wire import HEARD, Heard, client_for, judged
from ostinato.models.reply import UNKNOWN_SHAPE, Whole
from ostinato.models.settings import Timeouts

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model

CAUSES_MAX = 10
"""Errors behind an error that are looked through."""

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
        self._client: httpx2.AsyncClient | None = None
        self._key = ""
        self._opening = asyncio.Lock()
        self._ends = contextlib.AsyncExitStack()

    async def exchange(self, question: Question, trace: Trace) -> ModelReply | Failure:
        """One attempt (see `Transport`)."""
        try:
            model = await self._opened(question.key)
        except Exception as error:  # a library that is missing, a name that nobody knows, a client that wants more
            return _unopened(error)
        timeouts = self._timeouts
        until_answer_s = timeouts.connect_s + timeouts.first_byte_s if self._client is not None else timeouts.total_s
        limit = asyncio.timeout(min(until_answer_s, timeouts.total_s))
        heard = Heard(Patience(limit, timeouts))
        response, failed = None, None
        HEARD.set(heard)
        try:
            async with limit:
                response = await self._asked(model, question)
        except TimeoutError:
            trace.status = heard.status
            return Failure(error_class=TRANSIENT, text=f"given up after {heard.patience.phase}")
        except Exception as error:  # the library reads what a server sends, and raises whatever comes of that
            failed = error
        found = judged(heard, question, trace, now=self._now())
        if found is not None:
            return found
        if response is None:
            return self._failure(failed, heard, question=question, trace=trace)
        return _reply(response, question, trace)

    async def _asked(self, model: Model, question: Question) -> ModelResponse:
        from pydantic_ai import direct

        return await direct.model_request(
            model,
            messages_of(question.request, question.names),
            model_settings=settings_of(question.request, total_s=self._timeouts.total_s),
            model_request_parameters=parameters_of(question.request, question.names),
        )

    def _failure(
        self, error: Exception | None, heard: Heard, *, question: Question, trace: Trace
    ) -> ModelReply | Failure:
        """What the library says, where the answer was not seen, or was seen to be sound."""
        from pydantic_ai.exceptions import ModelHTTPError, UserError

        if heard.is_whole:
            return finished(Whole(problem=UNKNOWN_SHAPE), question, trace)
        if isinstance(error, ModelHTTPError):
            trace.status = error.status_code
            return failure_of_status(
                error.status_code,
                _body(error.body or error.message),
                after_s=retry_after_s(error.headers or {}, self._now()),
                key_name=question.key_name,
            )
        text = plain(_innermost(error))
        if isinstance(error, UserError | ImportError):
            return Failure(error_class=PERMANENT, text=text, cure="Check `model`; " + INSTALL)
        return Failure(error_class=TRANSIENT, text=f"the exchange failed: {text}", again=True)

    async def close(self) -> None:
        """Close what is open; twice is fine, and the next call opens it anew."""
        self._model = None
        await self._ends.aclose()

    async def _opened(self, key: str) -> Model:
        """The library's model, with the key of now. One call opens it; others wait for that."""
        from pydantic_ai.models import infer_model

        async with self._opening:
            if self._model is None or key != self._key:
                await self.close()
                self._key = key
                model = infer_model(self._name, self._provider)
                self._model = await self._ends.enter_async_context(model)
                if self._client is not None:
                    await self._ends.enter_async_context(self._client)
            return self._model

    def _provider(self, name: str) -> Any:
        """The library's provider. Raises ValueError where it does not take what a setting says."""
        from pydantic_ai.providers import infer_provider_class

        kind = infer_provider_class(name)
        self._client = client_for(kind, connect_s=self._timeouts.connect_s, total_s=self._timeouts.total_s)
        taken = inspect.signature(kind.__init__).parameters
        given = {"base_url": self._base_url, "api_key": self._key}
        for setting, value in given.items():
            if value and setting not in taken:  # left out, it would go to another host, or with another key
                raise ValueError(f"{name} takes no {setting}")
        given = {each: value for each, value in given.items() if value}
        return kind(**given, **({"http_client": self._client} if self._client is not None else {}))


def _innermost(error: BaseException | None) -> str:
    """The words of what was at the bottom of it: the library's own are `Connection error.` for whatever happened."""
    for _ in range(CAUSES_MAX):
        if error is None or error.__cause__ is None:
            break
        error = error.__cause__
    return str(error) or type(error).__name__


def _unopened(error: Exception) -> Failure:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "pydantic_ai":
        return Failure(error_class=PERMANENT, text="pydantic-ai is not installed", cure=INSTALL)
    text = plain(str(error) or type(error).__name__)
    return Failure(error_class=PERMANENT, text=text, cure="Check `model`; " + INSTALL)


def _reply(response: ModelResponse, question: Question, trace: Trace) -> ModelReply:
    trace.status = trace.status or 200
    trace.request_id = trace.request_id or plain(str(response.provider_response_id or ""))
    try:
        whole = whole_of(response, asked=question.request.model)
    except (TypeError, ValueError):  # the library checks little of what it takes over
        whole = Whole(problem=UNKNOWN_SHAPE)
    if whole.text and question.on_text is not None and not whole.problem:
        question.on_text(whole.text)
    return finished(whole, question, trace)


def _body(said: object) -> bytes:
    """An error's body as it may have come."""
    try:
        return msgspec.json.encode(said)
    except (TypeError, ValueError, RecursionError):
        return str(said).encode("utf-8", "replace")
