"""One seeded bug for each promise: planted in a node's process before it begins, to be noticed by the judge.

Each is what an innocent change could do to the room that it is planted in. A run that nobody kills shows none of them.
Knows nothing of how they are noticed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.agents import inbox, turn_handler
from ostinato.agents.fires import Fires
from ostinato.agents.inbox import InboxTaker
from ostinato.agents.scribe import Scribe
from ostinato.agents.turn_state import TurnState
from ostinato.domain import turn
from ostinato.domain.message import NewMessage
from ostinato.domain.step import Effect, Entry, ModelAnswer, ToolIntent, ToolOutcome
from ostinato.domain.values import Source, Value
from ostinato.engine.attempt import Attempt
from ostinato.store.sqlite import database, directory, store
from ostinato.store.sqlite.checkpoints import Checkpoints
from ostinato.store.sqlite.writer import Writer
from ostinato.store.verbs.claims import ClaimVerbs
from ostinato.store.verbs.sessions import SessionVerbs
from ostinato.tools import delivery


class Bug(Value):
    """A bug, and where it shows."""

    plant: Callable[[], None]
    scenario: str
    """One in which it does harm."""
    finding: str
    """How the judge's finding about it begins."""


def _plant(owner: Any, name: str, seed: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this bug needs another place"
    setattr(owner, name, seed)


def _result_before_intent() -> None:
    """Intents wait in memory until their result is there."""
    record = ClaimVerbs.record_steps
    held: dict[int, list[ToolIntent]] = {}

    def record_late(self: ClaimVerbs, claim: Any, entries: Sequence[Entry], *, now: int) -> int:
        written: list[Entry] = []
        waiting = held.setdefault(claim.task, [])
        for entry in entries:
            if isinstance(entry, ToolIntent) and entry.effect is Effect.IRREVERSIBLE:
                waiting.append(entry)
                continue
            written.append(entry)
            if isinstance(entry, ToolOutcome):
                mine = [each for each in waiting if each.call_id == entry.call_id]
                written.extend(mine)
                waiting[:] = [each for each in waiting if each not in mine]
        return record(self, claim, written, now=now)

    _plant(ClaimVerbs, "record_steps", record_late)


class _UndoneError(Exception):
    """Ends a transaction that was only tried, with what would have come of it."""

    def __init__(self, done: Any) -> None:
        super().__init__()
        self.done = done


def _reply_after_use() -> None:
    """A reply is acted on first, and written down when the first result is there."""
    advance, follow = turn_handler._Run._advance, vars(turn_handler)["advance"]
    pending: dict[int, tuple[Sequence[Entry], Any]] = {}

    async def advance_late(self: Any, produced: Sequence[Entry], *, within: Any) -> Any:
        if id(self) in pending:
            before, before_within = pending.pop(id(self))
            await advance(self, before, within=before_within)
        if not any(isinstance(each, ModelAnswer) and each.calls for each in produced):
            return await advance(self, produced, within=within)
        pending[id(self)] = (produced, within)
        now = self._attempt.clock.now()

        def attempt(tx: Any) -> None:
            raise _UndoneError(follow(self._state, tx, produced, now=now, within=within))

        try:
            await self._attempt.store.run(attempt)
        except _UndoneError as undone:
            return undone.done

    _plant(turn_handler._Run, "_advance", advance_late)


def _irreversible_again() -> None:
    """A turn takes every intent without a result for one that may run again."""
    _plant(turn, "REPEATABLE", frozenset(Effect))


def _token_ignored() -> None:
    """Whoever has ever held a task that runs may write for it."""
    held = ClaimVerbs._held

    def hold_any(self: Any, claim: Any) -> Any:
        return held(self, replace(claim, token=self._kept(claim.task).task.token))

    _plant(ClaimVerbs, "_held", hold_any)


def _file_moved_first() -> None:
    """A dropped file leaves its inbox before anything of it is safe."""

    async def take_file(self: Any, file: Any) -> None:
        items = vars(inbox)["read_items"](self._fleet, file, timezone="UTC")
        vars(inbox)["put_away"](self._fleet, file, at=self._clock.now())
        await self._store.run(self._writing(items, file))

    _plant(InboxTaker, "_take_file", take_file)


def _done_before_journaled() -> None:
    """A task is done in one commit, and its last reply written in another."""
    record, advance = ClaimVerbs.record_steps, turn_handler._Run._advance
    held: dict[int, list[Entry]] = {}

    def record_most(self: ClaimVerbs, claim: Any, entries: Sequence[Entry], *, now: int) -> int:
        last: list[Entry] = [each for each in entries if isinstance(each, ModelAnswer) and not each.calls]
        if last:
            held[claim.task] = last
        return record(self, claim, [each for each in entries if each not in last], now=now)

    def write_rest(tx: Any) -> None:
        while held:
            task, entries = held.popitem()
            tx._append_steps(tx._kept(task), entries, now=0)

    async def advance_first(self: Any, produced: Sequence[Entry], *, within: Any) -> Any:
        done = await advance(self, produced, within=within)
        if held:
            await self._attempt.store.run(write_rest)
        return done

    _plant(ClaimVerbs, "record_steps", record_most)
    _plant(turn_handler._Run, "_advance", advance_first)


def _messages_forgotten() -> None:
    """A turn that goes on does not read again what it was woken by."""
    load = TurnState.load

    def load_rest(self: TurnState, tx: Any) -> None:
        journal, self.journal = self.journal, []
        load(self, tx)
        self.journal = journal

    _plant(TurnState, "load", load_rest)


def _letter_renamed() -> None:
    """Each attempt writes its letter under a name of its own."""
    write = delivery.write_letter

    def write_anew(outbox: Any, letter: Any) -> Any:
        return write(outbox, replace(letter, id=f"{letter.id}-{os.getpid()}"))

    _plant(delivery, "write_letter", write_anew)


def _letter_in_halves() -> None:
    """A letter is written where it will stay, piece by piece."""

    def write_in_place(outbox: Any, letter: Any) -> Any:
        outbox.mkdir(exist_ok=True)
        path, data = outbox / f"{letter.id}.eml", delivery.to_eml(letter)
        if not path.exists():
            with path.open("wb", buffering=0) as file:
                file.write(data[:100])
                file.write(data[100:])
        return path

    _plant(delivery, "write_letter", write_in_place)


def _action_again() -> None:
    """A stored action runs again whatever its effect is."""
    _plant(delivery, "REPEATABLE", frozenset(Effect))


def _fire_marked_first() -> None:
    """A heartbeat is marked as fired in one commit and wakes its agent in the next."""
    fire, append = Fires.fire, SessionVerbs.append_message
    held: list[Callable[[Any], object]] = []

    def append_later(self: Any, key: str, new: NewMessage, **rest: Any) -> Any:
        if new.source is not Source.HEARTBEAT:
            return append(self, key, new, **rest)
        held.append(lambda tx: append(tx, key, new, **rest))
        return None

    async def fire_first(self: Any, row: Any) -> bool:
        woken = await fire(self, row)
        while held:
            await self._store.run(held.pop())
        return woken

    async def one_by_one(_self: Any, rows: Any) -> Any:
        return rows

    _plant(SessionVerbs, "append_message", append_later)
    _plant(Fires, "fire", fire_first)
    _plant(Fires, "fire_together", one_by_one)


def _position_before_lines() -> None:
    """The scribe moves its position before it writes the lines."""
    poll, write = Scribe.poll, Scribe._write

    async def poll_first(self: Any) -> float:
        late: list[Any] = []
        self._write = late.append
        pause_s = await poll(self)
        for tasks in late:
            write(self, tasks)
        return pause_s

    _plant(Scribe, "poll", poll_first)


def _outcome_forgotten() -> None:
    """An outcome that finds no room on the disk is given up."""

    async def give_up(self: Any, ending: Any, error: Exception) -> None:
        self._not_recorded(error, pause_s=None)

    _plant(Attempt, "_record_otherwise", give_up)


def _no_wait_for_the_disk() -> None:
    """Commits are acknowledged before they have reached the disk: `synchronous = NORMAL`."""
    begin = Writer.__init__

    def begin_hastily(self: Any, database: Any, **rest: Any) -> None:
        database.connection.execute("PRAGMA synchronous = NORMAL")
        begin(self, database, **rest)

    _plant(Writer, "__init__", begin_hastily)


def _names_left_to_chance() -> None:
    """The name of a new state directory is not made durable."""
    _plant(directory, "sync_directory", lambda _folder: None)


def _goes_on_after_a_failed_sync() -> None:
    """An error of the disk is taken for a full one, which passes."""
    _plant(database, "_FULL", vars(database)["_FULL"] | {sqlite3.SQLITE_IOERR_FSYNC})


def _old_log_believed() -> None:
    """A node takes what the kernel shows of an old log for what is on the disk."""
    _plant(store, "write_log_again", lambda _path: None)


def _database_opened_as_a_file() -> None:
    """A node looks at the length of its database with `open`."""
    note = Checkpoints.note

    def note_the_length(self: Any, changes: int) -> None:
        path = self._connection.execute("PRAGMA database_list").fetchone()[2]
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
        note(self, changes)

    _plant(Checkpoints, "note", note_the_length)


BUGS = {
    "a result is recorded before its intent": Bug(
        plant=_result_before_intent, scenario="parallel tools", finding="twice"
    ),
    "a function acts before its intent is written": Bug(
        plant=_result_before_intent, scenario="python agent", finding="twice"
    ),
    "a reply is journaled after its use": Bug(plant=_reply_after_use, scenario="chain", finding="asked again"),
    "a turn repeats an irreversible intent": Bug(plant=_irreversible_again, scenario="chain", finding="twice"),
    "a file leaves its inbox before the commit": Bug(plant=_file_moved_first, scenario="inbox file", finding="lost"),
    "a task is done before its journal is": Bug(plant=_done_before_journaled, scenario="chain", finding="journal"),
    "a resumed turn forgets its messages": Bug(
        plant=_messages_forgotten, scenario="shared approval", finding="shown otherwise"
    ),
    "a letter has another name each time": Bug(plant=_letter_renamed, scenario="delivery", finding="letters"),
    "a stored action is repeated": Bug(plant=_action_again, scenario="shared approval", finding="twice"),
    "a heartbeat is marked before it wakes": Bug(plant=_fire_marked_first, scenario="heartbeats", finding="lost"),
    "the scribe moves on before it writes": Bug(plant=_position_before_lines, scenario="chain", finding="notes"),
    "a claim ignores its token": Bug(plant=_token_ignored, scenario="zombie", finding=""),
    "a commit does not wait for the disk": Bug(plant=_no_wait_for_the_disk, scenario="power", finding="lost"),
    "a new folder is not synced": Bug(plant=_names_left_to_chance, scenario="power", finding="lost"),
    "a node goes on after a failed sync": Bug(
        plant=_goes_on_after_a_failed_sync, scenario="failed sync", finding="went on"
    ),
    "a letter is written in place": Bug(plant=_letter_in_halves, scenario="system calls", finding="letters"),
    "a node opens its database as a file": Bug(plant=_database_opened_as_a_file, scenario="clients", finding="lost"),
    "an old log is believed": Bug(plant=_old_log_believed, scenario="failed sync", finding="lost"),
    "an outcome is forgotten on a full disk": Bug(plant=_outcome_forgotten, scenario="load", finding="lost"),
}
"""By what is wrong."""
