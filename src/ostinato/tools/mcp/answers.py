"""What a server answers to a call, as text for a model: what is no text is described, and secrets are starred out.

Pure but for the secrets that are known; knows nothing of the SDK.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ostinato.domain.secret import KNOWN
from ostinato.domain.values import to_json
from ostinato.tools.mcp.port import Answer
from ostinato.tools.port import RESULT_BYTES_MAX
from ostinato.tools.sandbox.spill import plain

BLOCKS_MAX = 100
"""Pieces of one answer."""


def answer_of(result: dict[str, Any]) -> Answer:
    """The answer in a result of `tools/call`, as plain JSON."""
    blocks = result.get("content") or []
    pieces, size = list[str](), 0
    for each in blocks[:BLOCKS_MAX]:
        pieces.append(_piece(each))
        size += len(pieces[-1])
        if size > RESULT_BYTES_MAX:
            break
    if len(pieces) < len(blocks):
        pieces.append(f"[{len(blocks) - len(pieces)} more pieces are not shown]")
    if not blocks and result.get("structuredContent") is not None:
        pieces.append(to_json(result["structuredContent"]).decode())
    data = KNOWN.data("\n".join(pieces).encode(errors="replace"))
    return Answer(text=plain(data), is_error=bool(result.get("isError")))


def _piece(block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "image" | "audio" as kind:
            return f"[{kind}: {_label(block.get('mimeType'))}, {_size(block.get('data'))} bytes, not shown]"
        case "resource":
            found = block.get("resource") or {}
            if isinstance(found.get("text"), str):
                return f"[resource {_label(found.get('uri'))}]\n{found['text']}"
            return f"[resource {_label(found.get('uri'))}: {_label(found.get('mimeType'))}, not shown]"
        case "resource_link":
            return f"[link to a resource: {_label(block.get('name'))}, {_label(block.get('uri'))}]"
        case other:
            return f"[{_label(other)}, not shown]"


def _label(value: object) -> str:
    return " ".join(str(value or "unknown").split())[:200]


def _size(data: object) -> int:
    try:
        return len(base64.b64decode(str(data), validate=True))
    except (binascii.Error, ValueError):
        return 0
