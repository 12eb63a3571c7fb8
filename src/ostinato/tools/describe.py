"""The reference of the tools, written from the tools themselves. Knows nothing of where it is printed."""

from __future__ import annotations

from typing import Any

from ostinato.tools.port import AnyTool, OutsideTool, StoreTool, TurnTool
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import usage

ACTS = {StoreTool: "store", OutsideTool: "files", TurnTool: "turn"}
"""What a tool of the runtime acts on."""

_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {}",
    "pattern": "matches `{}`",
}


_FAMILIES = {"exec.": "commands", "http.": "web", "web.": "web"}


def reference() -> str:
    """Every tool in Markdown: what it does, its effect, its arguments with their bounds."""
    return "\n\n".join(_section(tool) for tool in standard_toolbox())


def _section(tool: AnyTool) -> str:
    on = next((words for family, words in _FAMILIES.items() if tool.name.startswith(family)), ACTS[type(tool)])
    says = [f"effect `{tool.effect.value}`", f"acts on the {on}"]
    if tool.outward:
        says.append("outward")
    if tool.always_allowed:
        says.append("always allowed")
    lines = [f"### {tool.name}", "", tool.description, "", f"`{usage(tool)}`: {', '.join(says)}."]
    bounds = [
        f"- `{name}`: {text}" for name, schema in tool.parameters["properties"].items() if (text := _bounds(schema))
    ]
    return "\n".join([*lines, "", *bounds] if bounds else lines)


def _bounds(schema: dict[str, Any]) -> str:
    said = [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]
    said = ["not empty" if each == _BOUNDS["minLength"].format(1) else each for each in said]
    if "items" in schema and (each := _bounds(schema["items"])):
        said.append(f"each {each}")
    return ", ".join(said)
