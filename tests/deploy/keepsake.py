"""Makes what later versions must still read: a store that has been lived in, and every stored value in full.

`python -m tests.deploy.keepsake` writes golden/store-NNN.sql, its readings beside it, and golden/values-NNN.json, for
the schema of the code that runs it. Do that once for each schema that is released, and never change what it wrote: old
databases do not change either.
"""

from __future__ import annotations

import asyncio
import enum
import json
import sqlite3
import tempfile
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ostinato.domain import step
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.ledger import Charge
from ostinato.domain.message import NewMessage
from ostinato.domain.question import Action, NewQuestion, QuestionKind
from ostinato.domain.retry import USUAL, RetryPolicy
from ostinato.domain.task import (
    Done,
    Fail,
    NewTask,
    Park,
    Retry,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Attachment, Instant, Source, Trust
from ostinato.store.port import Claim, ClaimRequest, QuestionFilter, Reads, ScheduleRow, Store, TaskFilter, Tx
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.migrations import APPLICATION_ID, migrations

T = TypeVar("T")

GOLDEN = Path(__file__).parent / "golden"
NOW: Instant = 1_800_000_000 * SECOND
"""2027-01-15T08:00:00Z."""

ENTRIES: tuple[type, ...] = typing.get_args(step.Entry)
VALUES: dict[str, type] = {
    each.__name__: each for each in (*ENTRIES, TaskSpec, TaskResult, Wait, NewMessage, NewQuestion, RetryPolicy)
}
"""What columns hold as JSON."""


# --- values ---


def written_values() -> list[dict[str, Any]]:
    """Each type bare and in full: as it is written, and what every field means."""
    found = []
    for name, kind in VALUES.items():
        for full in (False, True):
            value = example(kind, full=full)
            written = msgspec.json.decode(msgspec.json.encode(value))
            found.append({"type": name, "written": written, "means": meaning(value)})
    return found


def example(kind: Any, *, full: bool) -> Any:
    """A value of a type, with every field that has a default only where it is `full`."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return example(next(each for each in parts if each is not type(None)), full=full)
    if origin is tuple:
        return (example(parts[0], full=full),)
    if origin in (dict, Mapping, typing.get_origin(Mapping[str, str])):
        if isinstance(parts[0], type) and issubclass(parts[0], enum.Enum):
            return {next(iter(parts[0])).value: example(parts[1], full=full)}
        return {"key": "value"}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        fields = msgspec.structs.fields(kind)
        return kind(**{each.name: example(hints[each.name], full=full) for each in fields if full or each.required})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)[-1]
    return {int: 7, float: 2.5, bool: True, str: "text"}[kind]


def meaning(value: Any) -> Any:
    """A value with every field, those that were not written included."""
    if isinstance(value, RetryPolicy):  # what it leaves to others is, where nobody says anything, what is usual
        usual = {name: getattr(USUAL, name) for name in value.__struct_fields__ if name != "classes"}
        return {name: meaning(getattr(value, name) or usual.get(name)) for name in value.__struct_fields__}
    if isinstance(value, msgspec.Struct):
        return {name: meaning(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [meaning(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): meaning(each) for key, each in value.items()}
    return value


# --- a store ---


class Life:
    """What happens in a store, one transaction after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.node = 0

    async def do(self, fn: Callable[[Tx], T]) -> T:
        """One transaction."""
        return await self._store.run(fn)

    async def start(self) -> None:
        """A node that will not end in order."""
        node = await self.do(
            lambda tx: tx.start_node(
                pid=7, host="machine.example", version="0.1.0", lease_s=60.0, exclusive=True, now=NOW
            )
        )
        self.node = node.id

    async def add(self, title: str, **more: Any) -> Task:
        """A task of the clerk's."""
        new = NewTask(**{"kind": TaskKind.GOAL, "title": title, "agent": "clerk", **more})
        return await self.do(lambda tx: tx.add_task(new, now=NOW))

    async def claim(self) -> Claim:
        """The next task."""
        request = ClaimRequest(node=self.node, most=1, agent_limit_default=100)
        (task,) = await self.do(lambda tx: tx.claim(request, now=NOW))
        return Claim(task=task.id, token=task.token)

    async def end(self, outcome: Any, *entries: step.Entry) -> Claim:
        """Claims the next task, journals these entries and ends the attempt."""
        claim = await self.claim()
        await self.do(lambda tx: tx.record_steps(claim, entries, now=NOW))
        await self.do(lambda tx: tx.finish(claim, outcome, now=NOW))
        return claim

    async def live(self) -> None:
        """A task in every state, and something in every table."""
        await self.start()
        digest = await self.do(lambda tx: tx.put_blob(b"You help.", now=NOW))
        spec = TaskSpec(
            goal="Write the report.", attachments=(Attachment(name="a.txt", digest=digest),), retry=RetryPolicy()
        )
        done = await self.add("done", spec=spec, key="report-1")
        await self.end(Done(result=TaskResult(text="It is written.")), *(example(kind, full=True) for kind in ENTRIES))
        await self.do(lambda tx: tx.charge(_charge(done.id), now=NOW))
        await self.add("failed")
        await self.end(Fail(error="no luck"), step.Note(text="tried"))
        await self.add("waits for a question")
        await self._ask()
        await self.add("waits for a time")
        await self.end(Park(wait=Wait(kind=WaitKind.TIME, until_at=NOW + 3_600 * SECOND), reason="later"))
        await self.add("tried again later")
        await self.end(Retry(error="busy", after_s=600.0))
        await self.add("at work when its node died")
        claim = await self.claim()
        await self.do(lambda tx: tx.record_steps(claim, (step.Input(), step.ModelIntent(call=1, model="m")), now=NOW))
        cancelled = await self.add("cancelled")
        await self.do(lambda tx: tx.move_task(cancelled.id, TaskEvent.CANCEL, actor="ann", reason="no", now=NOW))
        first = await self.add("ready", priority=5)
        await self.add("blocked by another", after=(first.id,))
        await self.add("blocked for a reason", blocked="nobody has the skills: sailing")
        await self.add("draft", draft=True)
        await self._around()

    async def _ask(self) -> None:
        claim = await self.claim()
        action = Action(tool="message.send", arguments={"to": "mail:a@example.com"}, agent="clerk")
        new = NewQuestion(
            kind=QuestionKind.APPROVAL,
            text="May I?",
            agent="clerk",
            task=claim.task,
            session=f"task:{claim.task}",
            call_id="1.0",
            action=action,
        )
        question = await self.do(lambda tx: tx.ask(new, now=NOW))
        wait = Wait(kind=WaitKind.QUESTION, refs=(str(question.id),))
        await self.do(lambda tx: tx.finish(claim, Park(wait=wait, reason="asks"), now=NOW))

    async def _around(self) -> None:
        """Messages, schedules, skips, flags, money, settings, events."""

        def write(tx: Tx) -> None:
            new = NewMessage(source=Source.CHANNEL, text="hello", sender="bob@example.com", trust=Trust.EXTERNAL)
            tx.append_message("main:clerk", new, agent="clerk", now=NOW)
            rule = {"every": "15m", "timezone": "Europe/Zurich", "misfire": "skip", "active": "07:00-20:00"}
            row = ScheduleRow(name="heartbeat:clerk:heartbeat", agent="clerk", rule=rule, source="file", next_at=NOW)
            tx.put_schedule(row, now=NOW)
            tx.fire(row.name, nominal_at=NOW, next_at=NOW + 900 * SECOND, now=NOW)
            tx.skip(
                row.name,
                heartbeat="heartbeat",
                agent="clerk",
                reason="nothing to do",
                nominal_at=NOW + 900 * SECOND,
                next_at=NOW + 1_800 * SECOND,
                now=NOW,
            )
            tx.set_flag("agent:sleeper", "paused", actor="ann", reason="holidays", now=NOW)
            limits = {"limit_usd_micros": 10_000, "fleet_limit_usd_micros": None}
            tx.reserve(agent="clerk", usd_micros=500, now=NOW, **limits)
            tx.settle(agent="clerk", reserved_usd_micros=500, spent_usd_micros=300, now=NOW)
            tx.set_setting("scribe.position", "3")
            tx.announce(NewEvent(name=EventName.AGENT_LOADED, agent="clerk", data={"version": "1"}), now=NOW)

        await self.do(write)


def _charge(task: int) -> Charge:
    return Charge(
        task=task, agent="clerk", session=f"task:{task}", trigger="operator", call=1, provider="own", model="m",
        status=200, input_tokens=10, output_tokens=5, usd_micros=300,
    )  # fmt: skip


def readings(reads: Reads) -> dict[str, Any]:
    """Everything that a version says about a store, as plain data."""
    tasks = sorted(reads.tasks(TaskFilter(), limit=500), key=lambda task: task.id)
    keys = [each.key for each in reads.sessions(limit=500)]
    return {
        "tasks": [meaning(each) for each in tasks],
        "steps": [meaning(each) for task in tasks for each in reads.steps(task.id)],
        "attempts": [meaning(each) for task in tasks for each in reads.attempts(task.id)],
        "sessions": [meaning(reads.session(key)) for key in keys],
        "messages": [meaning(each) for key in keys for each in reads.messages(key)],
        "questions": [meaning(each) for each in reads.questions(QuestionFilter(state=None))],
        "charges": [meaning(each) for task in tasks for each in reads.charges(task.id)],
        "schedules": [meaning(each) for each in reads.schedules()],
        "skips": [meaning(each) for each in reads.skips()],
        "flags": [meaning(each) for each in reads.flags()],
        "tallies": meaning(reads.tallies()),
        "setting": reads.setting("scribe.position"),
    }


async def keep(folder: Path) -> dict[str, Any]:
    """Lives in a new store in `folder`, and leaves it there without an end; what there is to read."""
    store = open_store(folder)
    try:
        await Life(store).live()
        return await store.read(readings)
    finally:
        await store.close()


def dump(database: Path) -> str:
    """A database as text that makes it again."""
    connection = sqlite3.connect(database)
    try:
        connection.execute("UPDATE nodes SET boot = 'another boot'")  # what the dump sees, and no one else
        lines = [line for line in connection.iterdump() if "sqlite_stat" not in line]
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()
    return "\n".join([*lines, f"PRAGMA application_id = {APPLICATION_ID};", f"PRAGMA user_version = {schema};", ""])


def main() -> None:
    """Writes all of it for today's schema."""
    number = max(migrations())
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "state"
        folder.mkdir(mode=0o700)
        seen = asyncio.run(keep(folder))
        (GOLDEN / f"store-{number:03d}.sql").write_text(dump(folder / "ostinato.db"))
    (GOLDEN / f"store-{number:03d}.json").write_text(_pretty(seen))
    (GOLDEN / f"values-{number:03d}.json").write_text(_pretty(written_values()))


def _pretty(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
