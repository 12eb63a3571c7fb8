"""The operations over HTTP: JSON in and out, streams as one JSON document a line, errors with place and cure.

Whatever a caller sends gets an answer below 500: it is parsed, checked for depth, types and unknown keys before any
handler sees it. Knows nothing of sockets, nor of what an operation does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.domain.errors import Internal, Invalid, NotFound, OstinatoError
from ostinato.domain.secret import KNOWN
from ostinato.gateway.access import Stranger, caller_of, check_role
from ostinato.gateway.context import Context
from ostinato.gateway.metrics_api import metrics_text
from ostinato.gateway.notation import closest
from ostinato.gateway.openapi import document
from ostinato.gateway.operation import AnyRoute, Operation, is_list_field, read_request
from ostinato.gateway.registry import routes

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

BODY_BYTES_MAX = 1_048_576
"""1 MiB: five times the longest text of any request."""

DISCARDED_BYTES_MAX = 16 * BODY_BYTES_MAX
"""A longer body is read to here and thrown away: whoever is still sending could not read the refusal."""

BODY_TIMEOUT_S = 30.0
"""How long a caller may take to send a body."""

STATUS = {"invalid": 422, "not_found": 404, "conflict": 409, "denied": 403, "exhausted": 429, "internal": 500}
"""Error code -> HTTP status. A body that is no JSON at all is 400, one that is too long 413."""

Unready = Callable[[], str]
"""Says why the node cannot take work now; empty where it can."""

Surprise = Callable[[str, BaseException], None]
"""Is told of an error that no caller can be blamed for: the operation's name and what was raised."""


class HttpSettings:
    """What the application is told by whoever builds it."""

    def __init__(self, context: Context, *, unready: Unready, surprised: Surprise, closing: asyncio.Event) -> None:
        self.context = context
        self.unready = unready
        self.surprised = surprised
        self.closing = closing
        """Set when the server stops: streams end."""


def make_app(settings: HttpSettings) -> Starlette:
    """The application: every operation of the registry, its description, and health."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import Response
    from starlette.routing import Route

    async def healthz(_request: Request) -> Response:
        return _json({"ok": True})

    async def readyz(_request: Request) -> Response:
        why = settings.unready()
        return _json({"ok": not why, "reason": why}, status=503 if why else 200)

    async def metrics(_request: Request) -> Response:
        try:
            text = await metrics_text(settings.context)
        except OstinatoError as error:
            return _refusal(error)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def openapi(_request: Request) -> Response:
        return Response(await asyncio.to_thread(_described), media_type="application/json")

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _refusal(_no_route(request.url.path, error.status_code), status=error.status_code)

    endpoints = [Route(_pattern(each), _endpoint(each, settings), methods=[each.method]) for each in _specific_first()]
    endpoints += [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    endpoints += [Route("/api/v1/openapi.json", openapi)]
    app = Starlette(routes=endpoints, exception_handlers={404: unknown, 405: unknown})
    app.router.redirect_slashes = False  # a path is there or not; no caller follows a redirect
    return app


@cache
def _described() -> bytes:
    """The description of all operations, written for the first who asks: it takes 40 ms, and few do."""
    return msgspec.json.encode(document(routes()))


def _specific_first() -> list[AnyRoute]:
    """Paths without a field before those that could swallow them: `/events/follow` before `/events/{id}`."""
    return sorted(routes(), key=lambda each: (len(each.path_keys), -each.path.count("/")))


def _pattern(route: AnyRoute) -> str:
    """The path as the router wants it: keys of sessions and names of schedules may contain slashes."""
    return route.path.replace("{session}", "{session:path}").replace("{name}", "{name:path}")


def _endpoint(route: AnyRoute, settings: HttpSettings) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            caller = await caller_of(settings.context.store, _token(request))
            check_role(route, caller)
            asked = await _read(route, request)
            context = settings.context.as_caller(caller)
            if isinstance(route, Operation):
                return _json(await route.handler(context, asked))
            if request.method == "HEAD":
                return _json({})
            items = route.handler(context, asked)
            first = await anext(items, None)
            return _lines(items, first=first, settings=settings, name=route.name)
        except _TooLong as error:
            return _refusal(error, status=413)
        except _Malformed as error:
            return _refusal(error, status=400)
        except Stranger as error:
            return _refusal(error, status=401)
        except OstinatoError as error:
            if error.code == "internal":
                settings.surprised(route.name, error)
            return _refusal(error)
        except Exception as error:  # a handler may raise anything; the caller gets words, the log the traceback
            settings.surprised(route.name, error)
            return _refusal(_surprise(error))

    return endpoint


class _Malformed(Invalid):
    """What came is no request at all."""


class _TooLong(Invalid):
    """More came than anything could need."""


def _token(request: Request) -> str | None:
    """What the caller shows to prove who they are."""
    head = request.headers.get("authorization", "")
    kind, _, token = head.partition(" ")
    if head and kind.lower() != "bearer":
        raise Stranger(f"Tokens are shown as 'Bearer ...', not as {kind[:20]!r}", place="header authorization")
    return token.strip() or None


async def _read(route: AnyRoute, request: Request) -> Any:
    fields: dict[str, Any] = dict(request.path_params)
    body = await _body(request)
    query = request.query_params.multi_items()
    if route.writes and query and route.method != "DELETE":
        place = f"query, key {query[0][0][:60]!r}"
        raise Invalid(f"{route.name} takes its keys in the body", place=place, cure="Send them as a JSON object.")
    if route.writes and route.method != "DELETE":
        return read_request(route, _merged(fields, _decoded(body, request), place="body"), place="body")
    if body:
        raise Invalid(f"{route.name} takes no body", place="body", cure="Put its keys into the query.")
    found: dict[str, Any] = {}
    for key, value in query:
        if is_list_field(route, key):
            found.setdefault(key, []).append(value)
        elif key in found:
            raise Invalid("is given twice", place=f"query, key {key[:60]!r}", cure="Give it once.")
        else:
            found[key] = value
    return read_request(route, _merged(fields, found, place="query"), text=True, place="query")


def _merged(path: dict[str, Any], rest: dict[str, Any], *, place: str) -> dict[str, Any]:
    for key in path:
        if key in rest:
            raise Invalid("stands in the path already", place=f"{place}, key {key!r}", cure="Leave it out here.")
    return {**rest, **path}


async def _body(request: Request) -> bytes:
    from starlette.requests import ClientDisconnect

    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > DISCARDED_BYTES_MAX:
                    break
                if size <= BODY_BYTES_MAX:
                    parts.append(part)
    except TimeoutError:
        cure = "Send it again."
        raise _Malformed(f"The body took longer than {BODY_TIMEOUT_S:g} s", place="body", cure=cure) from None
    except ClientDisconnect:
        raise _Malformed("The body was cut off", place="body", cure="Send it again, whole.") from None
    if size > BODY_BYTES_MAX:
        raise _TooLong(f"More than {BODY_BYTES_MAX} bytes", place="body", cure="Send less.")
    return b"".join(parts)


def _decoded(body: bytes, request: Request) -> dict[str, Any]:
    if not body.strip():
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Invalid(f"The body is {kind[:60] or 'of no type'}", place="header content-type", cure="application/json")
    try:
        decoded = msgspec.json.decode(body)
    except RecursionError:
        raise _Malformed("The JSON is nested too deep", place="body", cure="Flatten it.") from None
    except UnicodeDecodeError:
        raise _Malformed("This is not UTF-8", place="body", cure="Send one JSON object in UTF-8.") from None
    except msgspec.DecodeError as error:
        raise _Malformed(str(error), place="body", cure="Send one JSON object in UTF-8.") from None
    if not isinstance(decoded, dict):
        raise Invalid("The body is not an object", place="body", cure='Send {"key": value}.')
    return decoded


def _json(value: object, *, status: int = 200) -> Response:
    from starlette.responses import Response

    body = KNOWN.stored(msgspec.json.encode(value))
    return Response(body, status_code=status, media_type="application/json")


def error_body(error: OstinatoError) -> dict[str, Any]:
    """The form of every error: code, message, place and cure."""
    return {"error": {"code": error.code, "message": error.message, "place": error.place, "cure": error.cure}}


def _refusal(error: OstinatoError, *, status: int | None = None) -> Response:
    code = status or STATUS.get(error.code, 500)
    reply = _json(error_body(error), status=code)
    if code in (429, 503):
        reply.headers["retry-after"] = "5"
    if code == 413:
        reply.headers["connection"] = "close"
    return reply


def _surprise(error: BaseException) -> Internal:
    return Internal(
        f"A promise of the runtime was broken ({type(error).__name__})",
        cure="The node's log has the details; what was not answered was not done.",
    )


def _no_route(path: str, status: int) -> OstinatoError:
    if status == 405:
        methods = sorted({each.method for each in routes() if _fits(each, path)})
        return Invalid(f"{path[:200]!r} does not take that method", cure=f"It takes: {', '.join(methods) or 'GET'}.")
    hint = closest(path, {each.path for each in routes()})
    return NotFound(f"There is no {path[:200]!r}.{hint}", cure="GET /api/v1/openapi.json names everything there is.")


def _fits(route: AnyRoute, path: str) -> bool:
    ours, theirs = route.path.split("/"), path.split("/")
    return len(ours) == len(theirs) and all(a == b or a[:1] == "{" for a, b in zip(ours, theirs, strict=True))


def _lines(items: AsyncIterator[Any], *, first: Any, settings: HttpSettings, name: str) -> Response:
    """A response of one JSON document a line; an empty line says that nothing has happened since the last one."""
    from starlette.responses import Response

    class Lines(Response):
        media_type = "application/x-ndjson"

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            head = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            try:
                await _send_line(send, first)
                async for item in items:
                    await _send_line(send, item)
                    if settings.closing.is_set():
                        break
            except OstinatoError as error:
                await _send_line(send, error_body(error))
            except OSError:
                return  # the reader has gone
            except Exception as error:  # a handler may raise anything; the reader gets words
                settings.surprised(name, error)
                await _send_line(send, error_body(_surprise(error)))
            finally:
                await items.aclose()  # type: ignore[attr-defined]  # streams are async generators
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return Lines()


async def _send_line(send: Send, item: object) -> None:
    line = b"" if item is None else KNOWN.stored(msgspec.json.encode(item))
    await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
