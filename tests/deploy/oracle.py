"""A model behind real HTTP that says nothing until a test lets it: each question waits, and shows what was asked.

A question that a killed node has asked is simply never answered.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 30.0


class Question:
    """One request for a reply."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self._settled = threading.Event()
        self._message: dict[str, Any] | None = None

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body["model"])

    @property
    def system(self) -> str:
        """The instructions."""
        return str(self.body["messages"][0]["content"])

    @property
    def latest(self) -> str:
        """What was said or done last."""
        return str(self.body["messages"][-1]["content"])

    @property
    def calls_so_far(self) -> int:
        """Replies of the model that it is shown again."""
        return sum(each["role"] == "assistant" for each in self.body["messages"])

    @property
    def tools(self) -> set[str]:
        """Names of the tools that it may call."""
        return {each["function"]["name"].replace("__", ".") for each in self.body.get("tools", ())}

    def say(self, text: str) -> None:
        """Replies with a text."""
        self._settle({"role": "assistant", "content": text})

    def call(self, tool: str, **arguments: Any) -> None:
        """Replies with one call."""
        function = {"name": tool.replace(".", "__"), "arguments": json.dumps(arguments)}
        call_id = f"call-{self.calls_so_far}"
        self._settle(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": call_id, "type": "function", "function": function}],
            }
        )

    def _settle(self, message: dict[str, Any]) -> None:
        self._message = message
        self._settled.set()

    def reply(self) -> dict[str, Any] | None:
        """What the server sends once the test has spoken; None where it never will."""
        self._settled.wait(PATIENCE_S)
        if self._message is None:
            return None
        finish = "tool_calls" if self._message.get("tool_calls") else "stop"
        choice = {"index": 0, "message": self._message, "finish_reason": finish}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return {"id": "r", "object": "chat.completion", "model": self.model, "choices": [choice], "usage": usage}

    def drop(self) -> None:
        """Nobody listens any more."""
        self._settled.set()


class Oracle:
    """The server: `ask` gives the next question."""

    def __init__(self) -> None:
        self._questions: queue.Queue[Question] = queue.Queue()
        self._all: list[Question] = []
        oracle = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                question = oracle._take(json.loads(self.rfile.read(length)))
                answer = question.reply()
                if answer is None:
                    return
                data = json.dumps(answer).encode()
                with contextlib.suppress(OSError):  # whoever asked is gone
                    self.send_response(200)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def asked(self) -> int:
        """Questions so far."""
        return len(self._all)

    def next(self) -> Question:
        """The next question; fails after PATIENCE_S."""
        return self._questions.get(timeout=PATIENCE_S)

    def _take(self, body: dict[str, Any]) -> Question:
        question = Question(body)
        self._all.append(question)
        self._questions.put(question)
        return question

    def close(self) -> None:
        """Answers nobody any more."""
        for each in self._all:
            each.drop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def oracle() -> Iterator[Oracle]:
    """A model for one test."""
    made = Oracle()
    try:
        yield made
    finally:
        made.close()
