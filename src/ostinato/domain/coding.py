"""What a coding agent of another make says, line by line, as people read it.

Two streams of JSON events are known, that of `claude -p --output-format stream-json` and that of `codex exec --json`; a
line of neither is shown as it is. Pure: text in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ostinato.domain.values import Value

LINE_CHARS_MAX = 2_000
"""Of one entry of a transcript."""


class CodingReport(Value):
    """What a run said of itself. `result` is its last word; `failed` names what went wrong, as far as it says so."""

    transcript: str = ""
    result: str = ""
    failed: str = ""
    model: str = ""
    session: str = ""
    """Its own name for the conversation, with which it could be resumed."""
    usd_micros: int | None = None
    """None: it did not say."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


def read_report(output: str) -> CodingReport:
    """The report in an output; what is no event is a line of the transcript."""
    reader = _Reader()
    for line in output.splitlines():
        reader.take(line)
    return reader.report()


class _Reader:
    """Gathers a report while it goes through the lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._facts: dict[str, Any] = {}
        self._last = ""
        self._plain: list[str] = []

    def take(self, line: str) -> None:
        event = _event(line)
        if event is None:
            if line.strip():
                self._plain.append(line)
                self._say("", line)
            return
        kind = event.get("type")
        match kind:
            case "assistant" | "user":
                self._message(event)
            case "result":
                self._end(event)
            case "system":
                self._keep(model=event.get("model"), session=event.get("session_id"))
            case "thread.started":
                self._keep(session=event.get("thread_id"))
            case "item.completed":
                self._item(_group(event.get("item")))
            case "turn.completed":
                self._use(_group(event.get("usage")), cached="cached_input_tokens")
            case "turn.failed" | "error":
                error = event.get("error")
                self._keep(failed=error.get("message") if isinstance(error, dict) else event.get("message") or error)
            case _:
                pass  # progress: what comes of it is told later

    def report(self) -> CodingReport:
        facts = {"result": self._last or "\n".join(self._plain[-20:]), **self._facts}
        return CodingReport(transcript="\n".join(self._lines), **facts)

    def _message(self, event: dict[str, Any]) -> None:
        """A message of the first kind of stream."""
        content = _group(event.get("message")).get("content")
        for part in content if isinstance(content, list) else ():
            part = _group(part)
            match part.get("type"):
                case "text":
                    self._last = _text(part.get("text"))
                    self._say("says", self._last)
                case "tool_use":
                    self._say(f"uses {_text(part.get('name'))}", _short(part.get("input")))
                case "tool_result":
                    self._say("gets", _text(part.get("content")))
                case _:
                    pass  # thoughts are its own

    def _end(self, event: dict[str, Any]) -> None:
        self._use(_group(event.get("usage")), cached="cache_read_input_tokens")
        cost = event.get("total_cost_usd")
        if isinstance(cost, int | float) and 0 <= cost < 1e9:
            self._facts["usd_micros"] = round(cost * 1_000_000)
        result = _text(event.get("result"))
        if event.get("is_error") or str(event.get("subtype", "")).startswith("error"):
            self._keep(failed=result or _text(event.get("subtype")))
        elif result:
            self._facts["result"] = result

    def _item(self, item: dict[str, Any]) -> None:
        """An item of the second kind of stream."""
        match item.get("type"):
            case "agent_message":
                self._last = _text(item.get("text"))
                self._say("says", self._last)
            case "command_execution":
                code = item.get("exit_code")
                self._say(f"runs {_text(item.get('command'))} (exit {code})", _text(item.get("aggregated_output")))
            case "file_change":
                self._say("changes", _short(item.get("changes")))
            case "error":
                self._say("error", _text(item.get("message")))
            case "reasoning" | None:
                pass
            case other:
                self._say(_text(other), _short({k: v for k, v in item.items() if k not in ("id", "type")}))

    def _use(self, usage: dict[str, Any], *, cached: str) -> None:
        numbers = {"input_tokens": "input_tokens", "output_tokens": "output_tokens", "cached_tokens": cached}
        for name, key in numbers.items():
            count = usage.get(key)
            if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**53:
                self._facts[name] = self._facts.get(name, 0) + count

    def _keep(self, **facts: Any) -> None:
        self._facts |= {name: _text(value) for name, value in facts.items() if value}

    def _say(self, head: str, text: str) -> None:
        text = text.strip()
        if len(text) > LINE_CHARS_MAX:
            text = f"{text[:LINE_CHARS_MAX]} [{len(text)} characters]"
        self._lines.append(f"{head}: {text}" if head else text)


def _event(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = msgspec.json.decode(line.strip().encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("type"), str) else None


def _group(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """Whatever stands for text: a text, or parts of which some are."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_texts(value))
    return "" if value is None else _short(value)


def _texts(parts: Iterable[object]) -> Iterable[str]:
    return (_text(part.get("text")) for part in parts if isinstance(part, dict) and "text" in part)


def _short(value: object) -> str:
    return msgspec.json.encode(value).decode()
