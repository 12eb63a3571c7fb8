"""Several processes add tasks to one node, others read its database, all of them are killed, and the node too: every
task that a client was told is safe is there, once, and is done.

Clients keep their own books, outside of the store. Readers that come and go are the ones that would take the log away
under a node that has lost its locks: closing any descriptor of the database drops all locks that the process has.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.config import STATE_FOLDER
from ostinato.domain.task import TaskKind
from ostinato.gateway.server import SOCKET_NAME
from ostinato.store.sqlite.directory import FILE_NAME
from tests.conftest import FULL, Count, wait_until
from tests.crash import load
from tests.crash.forge import TOKEN, Order
from tests.crash.outside import What, of
from tests.crash.record import Record, read_record
from tests.crash.siege import first_seed
from tests.crash.stage import LAST
from tests.crash.trial import Crew, Forge, words_of

pytestmark = pytest.mark.slow

CLIENTS = 8 if FULL else 3
TASKS = 1_000 if FULL else 40
"""Of each client."""

DEATHS = 20 if FULL else 2
"""Of nodes; clients and readers die with each."""


def test_what_clients_were_told_is_safe_is_there_once(
    crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    told, record = besiege(crew.forges[0], ground / "fleet", deaths=DEATHS)
    count({"tasks acknowledged": len(told), "clients": CLIENTS, "kills": DEATHS})
    assert judge(told, record) == []
    tell(f"{CLIENTS} clients, {len(told)} tasks acknowledged, {DEATHS} deaths of nodes: 0 missing, 0 twice")


def test_clients_notice_a_node_that_loses_its_locks(crew: Crew, ground: Path, tell: Callable[[str], None]) -> None:
    bug = "a node opens its database as a file"
    for number in range(10):  # whether somebody takes the log away in that moment is the machine's own chance
        try:
            told, record = besiege(crew.forges[0], ground / str(number), deaths=1, bug=bug)
            found = judge(told, record)
        except Ruined as ruined:
            found = [str(ruined).strip().rpartition("\n")[2]]
        if found:
            tell(f"{bug}: noticed: {found[0]}, and {len(found) - 1} more")
            return
    pytest.fail(f"the clients did not notice: {bug}")


class Ruined(AssertionError):
    """What the nodes have left serves nobody any more."""


def besiege(forge: Forge, folder: Path, *, deaths: int, bug: str = "") -> tuple[dict[str, str], Record]:
    """What clients were told: key -> task; and what the last node left. Raises Ruined where that serves nobody."""
    folder.mkdir()
    load.SCENARIO.build(folder)
    chance = random.Random(f"{first_seed()} {folder.name}")
    database = str(folder / STATE_FOLDER / FILE_NAME)
    order = Order(scenario=load.NAME, folder=str(folder), run=0, real=True, answers=True, bug=bug, timeout_s=600.0)
    books = [folder / f"client-{number}" for number in range(CLIENTS)]
    for run in range(1, deaths + 1):
        pid = forge.begin(replace(order, run=run))
        goal = sum(map(entries, books)) + chance.randint(1, CLIENTS * TASKS // deaths)
        with processes(folder, books, database, lonely=bool(bug)) as clients:
            # A node with a bug may send every client away: then there is nothing more to wait for.
            wait_until(
                lambda goal=goal, clients=clients: (  # type: ignore[misc]  # bound now
                    sum(map(entries, books)) >= min(goal, CLIENTS * TASKS)
                    or all(each.poll() is not None for each in clients)
                ),
                timeout_s=300.0,
            )
            os.kill(pid, signal.SIGKILL)
        forge.end()
    pid = forge.begin(replace(order, run=deaths + 1, bug=""))
    with processes(folder, books, database) as clients:
        wait_until(lambda: all(each.poll() is not None for each in clients) or has_ended(pid), timeout_s=600.0)
        served = [each.poll() for each in clients]
        (folder / LAST).touch()
        ended = forge.end()
    if ended.code != 0 or any(code != 0 for code in served):
        raise Ruined(f"clients ended with {served}, the node with {ended.code}\n{words_of(folder, ended)}")
    told = dict(line.split() for book in books for line in book.read_text().splitlines())
    return told, read_record(folder)


@contextlib.contextmanager
def processes(
    folder: Path, books: list[Path], database: str, *, lonely: bool = False
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Clients and readers, which are killed in the end. `lonely`: no reader stays, whose lock would do for all."""
    wait_until(lambda: (folder / STATE_FOLDER / SOCKET_NAME).exists())
    path = str(folder / STATE_FOLDER / SOCKET_NAME)
    clients = [start("add", path, str(book), book.name, str(TASKS)) for book in books]
    readers = [start(kind, database) for kind in ("read", "look")[: 1 if lonely else None]]
    try:
        yield clients
    finally:
        for each in (*clients, *readers):
            each.kill()
            each.wait(timeout=120)


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """One client's process."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("client.py")), *arguments]
    return subprocess.Popen(command, env={**os.environ, "OSTINATO_TOKEN": TOKEN})


def has_ended(pid: int) -> bool:
    """True also where nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def entries(book: Path) -> int:
    """How much a client has been told."""
    return book.read_bytes().count(b"\n") if book.exists() else 0


def judge(told: dict[str, str], record: Record) -> list[str]:
    """What is missing, and what is there twice."""
    there = {each.task.name: each.task for each in record.tasks if each.task.kind is TaskKind.GOAL}
    found = [f"lost: {key} ({task})" for key, task in told.items() if task not in there or there[task].title != key]
    titles = Counter(task.title for task in there.values())
    found += [f"twice: {title}" for title, times in titles.items() if times > 1]
    done = Counter(line.task for line in of(record.outside, What.DONE))
    found += [f"completed twice: {task}" for task, times in done.items() if times > 1]
    return found + [f"unfinished: {task.name}" for task in there.values() if task.state.value != "done"]
