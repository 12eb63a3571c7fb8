"""`http.get`, `http.post`, `web.read`, `web.search`, `web.more`: what agents read of the web, and send to it.

What comes back was written by strangers, and says so. To get an address is outward, too: its host sees it; and so is a
search, whose provider reads the query. A model
names addresses and plain headers; secrets are added by TOOLS.md, for the hosts that they are declared for. Knows
nothing of how a connection is made.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ostinato.domain.errors import Denied, Invalid
from ostinato.domain.policy import Policy
from ostinato.domain.secret import KNOWN
from ostinato.domain.step import Effect, ResultStatus
from ostinato.domain.values import to_json
from ostinato.tools.port import (
    AnyTool,
    Arguments,
    CallReport,
    OutsideTool,
    ToolContext,
    ToolResult,
    object_schema,
    text_schema,
)
from ostinato.tools.sandbox.spill import SHOWN_BYTES
from ostinato.tools.web.client import WebAnswer, WebRequest
from ostinato.tools.web.markdown import readable
from ostinato.tools.web.place import MORE_TOOL, WebPlace, told
from ostinato.tools.web.target import URL_CHARS_MAX, declared_hosts, parse_target

TIMEOUT_S = 60.0
"""Of one call."""
HITS_MAX = 20
"""Pages that a search returns at most."""
HITS = 8
PROVIDER = "search provider"
"""What a search reaches where no provider is set: nobody."""
BODY_CHARS_MAX = 1_000_000
"""Of a body that is sent."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_OURS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect")
) | {"accept-encoding", "cookie"}
_URL = text_schema(least=1, most=URL_CHARS_MAX)
_HEADERS = {"type": "object", "additionalProperties": text_schema(most=2_000), "maxProperties": 20}


def web_tools(place: WebPlace | None) -> tuple[AnyTool, ...]:
    """The tools of the web; without a place they can be described, and refuse."""
    outside: dict[str, Any] = {"effect": Effect.READ, "outside_text": True, "timeout_s": TIMEOUT_S}
    return (
        OutsideTool(
            name="http.get",
            description="Get an address of a declared host as it is.",
            parameters=object_schema("url", url=_URL, headers=_HEADERS),
            outward=True,
            hosts=_hosts,
            act=partial(_get, place),
            **outside,
        ),
        OutsideTool(
            name="http.post",
            description="Post JSON or a text to a declared host.",
            parameters=object_schema(
                "url", url=_URL, json={"type": "object"}, text=text_schema(most=BODY_CHARS_MAX), headers=_HEADERS
            ),
            effect=Effect.IRREVERSIBLE,
            outward=True,
            outside_text=True,
            timeout_s=TIMEOUT_S,
            hosts=_hosts,
            act=partial(_post, place),
        ),
        OutsideTool(
            name="web.read",
            description="Read a page of a declared host as Markdown.",
            parameters=object_schema("url", url=_URL),
            outward=True,
            hosts=_hosts,
            act=partial(_read, place),
            **outside,
        ),
        *_finding(place, outside),
    )


def _finding(place: WebPlace | None, outside: dict[str, Any]) -> tuple[AnyTool, ...]:
    return (
        OutsideTool(
            name="web.search",
            description="Search the web.",
            parameters=object_schema(
                "query",
                query=text_schema(least=1, most=400),
                most={"type": "integer", "minimum": 1, "maximum": HITS_MAX},
            ),
            outward=True,
            reaches=(place.search.host if place and place.search else PROVIDER,),
            report=partial(_report_search, place),
            act=partial(_search, place),
            **outside,
        ),
        OutsideTool(
            name=MORE_TOOL,
            description="Read on in an answer of the web, from a byte.",
            parameters=object_schema(
                "output", output=text_schema(least=1, most=64), from_={"type": "integer", "minimum": 0}
            ),
            act=partial(_more, place),
            **outside,
        ),
    )


def _hosts(arguments: Arguments) -> tuple[str, ...]:
    return declared_hosts(arguments["url"])


def _placed(place: WebPlace | None) -> WebPlace:
    if place is None:
        raise Denied("The web has no place here")
    return place


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """Headers as a model may set them. Raises Invalid for the connection's own, and for what is none."""
    for name, value in given.items():
        lower = name.lower()
        if not _HEADER.fullmatch(name) or lower in _OURS or lower.startswith(("proxy-", "sec-")):
            raise Invalid(f"{name[:64]!r} is no header that can be set")
        if "${{" in value:
            cure = "A person declares it in TOOLS.md, credentials; it is then added by itself."
            raise Invalid(f"The header {name} names a secret", cure=cure)
        if not (value.isascii() and value.isprintable()):
            raise Invalid(f"The header {name} holds what no header can")
    return dict(given)


def _request(context: ToolContext, arguments: Arguments, **more: Any) -> WebRequest:
    given: dict[str, Any] = {"headers": _headers(arguments.get("headers", {})), **more}
    return WebRequest(
        target=parse_target(arguments["url"]),
        network=context.policy.network or (),
        bounds=tuple(_bounds(context.policy)),
        credentials=context.credentials,
        **given,
    )


def _bounds(policy: Policy) -> Iterator[tuple[str, ...]]:
    """The hosts of everybody else who must agree: redirects are held against them, too."""
    for each in policy.within:
        if each.network is not None:
            yield each.network
        yield from _bounds(each)


async def _get(place: WebPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    here = _placed(place)
    answer = await here.client.ask(_request(context, arguments))
    return await asyncio.to_thread(_answered, here, context, answer)


async def _post(place: WebPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    here = _placed(place)
    if ("json" in arguments) == ("text" in arguments):
        raise Invalid("A post has either 'json' or 'text'", cure="Give one of them.")
    headers = _headers(arguments.get("headers", {}))
    if not any(each.lower() == "content-type" for each in headers):
        headers["Content-Type"] = "application/json" if "json" in arguments else "text/plain; charset=utf-8"
    headers["Idempotency-Key"] = context.key
    body = to_json(arguments["json"]) if "json" in arguments else arguments["text"].encode()
    answer = await here.client.ask(_request(context, arguments, method="POST", headers=headers, body=body))
    return await asyncio.to_thread(_answered, here, context, answer)


async def _read(place: WebPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    here = _placed(place)
    headers = {"Accept": "text/html, application/xhtml+xml, text/*;q=0.9, */*;q=0.1"}
    answer = await here.client.ask(_request(context, arguments, headers=headers))
    return await asyncio.to_thread(_page, here, context, answer)


def _page(place: WebPlace, context: ToolContext, answer: WebAnswer) -> ToolResult:
    text = answer.text()
    if text is None or answer.media_type not in ("text/html", "application/xhtml+xml"):
        return _answered(place, context, answer)
    page = readable(text, url=answer.target.url)
    cut = "" if page.is_whole and answer.is_whole else ", cut off"
    head = f"{answer.status}, {answer.target.url}{cut}\n{page.title}"
    return _stated(answer, told(place, context, head=KNOWN.text(head), text=KNOWN.text(page.text)))


def _answered(place: WebPlace, context: ToolContext, answer: WebAnswer) -> ToolResult:
    """The answer as it is, where it is text."""
    size = f"{len(answer.body)} bytes" + ("" if answer.is_whole else ", cut off")
    to = f", leads to {answer.headers['location']}" if "location" in answer.headers else ""
    head = KNOWN.text(f"{answer.status}, {answer.media_type or 'no type'}, {size}, {answer.target.url}{to[:2_000]}")
    text = answer.text()
    if text is None:
        return _stated(answer, ToolResult(text=f"{head}\n\n[no text]", data={"bytes": len(answer.body)}))
    return _stated(answer, told(place, context, head=head, text=KNOWN.text(text)))


def _stated(answer: WebAnswer, result: ToolResult) -> ToolResult:
    status = ResultStatus.OK if 200 <= answer.status < 400 else ResultStatus.ERROR
    data = {**(result.data or {}), "status": answer.status}
    broken = answer.status >= 500 or answer.status == 429
    return ToolResult(status=status, text=result.text, data=data, private=answer.opened, broken=broken)


def _report_search(place: WebPlace | None, _context: ToolContext, _arguments: Arguments) -> CallReport:
    refusal = "" if place is None or place.search else "no search provider is set (ostinato.toml, [web] search)"
    return CallReport(effect=Effect.READ, refusal=refusal)


async def _search(place: WebPlace | None, _context: ToolContext, arguments: Arguments) -> ToolResult:
    here = _placed(place)
    if here.search is None:
        raise Denied("No search provider is set", cure="A person names one in ostinato.toml: [web] search.")
    hits = await here.search.find(arguments["query"], most=arguments.get("most", HITS))
    lines = [f"{number}. {each.title}\n{each.url}\n{each.text}" for number, each in enumerate(hits, 1)]
    return ToolResult(text="\n\n".join(lines) or "Nothing was found.", data={"hits": len(hits)})


async def _more(place: WebPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    kept = await asyncio.to_thread(_placed(place).spill(context).load, arguments["output"])
    start, shown = kept.read(arguments.get("from", 0), SHOWN_BYTES)
    end = start + len(shown)
    text = f"bytes {start} to {end} of {kept.total_bytes}\n{shown.decode(errors='replace')}"
    data = {"from": start, "to": end, "of": kept.total_bytes}
    return ToolResult(text=text, data=data, private=bool(context.credentials))  # a secret may have opened it
