"""What became of each mail, read from the record that the node keeps.

Every fact here comes from stored events and journals, over the same operations that commands use. Knows nothing of
screens, nor of what should have happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from ostinato.cli.client import Client
from ostinato.domain.errors import Conflict
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.gateway import events_api, tasks_api
from ostinato.gateway.views import EventView, StepView, TaskRow

PAGE = 500
MAIL_SESSION = "isolated:triage:file:"
PERSON, LOGGED = "person", "logged"
ASK_AGAIN = 3
"""The node is killed once, on purpose; whoever asks at that moment asks again, and is answered from the disk."""


class Ending(Value):
    """One way in which a mail ended: `billing`, `technical`, `sales`, `logged` or `person`."""

    kind: str
    at: Instant
    text: str = ""
    """What was noted, or why a person is asked."""
    task: str = ""
    question: str = ""


class MailStory(Value):
    """One mail: the file it came in, the turn that read it, how it ended."""

    file: str
    taken_at: Instant
    turn: str = ""
    subject: str = ""
    endings: tuple[Ending, ...] = ()
    told_at: Instant | None = None
    """When the operator was told."""


def show_task(client: Client, task: str) -> tasks_api.TaskView:
    """A task with its journal; asked again where the node dies while it is asked."""
    for _ in range(ASK_AGAIN):
        with contextlib.suppress(Conflict):
            return client.call(tasks_api.show, tasks_api.WhichTask(task=task))
    return client.call(tasks_api.show, tasks_api.WhichTask(task=task))


def instant_of(text: str) -> Instant:
    """An instant from ISO 8601."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * SECOND)


def all_events(client: Client, *names: str) -> list[EventView]:
    """All stored events of these names, oldest first."""
    found: list[EventView] = []
    while True:
        which = events_api.WhichEvents(name=list(names), after=found[-1].id if found else 0, since="30d", limit=PAGE)
        page = client.call(events_api.list_events, which).events
        found.extend(page)
        if len(page) < PAGE:
            return found


def all_tasks(client: Client, *, kind: str, agent: str | None = None) -> list[TaskRow]:
    """All tasks of a kind, newest first."""
    found: list[TaskRow] = []
    while True:
        before = found[-1].id if found else None
        which = tasks_api.WhichTasks(kind=[kind], all=True, agent=agent, before=before, limit=PAGE)
        page = client.call(tasks_api.list_tasks, which).tasks
        found.extend(page)
        if len(page) < PAGE:
            return found


def read_day(client: Client) -> list[MailStory]:
    """Every file that was taken, with what became of it, in the order of arrival."""
    turns: dict[str, MailStory] = {}
    for row in all_tasks(client, kind="turn", agent="triage"):
        if (row.session or "").startswith(MAIL_SESSION):
            view = show_task(client, row.id)
            story = MailStory(
                file="",
                taken_at=0,
                turn=row.id,
                subject=row.title,
                endings=endings_of(view.steps),
                told_at=told_at(view.steps),
            )
            turns |= {f"M{each}": story for each in _messages(view.steps)}
    stories: list[MailStory] = []
    for event in all_events(client, "file.taken"):
        file, taken_at = str(event.data["file"]).rpartition("/")[2], instant_of(event.at)
        if event.data.get("repeated") and any(each.file == file for each in stories):
            continue  # the node died before it had moved the file away: found again, and known
        found = turns.get(str(event.data["became"]), MailStory(file="", taken_at=0))
        if event.data.get("repeated"):
            again = Ending(kind=LOGGED, at=taken_at, text="the same mail once more")
            stories.append(MailStory(file=file, taken_at=taken_at, subject=found.subject, endings=(again,)))
        else:
            fields = {"turn": found.turn, "subject": found.subject, "endings": found.endings, "told_at": found.told_at}
            stories.append(MailStory(file=file, taken_at=taken_at, **fields))  # type: ignore[arg-type]  # by name
    return stories


def endings_of(steps: Sequence[StepView]) -> tuple[Ending, ...]:
    """The ways in which a turn ended its mail, from its journal. What follows a person's answer is the person's doing,
    and does not count."""
    found: list[Ending] = []
    notes = {step.call: _argument(step, "text") for step in steps if step.kind == "tool_intent"}
    for step in steps:
        at = instant_of(step.at)
        if step.kind == "verdict" and step.tool == "ask":
            found.append(Ending(kind=PERSON, at=at, question=f"Q{step.detail.get('question')}"))
        elif step.kind == "answer":
            break
        elif step.kind != "tool_result" or step.detail.get("status") != "ok":
            continue
        elif step.tool == "tasks.create":
            task, _, rest = str(step.detail.get("text", "")).partition(" for ")
            found.append(Ending(kind=rest.partition(" ")[0], at=at, task=task))
        elif step.tool == "memory.note":
            text = notes.get(step.call, "")
            if text.startswith("logged"):
                found.append(Ending(kind=LOGGED, at=at, text=text.partition(": ")[2]))
    return tuple(found)


def told_at(steps: Sequence[StepView]) -> Instant | None:
    """When a turn told the operator."""
    for step in steps:
        if step.kind == "tool_result" and step.tool == "message.send" and step.detail.get("status") == "ok":
            return instant_of(step.at)
    return None


def _argument(step: StepView, name: str) -> str:
    arguments = step.detail.get("arguments")
    return str(arguments.get(name, "")) if isinstance(arguments, dict) else ""


def _messages(steps: Sequence[StepView]) -> list[int]:
    return [int(each) for step in steps if step.kind == "input" for each in step.detail.get("messages", ())]
