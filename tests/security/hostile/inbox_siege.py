"""Hostile files, really dropped into the inboxes of a running node: each is taken, refused with a note, or still there.

Files are followed by their inode, so that nothing can get lost under another name; what was taken as an attachment is
compared byte for byte.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest

from ostinato.domain.values import digest_of
from ostinato.workspace.inbox import REFUSED, TAKEN, UNFINISHED, readable_name
from tests.conftest import wait_until
from tests.security.hostile.case import Case, Content, Kind
from tests.security.hostile.judge import faults_of_refusal, faults_of_words
from tests.security.hostile.placing import place
from tests.security.hostile.result import Result, by_family
from tests.security.hostile.stand import Stand, fsencoded

INBOXES = ("inbox", "agents/clerk/inbox")
LEAVE_S = 40.0
WRITING_S = 1.6
"""Longer than the node's pause between two looks, so that it must meet a file that is still being written."""


@dataclass(frozen=True)
class Dropped:
    """A file that lies in an inbox."""

    case: Case | None
    name: str
    inode: int
    data: bytes


@dataclass(frozen=True)
class Found:
    """A file in an inbox or below it. `where`: empty, `taken` or `refused`."""

    where: str
    path: bytes


def besiege_inbox(stand: Stand, cases: Sequence[Case]) -> Result:
    """Drops all cases, and after each family a valid file; then counts."""
    result, dropped, writers = Result(), list[Dropped](), list[threading.Thread]()
    for family, members in by_family(cases):
        for case in members:
            dropped.append(_drop(stand, case, writers))
        dropped.append(_drop_valid(stand, family))
    for writer in writers:
        writer.join(LEAVE_S)
    stay = {each.inode for each in dropped if _may_stay(each)}
    expected = {each.inode for each in dropped} - stay
    with suppress(pytest.fail.Exception):  # whatever is left is judged below
        wait_until(lambda: not expected & _lying(stand), timeout_s=LEAVE_S)
    seen, became = _seen(stand), _became(stand)
    for each in dropped:
        found = seen.get(each.inode)
        end = "lost" if found is None else found.where or "still there"
        faults = list(_faults(stand, each, found, became=became))
        if each.case is None:
            result.blame(None, [*faults, *_valid_worked(stand, each, end, became=became)])
        else:
            result.add(each.case, end, faults)
    return result


def _drop(stand: Stand, case: Case, writers: list[threading.Thread]) -> Dropped:
    path, content = fsencoded(stand.folder, case.content.name), case.content
    if content.kind is Kind.MOVING:
        writers.append(_write_slowly(path, content))
    else:
        place(path, content)
    return Dropped(case=case, name=content.name, inode=os.lstat(path).st_ino, data=content.data)


def _write_slowly(path: bytes, content: Content) -> threading.Thread:
    """Opens the file and writes to it again and again; at the end it says what it should. Returns once it is there."""
    begun = threading.Event()

    def write() -> None:
        with open(path, "wb") as stream:
            begun.set()
            for _ in range(8):
                stream.seek(0)
                stream.write(content.before)
                stream.truncate()
                stream.flush()
                threading.Event().wait(WRITING_S / 8)
            stream.seek(0)
            stream.write(content.data)
            stream.truncate()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert begun.wait(LEAVE_S)
    return writer


def _drop_valid(stand: Stand, family: str) -> Dropped:
    name, data = f"inbox/valid {family}.json", f'{{"title": "After {family}", "agent": "clerk"}}'.encode()
    path = fsencoded(stand.folder, name)
    place(path, Content(data))
    return Dropped(case=None, name=name, inode=os.lstat(path).st_ino, data=data)


def _may_stay(each: Dropped) -> bool:
    """Folders are no files; an empty file, or one with the name of an unfinished one, is about to be written."""
    is_empty = each.case is not None and each.case.content.kind in {Kind.FILE, Kind.SECRET} and not each.data
    is_folder = each.case is not None and each.case.content.kind is Kind.FOLDER
    return is_folder or is_empty or UNFINISHED.fullmatch(os.path.basename(each.name)) is not None


def _seen(stand: Stand) -> Mapping[int, Found]:
    """Inode -> where it lies now."""
    seen: dict[int, Found] = {}
    for inbox in INBOXES:
        for where in ("", TAKEN, REFUSED):
            folder = fsencoded(stand.folder, f"{inbox}/{where}" if where else inbox)
            names = set(os.listdir(folder) if os.path.isdir(folder) else [])
            for name in names - {TAKEN.encode(), REFUSED.encode()}:
                path = folder + b"/" + name
                try:
                    seen[os.lstat(path).st_ino] = Found(where=where, path=path)
                except FileNotFoundError:  # it was moved just now
                    continue
    return seen


def _lying(stand: Stand) -> set[int]:
    """Inodes of what has not left its inbox."""
    return {inode for inode, found in _seen(stand).items() if not found.where}


def _became(stand: Stand) -> dict[str, str]:
    """File -> the task or message that it became, as the fleet tells."""
    status, found = stand.call("GET", "/api/v1/events?name=file.taken&limit=5000")
    assert status == 200, found
    return {each["data"]["file"]: each["data"]["became"] for each in found["events"]}


def _faults(stand: Stand, each: Dropped, found: Found | None, *, became: Mapping[str, str]) -> Iterator[str]:
    shown = readable_name(each.name)
    if found is None:
        yield f"{shown} is lost"
    elif found.where == REFUSED:
        yield from _faults_of_note(found.path, hints=each.case is not None and each.case.hints)
        if shown in became:
            yield f"{shown} was refused, and still became {became[shown]}"
    elif found.where == TAKEN:
        yield from _faults_of_taking(stand, each, became.get(shown, ""))
    elif not _may_stay(each):
        yield f"{shown} is left lying without a reason"


def _faults_of_taking(stand: Stand, each: Dropped, name: str) -> Iterator[str]:
    if not name:
        yield "the file was taken, and became nothing"
    if each.case is not None and each.case.hints:
        yield "a misspelt key is accepted"
    files = stand.show_task(name)["files"] if name.startswith("T") else []
    if files and [file["digest"] for file in files] != [digest_of(each.data)]:
        yield f"the attachment of {name} is not what was dropped"


def _faults_of_note(path: bytes, *, hints: bool) -> Iterator[str]:
    """The note beside a refused file: who, what, what to do."""
    try:
        with open(path + b".why.txt", encoding="utf-8") as stream:
            note = stream.read()
    except OSError as error:
        yield f"there is no note beside the refused file: {error}"
        return
    yield from faults_of_words(note)
    head, why, cure = note.rstrip("\n").split("\n\n")
    if not head.endswith("was not taken.") or cure != "Correct it and drop it again.":
        yield f"the note has another form: {note!r}"
    said, _, cure = why.rpartition(". ")
    yield from faults_of_refusal(said or why, place="", cure=cure, hints=hints)


def _valid_worked(stand: Stand, each: Dropped, end: str, *, became: Mapping[str, str]) -> Iterator[str]:
    if end != TAKEN or each.name not in became:
        yield f"{each.name}, which is valid, is {end}"
    elif (view := stand.wait_ended(became[each.name]))["task"]["state"] != "done":
        yield f"{each.name}, which is valid, ended as {view['task']['state']}: {view['error']}"
