"""Delivers a day's mail into an inbox folder, each mail at the time in its name: `0712-x.eml` at 07:12.

Mails that name no time come at 12:05. A mail is moved in whole, under its own name, and once, even where the postman is
killed: it is laid ready beside the inbox, written into a book, and moved. Knows nothing of what becomes of a mail.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ostinato.domain.values import SECOND, Instant, Value
from ostinato.engine.port import Clock

TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d)-")
NOON_S = 12 * 3_600 + 5 * 60
"""When mails come that name no time."""
LAST_S = 17 * 3_600 + 50 * 60
"""Whatever would come later comes now, so that the last heartbeat before the report sees it."""


class Letter(Value):
    """One mail on its way. `after_s` counts from midnight."""

    file: str
    after_s: int


def letters_in(folder: Path) -> list[Letter]:
    """The mails of a folder in the order of their arrival."""
    found = [Letter(file=path.name, after_s=_arrival_s(path.name)) for path in folder.glob("*.eml")]
    return sorted(found, key=lambda each: (each.after_s, each.file))


def _arrival_s(name: str) -> int:
    time = TIME.match(name)
    return min(LAST_S, int(time[1]) * 3_600 + int(time[2]) * 60) if time else NOON_S


class Postman:
    """Waits on a clock and delivers. `book` names the file with what was delivered; mails lie ready beside it."""

    def __init__(self, mails: Path, inbox: Path, *, clock: Clock, midnight_at: Instant, book: Path) -> None:
        self._mails = mails
        self._inbox = inbox
        self._clock = clock
        self._midnight_at = midnight_at
        self._book = book

    async def deliver(self) -> None:
        """Delivers every mail that is not in the book yet; returns when all are."""
        delivered = set(self._book.read_text().split()) if self._book.exists() else set[str]()
        for letter in letters_in(self._mails):
            ready = self._ready(letter)
            if letter.file in delivered:
                if ready.exists():  # killed between the book and the move
                    os.replace(ready, self._inbox / letter.file)
                continue
            await self._clock.sleep((self._midnight_at - self._clock.now()) / SECOND + letter.after_s)
            self._hand_over(letter)

    def _hand_over(self, letter: Letter) -> None:
        ready = self._ready(letter)
        shutil.copyfile(self._mails / letter.file, ready)
        with self._book.open("a") as book:
            book.write(f"{letter.file}\n")
        os.replace(ready, self._inbox / letter.file)

    def _ready(self, letter: Letter) -> Path:
        return self._book.with_name(f"ready-{letter.file}")
