"""Tells the day as it happens: one line for each mail, made from stored events and journals.

Knows nothing of how the fleet is run, nor of what should happen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from examples.support_inbox.record import LOGGED, MAIL_SESSION, PERSON, endings_of, show_task
from ostinato.cli.client import Client
from ostinato.cli.screen import Screen
from ostinato.cli.visible import cut, width_of
from ostinato.gateway.views import EventView

SUBJECT_COLUMNS = 46
STYLES = {PERSON: "warn", LOGGED: "faint", "billing": "good", "technical": "good", "sales": "good"}


class Teller:
    """Remembers just enough of the events before to tell the next one."""

    def __init__(self, client: Client, screen: Screen, *, timezone: str, label: str) -> None:
        self._client = client
        self._screen = screen
        self._zone = ZoneInfo(timezone)
        self._label = label
        self._hour = -1
        self._subjects: dict[str, str] = {}
        self._told: set[str] = set()
        self._files: set[str] = set()
        self.nodes: list[int] = []
        """Pids of the nodes that have started."""
        self.mails_ended = 0
        self.report_told = False

    def tell(self, event: EventView) -> None:
        """One event; most of them have no line of their own."""
        lines: dict[str, Callable[[EventView], None]] = {
            "node.started": self._node,
            "task.added": self._task_added,
            "task.done": self._task_done,
            "question.asked": self._asked,
            "file.taken": self._taken,
            "delivery.sent": self._sent,
            "heartbeat.skipped": self._skipped,
        }
        tell = lines.get(event.name)
        if tell is not None:
            tell(event)

    def line(self, event: EventView, head: str, text: str, *, style: str = "") -> None:
        """A line of the story."""
        here = datetime.fromisoformat(event.at.replace("Z", "+00:00")).astimezone(self._zone)
        if here.hour != self._hour:
            self._hour = here.hour
            self._screen.say(f"-- {here:%H:00} -- {self._label} --", style="faint")
        shown = self._screen.styled(f"{head:10}", style)
        self._screen.raw(f"{here:%H:%M}  {shown}", text)
        self._screen.flush()

    def _node(self, event: EventView) -> None:
        self.nodes.append(int(event.data.get("pid", 0)))
        how = "started again by the supervisor, and goes on" if len(self.nodes) > 1 else "started, and waits for mail"
        self.line(event, "node", f"{how} (pid {self.nodes[-1]})", style="strong")

    def _taken(self, event: EventView) -> None:
        file = str(event.data.get("file")).rpartition("/")[2]
        known = file in self._files
        self._files.add(file)
        if event.data.get("repeated") and not known:  # else it was found again, not moved away before the node died
            self._mail(event, LOGGED, subject=file, detail="the same mail once more, by its Message-ID")

    def _task_added(self, event: EventView) -> None:
        if (event.session or "").startswith(MAIL_SESSION):
            self._subjects[event.session or ""] = event.text.partition('"')[2].rpartition('" was added')[0]

    def _sent(self, event: EventView) -> None:
        if event.data.get("to") == "operator":
            self._told.add(event.task or "")
            if (event.session or "").startswith("isolated:triage:report"):
                self.report_told = True
                self.line(event, "report", str(event.data.get("text")), style="strong")

    def _task_done(self, event: EventView) -> None:
        if (event.session or "").startswith(MAIL_SESSION) and event.task:
            self._end(event)

    def _asked(self, event: EventView) -> None:
        if (event.session or "").startswith(MAIL_SESSION) and event.data.get("kind") == "ask":
            self._end(event)

    def _end(self, event: EventView) -> None:
        view = show_task(self._client, event.task or "")
        for each in endings_of(view.steps):
            told = ", operator told" if event.task in self._told else ""
            detail = f"-> {each.task}{told}" if each.task else f"-> {each.question}" if each.question else each.text
            self._mail(
                event, each.kind, subject=self._subjects.get(event.session or "", view.task.title), detail=detail
            )

    def _mail(self, event: EventView, kind: str, *, subject: str, detail: str) -> None:
        self.mails_ended += 1
        shown = cut(subject, SUBJECT_COLUMNS)
        pad = " " * (SUBJECT_COLUMNS - width_of(shown))
        self.line(event, kind, f"{shown}{pad}  {detail}", style=STYLES.get(kind, ""))

    def _skipped(self, event: EventView) -> None:
        """Told once for a run of them: those that follow are counted, and are no events."""
        if event.data.get("heartbeat") == "heartbeat":
            self.line(event, "heartbeat", "skipped: no mail waits, so no model is asked", style="faint")


def clock_of(at: int, timezone: str) -> str:
    """`07:15` in the fleet's zone."""
    return datetime.fromtimestamp(at / 1_000_000, tz=UTC).astimezone(ZoneInfo(timezone)).strftime("%H:%M")
