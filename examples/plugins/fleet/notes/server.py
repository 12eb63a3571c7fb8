"""A server of the Model Context Protocol in forty lines: it has one tool, which adds a line to a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ADD = {
    "name": "add",
    "description": "Add a note to the file of purchases.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """The result of one request."""
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]
            return {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "notes", "version": "1"},
            }
        case "tools/list":
            return {"tools": [ADD]}
        case "tools/call":
            text = message["params"]["arguments"]["text"]
            with Path("purchases.txt").open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")
            return {"content": [{"type": "text", "text": text}]}
        case _:
            return {}


def main() -> None:
    """Until there is nobody any more who asks."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
