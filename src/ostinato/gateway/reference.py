"""The reference of the API as Markdown, written from the registry of operations.

Knows nothing of HTTP beyond methods and paths.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from ostinato.gateway.operation import AnyRoute, Stream
from ostinato.gateway.registry import routes


def operations() -> str:
    """Every operation: its name, route and role, what it does, its request and its answer."""
    return "\n\n".join(_operation(each) for each in routes())


def structs() -> str:
    """Every answer, key by key, and what it is made of."""
    wanted = list(dict.fromkeys(each.response for each in routes()))
    _, components = msgspec.json.schema_components(wanted)
    documented = {each.__name__: each for each in _all_structs(wanted)}
    parts = []
    for name, schema in components.items():
        text = _first_lines(documented[name])
        rows = "\n".join(f"| `{key}` | {_type(each)} |" for key, each in schema["properties"].items())
        parts.append(f"### {name}\n\n{text}\n\n| Key | Value |\n|---|---|\n{rows}")
    return "\n\n".join(parts)


def _operation(route: AnyRoute) -> str:
    answer = "a stream of " if isinstance(route, Stream) else ""
    head = f"### {route.name}\n\n`{route.method} {route.path}`, for {_role(route)}; answers with {answer}"
    head += f"[{route.response.__name__}](#{route.response.__name__.lower()})"
    parts = [head, " ".join(route.summary.split())]
    schema = msgspec.json.schema(route.request)["$defs"][route.request.__name__]
    required = set(schema.get("required", []))
    rows = []
    for key, each in schema["properties"].items():
        place = "path" if key in route.path_keys else "body" if route.method == "POST" else "query"
        default = "needed" if key in required else f"`{_plain(each.get('default'))}`"
        rows.append(f"| `{key}` | {place} | {_type(each)} | {default} |")
    if rows:
        parts.append("| Key | In | Value | Default |\n|---|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _role(route: AnyRoute) -> str:
    return {"VIEWER": "viewers", "OPERATOR": "operators", "ADMIN": "admins"}[route.role.name]


def _all_structs(wanted: list[type]) -> list[type]:
    """These and the structs in their fields."""
    found: list[type] = []
    pending: list[Any] = list(wanted)
    while pending:
        each = pending.pop()
        if inspect.isclass(each) and issubclass(each, msgspec.Struct) and each not in found:
            found.append(each)
            pending += [field.type for field in msgspec.structs.fields(each)]
        else:
            pending += getattr(each, "__args__", ())
    return found


def _first_lines(struct: type) -> str:
    return " ".join(inspect.cleandoc(struct.__doc__ or "").split())


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) and inner else "object"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    longest = [f"up to {schema['maxLength']} characters"] if "maxLength" in schema else []
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return " ".join([words.get(str(kind), str(kind)), *bounds, *longest])


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()
