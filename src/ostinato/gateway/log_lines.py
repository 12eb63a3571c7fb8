"""Log lines on standard error: one subscriber on the fleet's events, and one for what the engine has to say.

Every line has a time, a level, an event and its facts as JSON. Nothing that could hold a secret is logged: no
environment, no arguments of tools, no texts of models. Knows nothing of who reads them.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from ostinato.domain.event import Event, EventName
from ostinato.domain.secret import KNOWN
from ostinato.engine.notice import Notice, StoreChecked
from ostinato.gateway.notation import iso
from ostinato.gateway.sentences import sentence

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

QUIET = frozenset(
    {
        EventName.TASK_CLAIMED,
        EventName.TASK_RELEASED,
        EventName.TASK_WOKEN,
        EventName.MESSAGE_APPENDED,
        EventName.HEARTBEAT_SKIPPED,
        EventName.HEARTBEAT_FIRED,
        EventName.AGENT_LOADED,
    }
)
"""Events of every minute: they are in the record, not in the log."""

BAD = frozenset(
    {
        EventName.TASK_FAILED,
        EventName.NODE_LOST,
        EventName.AGENT_INVALID,
        EventName.DISK_FULL,
        EventName.FILE_REFUSED,
        EventName.TASK_RETRIED,
        EventName.TURN_LIMITED,
        EventName.TASK_LATE,
        EventName.TASK_STALLED,
        EventName.AUDIT_BROKEN,
    }
)


class LogLines:
    """Writes log lines; give its methods to whoever announces something."""

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stderr
        self._logger: FilteringBoundLogger | None = None

    def events(self, events: Sequence[Event]) -> None:
        """The store's listener."""
        for event in events:
            if event.name not in QUIET:
                level = "warning" if event.name in BAD else "info"
                task = f"T{event.task}" if event.task else None
                self.say(level, sentence(event), event=event.name.value, at=iso(event.at), task=task, agent=event.agent)

    def notice(self, notice: Notice) -> None:
        """The engine's listener."""
        facts: dict[str, Any] = {
            key: value for key, value in msgspec.to_builtins(notice).items() if key not in ("type", "traceback")
        }
        fine = isinstance(notice, StoreChecked) and notice.result == "ok"
        said = getattr(notice, "error", "") or getattr(notice, "reason", "") or type(notice).__name__
        self.say("info" if fine else "error", str(said), event=f"engine.{_snake(type(notice).__name__)}", **facts)
        if trace := getattr(notice, "traceback", ""):
            self._output.write(KNOWN.text(f"{trace.rstrip()}\n"))

    def surprise(self, operation: str, error: BaseException) -> None:
        """An operation that failed by our own fault."""
        self.say("error", f"{type(error).__name__}: {error}", event="gateway.surprise", operation=operation)
        self._output.write(KNOWN.text("".join(traceback.format_exception(error)))[-16_000:])

    def say(self, level: str, text: str, *, event: str, **facts: Any) -> None:
        """One line. Facts that are None are left out."""
        logger = self._logger or self._make()
        shown = {key: value for key, value in facts.items() if value is not None}
        getattr(logger, level)(event, text=text, **shown)

    def _make(self) -> FilteringBoundLogger:
        """structlog is loaded with the first line, not with the node: it takes longer than all the rest. It would load
        rich as well, a third of its time, for tracebacks that are never drawn here."""
        is_loaded = sys.modules.setdefault("rich", None) is not None  # type: ignore[arg-type]  # None: cannot be imported
        try:
            import structlog
        finally:
            if not is_loaded:
                del sys.modules["rich"]

        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(self._output),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=lambda facts, **_: _encoded(facts)),
            ],
            wrapper_class=structlog.make_filtering_bound_logger("info"),
        )
        assert self._logger is not None
        return self._logger


def _encoded(facts: dict[str, Any]) -> str:
    """What a reader looks for first stands first."""
    ordered = {key: facts[key] for key in ("timestamp", "level", "event", "text") if key in facts}
    return KNOWN.text(msgspec.json.encode({**ordered, **facts}, enc_hook=str).decode(errors="replace"))


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")
