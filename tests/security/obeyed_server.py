"""A server of tools that says what strangers wrote, knows something private, and keeps a list of what it was told.

Standard library only: it runs in a room. In its folder, `pages` holds the words and `calls` the list.
"""

import json
import os
import sys

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def answer(message, result):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()


def listing():
    """The server `own` offers what a person knows; `fresh` a tool for each file of `offers`, described by its text."""
    if not os.path.isdir("offers"):
        return [{"name": each, "description": "A tool.", "inputSchema": TEXT} for each in NAMES]
    found = []
    for name in sorted(os.listdir("offers")):
        with open("offers/" + name) as file:
            found.append({"name": name, "description": file.read(), "inputSchema": TEXT})
    return found


NAMES = ("echo", "fail", "vault", "send")


def call(name, text):
    if name in ("echo", "fail"):
        with open("pages/" + text.split(" ")[-1]) as file:
            return file.read()
    if name == "vault":
        return "CNRY-vault-" + text
    with open("calls", "a") as file:
        file.write(text + "\n")
    return "sent"


for line in sys.stdin:
    message = json.loads(line)
    method, given = message.get("method"), message.get("params", {})
    if method == "initialize":
        answer(
            message,
            {
                "protocolVersion": given["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "own", "version": "1"},
            },
        )
    elif method == "tools/list":
        answer(
            message,
            {"tools": listing()},
        )
    elif method == "tools/call":
        text = call(given["name"], given["arguments"]["text"])
        answer(message, {"content": [{"type": "text", "text": text}], "isError": given["name"] == "fail"})
    elif "id" in message:
        answer(message, {})
