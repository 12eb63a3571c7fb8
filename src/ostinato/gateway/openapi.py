"""The OpenAPI document, written from the registry: it cannot say anything that is not so.

Knows nothing of HTTP beyond that format (OpenAPI 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ostinato import __version__
from ostinato.gateway.operation import AnyRoute, Stream, View

ERROR_STATUS = {
    "400": "not JSON at all",
    "403": "the role or a policy forbids it",
    "404": "no such thing",
    "409": "its state forbids it",
    "413": "too long",
    "422": "a key is unknown, missing or wrong",
    "429": "a limit is reached; try later",
}


class ErrorDetail(View):
    """What was wrong, where, and what to do."""

    code: str
    message: str
    place: str
    cure: str


class ErrorBody(View):
    """Every answer that is no success."""

    error: ErrorDetail


def document(routes: Sequence[AnyRoute]) -> dict[str, Any]:
    """The whole document as plain values."""
    kinds = [each.request for each in routes] + [each.response for each in routes] + [ErrorBody]
    unique = list(dict.fromkeys(kinds))
    refs, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(unique, refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in routes:
        paths.setdefault(each.path, {})[each.method.lower()] = _entry(each, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ostinato", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _entry(route: AnyRoute, schemas: dict[type, dict[str, Any]], components: dict[str, Any]) -> dict[str, Any]:
    media = "application/x-ndjson" if isinstance(route, Stream) else "application/json"
    summary = " ".join(route.summary.split())
    error = {"application/json": {"schema": schemas[ErrorBody]}}
    entry: dict[str, Any] = {
        "operationId": route.name,
        "summary": summary.partition(". ")[0].rstrip("."),
        "description": f"{summary} Needs the role {route.role.name.lower()}.",
        "responses": {
            "200": {
                "description": "one document a line, as it happens" if isinstance(route, Stream) else "done",
                "content": {media: {"schema": schemas[route.response]}},
            },
            **{status: {"description": text, "content": error} for status, text in ERROR_STATUS.items()},
        },
    }
    properties = components[route.request.__name__]["properties"]
    in_query = not route.writes or route.method == "DELETE"
    entry["parameters"] = [
        {"name": key, "in": "path", "required": True, "schema": properties[key]} for key in route.path_keys
    ]
    if in_query:
        entry["parameters"] += [
            {"name": key, "in": "query", "schema": schema}
            for key, schema in properties.items()
            if key not in route.path_keys
        ]
    else:
        entry["requestBody"] = {"content": {"application/json": {"schema": _body(route, components)}}}
    return entry


def _body(route: AnyRoute, components: dict[str, Any]) -> dict[str, Any]:
    """The request without what stands in the path."""
    whole = components[route.request.__name__]
    return {
        **whole,
        "properties": {key: value for key, value in whole["properties"].items() if key not in route.path_keys},
        "required": [key for key in whole.get("required", []) if key not in route.path_keys],
    }
