"""The runtime's part of TASKS.md, and the files in tasks/: a bounded picture, the same for the same tasks.

Pure: tasks in, text out. Titles may come from outside, such as subjects of mails, and can do nothing here. Knows
nothing of disks or stores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ostinato.domain.instant import local, zone_named
from ostinato.domain.task import Task, TaskState
from ostinato.domain.values import Instant, Value
from ostinato.workspace.tasks_place import PROJECTS_MAX

SHOWN_MAX = 50
"""Tasks of a section in TASKS.md; the rest are counted, with the command that lists them."""

LINE_CHARACTERS_MAX = 240


class Section(Value):
    """Tasks that stand alike. `command` lists all of them."""

    name: str
    tasks: Sequence[Task]
    """As many as were read, the ones to show first."""
    count: int
    command: str


class Board(Value):
    """What is shown. `counts`: state -> goals."""

    fleet: str
    timezone: str
    counts: Mapping[str, int]
    sections: Sequence[Section]


def board_text(board: Board) -> str:
    """All above `## Proposed`."""
    order = ("running", "ready", "waiting", "review", "blocked", "draft", "failed", "done", "cancelled")
    counts = ", ".join(f"{board.counts[state]} {state}" for state in order if board.counts.get(state))
    lines = [f"# Tasks of {_plain(board.fleet)}", "", f"{counts or 'There are none yet'}.", ""]
    for section in board.sections:
        if not section.tasks:
            continue
        lines += [f"## {section.name}", ""]
        shown = section.tasks[:SHOWN_MAX]
        lines += [_line(each, timezone=board.timezone) for each in shown]
        if section.count > len(shown):
            lines.append(f"- and {section.count - len(shown)} more: `{section.command}`")
        lines.append("")
    return "\n".join(lines)


def project_files(board: Board) -> dict[str, bytes]:
    """File name -> JSON, one for each project among the tasks of the board."""
    projects: dict[str, dict[int, Task]] = {}
    for section in board.sections:
        for each in section.tasks:
            if each.project:
                projects.setdefault(each.project, {})[each.id] = each
    complete = all(section.count <= len(section.tasks) for section in board.sections)
    names = sorted(projects, key=lambda name: max(projects[name]), reverse=True)[:PROJECTS_MAX]
    return {_file(name): _project(name, projects[name].values(), complete=complete) for name in names}


def _line(task: Task, *, timezone: str) -> str:
    box = "x" if task.state is TaskState.DONE else " "
    tokens = [f"@{task.agent}"] if task.agent else []
    tokens += [f"#{each}" for each in task.spec.skills[:5]]
    tokens += [f"project:{_quoted(task.project)}"] if task.project else []
    tokens += [f"priority:{task.priority}"] if task.priority else []
    why = _why(task, timezone=timezone)
    head = " ".join([f"- [{box}] {task.name}", _plain(task.title), *tokens])
    return f"{head} — {_plain(why)}" if why else head


def _why(task: Task, *, timezone: str) -> str:
    if task.state is TaskState.DONE:
        return _time(task.finished_at or task.updated_at, timezone)
    if task.state is TaskState.FAILED and task.result is not None and task.result.error:
        return task.result.error
    return task.reason


def _time(at: Instant, timezone: str) -> str:
    return f"{local(at, zone_named(timezone)):%Y-%m-%d %H:%M}"


def _plain(text: str) -> str:
    """One line in which nothing is a comment, a link, an image or a heading."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    if len(line) > LINE_CHARACTERS_MAX:
        line = f"{line[: LINE_CHARACTERS_MAX - 3]}..."
    return re.sub(r"([\\<`\[\]])", r"\\\1", line)


def _quoted(project: str) -> str:
    shown = _plain(project)
    return f'"{shown}"' if " " in shown else shown


def _file(project: str) -> str:
    """A file name for a project: its own letters where they are harmless, else their bytes."""
    name = "".join(each if re.fullmatch(r"[A-Za-z0-9_-]", each) else _escaped(each) for each in project)
    return f"{name[:120]}.json"


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _project(name: str, tasks: Iterable[Task], *, complete: bool) -> bytes:
    """`complete` is false where the fleet has more unfinished tasks than were read: `ostinato tasks list` knows all."""
    document = {
        "written_by": "ostinato",
        "project": name,
        "complete": complete,
        "tasks": [_task(each) for each in sorted(tasks, key=lambda each: -each.id)],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _task(task: Task) -> dict[str, Any]:
    return {
        "id": task.name,
        "state": task.state.value,
        "title": task.title,
        "agent": task.agent,
        "skills": list(task.spec.skills),
        "priority": task.priority,
        "reason": task.reason,
        "created_at": _iso(task.created_at),
        "updated_at": _iso(task.updated_at),
        "finished_at": _iso(task.finished_at) if task.finished_at else None,
    }


def _iso(at: Instant) -> str:
    return local(at, zone_named("UTC")).isoformat(timespec="seconds")
