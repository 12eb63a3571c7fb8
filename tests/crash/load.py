"""A node under load, on the real clock: eight agents, a sender who never rests, errands of seven kinds.

What each errand must come to is known from its number alone, so that the judge needs no other run to compare with.
Knows nothing of kills.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable

from msgspec import structs

from ostinato.domain.message import NewMessage
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import UNFINISHED, NewTask, TaskState
from ostinato.domain.values import Source, Value
from ostinato.store.port import TaskFilter
from ostinato.store.sqlite import SqliteStore
from tests.crash.judge import judge_errands
from tests.crash.outside import What, of
from tests.crash.record import Record
from tests.crash.scenario import FREE, GATED, Fault, Mail, Scenario, goal, script
from tests.crash.stage import LOOK_S, Over, Parts, first, name_of, running, send_or_none

NAME = "load"
KINDS = ("plain", "gate", "retry", "mail", "shared", "chain", "ask")
AGENTS = 4
"""Of each sort: those who may, and those who must ask."""

SILENCE_S = 240.0
"""Far more than any retry waits, and than a busy machine keeps everybody waiting."""

PAGES = 1_000_000
"""More than any test writes."""

DEEDS = {
    "plain": ("look", "put", "fire", "late", "swap"),
    "gate": ("put", "fire"),
    "retry": ("fire",),
    "shared": ("put", "fire"),
    "chain": ("fire",),
    "ask": ("fire",),
}
"""What is done in the world outside for an errand of each kind."""

SCENARIO = Scenario(
    name=NAME,
    agents={
        **{f"free-{number}": {"AGENTS.md": FREE} for number in range(AGENTS)},
        **{f"gated-{number}": {"AGENTS.md": GATED} for number in range(AGENTS)},
    },
    script=script(r"""
delay: 0.003
rules:
  - when: {user: 'errand (?P<n>\d+): plain', call: 1}
    calls:
      - {tool: world.look, args: {what: "look {n}", after: 0.002}}
      - {tool: world.put, args: {what: "put {n}", after: 0.004}}
      - {tool: world.fire, args: {what: "fire {n}", after: 0.008}}
      - {tool: world.fire, args: {what: "late {n}", before: 0.006, after: 0.004}}
      - {tool: world.swap, args: {what: "swap {n}", before: 0.003, after: 0.006}}
  - when: {user: 'errand (?P<n>\d+): (gate|shared)', call: 1}
    calls:
      - {tool: world.put, args: {what: "put {n}", after: 0.003}}
      - {tool: world.fire, args: {what: "fire {n}", after: 0.006}}
  - when: {user: 'errand (?P<n>\d+): retry', call: 1}
    calls:
      - {tool: world.stumble, args: {what: "errand {n}"}}
  - when: {tool: world.stumble, result: 'errand (?P<n>\d+)'}
    calls:
      - {tool: world.fire, args: {what: "fire {n}", after: 0.005}}
  - when: {user: 'errand (?P<n>\d+): mail', call: 1}
    calls:
      - {tool: message.send, args: {to: "mail:customer-{n}@example.com", subject: "errand {n}", text: It is done.}}
  - when: {user: 'errand (?P<n>\d+): chain', call: 1}
    calls:
      - {tool: world.fire, args: {what: "fire {n}", after: 0.005}}
  - when: {user: 'errand (?P<n>\d+): ask', call: 1}
    calls:
      - {tool: ask, args: {question: "errand {n}?"}}
  - when: {tool: ask, result: 'errand (?P<n>\d+)'}
    calls:
      - {tool: world.fire, args: {what: "fire {n}", before: 0.005}}
"""),
    faults=(Fault(call=1, text=": retry"),),
    ends=0,
)


class Orders(Value):
    """How much is sent."""

    total: int = 0
    """Errands in all, over all runs; once so many are safe, no more are sent and the node ends when all is done."""
    busy: int = 20
    """Unfinished tasks above which the sender waits."""
    full_from: int = 0
    full_for_s: float = 0.0
    """After how many errands, and how long, the disk is full; 0 s: never."""


def errand(number: int, before: int) -> NewTask | Mail:
    """What is sent as number `number`, from 0; `before`: the id of the task before it, where there is one."""
    kind = KINDS[number % len(KINDS)]
    text = f"errand {number}: {kind}"
    agent = f"{'gated' if kind in ('gate', 'mail', 'shared') else 'free'}-{number % AGENTS}"
    if kind == "shared":
        message = NewMessage(source=Source.OPERATOR, text=text, client_id=text)
        return Mail(session=f"chat:{number}", agent=agent, message=message)
    task = goal(text, agent, key=text, after=(before,) if kind == "chain" and before else ())
    return structs.replace(task, spec=structs.replace(task.spec, retry=RetryPolicy(attempts_max=5, base_s=0.02)))


class SilentError(Exception):
    """Nothing has moved for SILENCE_S, and there is work left."""


def judge_load(record: Record) -> list[str]:
    """What is wrong with a fleet under load: each errand that is safe must have come to what it stands for."""
    errands = safe(record)
    return judge_errands(record, wanted=wanted(errands), letters=letters(errands))


def safe(record: Record) -> list[str]:
    """Names of the errands that were acknowledged, and of the one behind them if the store holds it: a sender that dies
    before it is told does not know. Any other that nobody was told of would be one too many."""
    sent = [line.name for line in of(record.outside, What.SENT)]
    next_one = name_of(errand(len(sent), 0))
    is_there = any(each.task.key == next_one for each in record.tasks) or any(
        message.endswith(f": {next_one}") for message in record.messages
    )
    return [*sent, next_one] if is_there else sent


def wanted(errands: Iterable[str]) -> Counter[str]:
    """All deeds of these errands, by name."""
    found: Counter[str] = Counter()
    for name in errands:
        found.update(f"{deed} {_number(name)}" for deed in DEEDS.get(name.rpartition(" ")[2], ()))
    return found


def letters(errands: Iterable[str]) -> list[str]:
    """All letters of these errands."""
    numbers = [_number(name) for name in errands if name.endswith("mail")]
    return [f"customer-{each}@example.com: errand {each}: It is done." for each in numbers]


def _number(name: str) -> int:
    found = re.search(r"\d+", name)
    assert found is not None
    return int(found[0])


async def work(parts: Parts, orders: Orders) -> None:
    """Sends until `total` is reached, then waits until all has ended; SilentError where nothing moves any more."""
    async with running(parts) as stage:
        full = asyncio.ensure_future(squeeze(parts, orders)) if orders.full_for_s else None
        await first(_send_all(parts, orders), stage.wait_stopped(), _silence(parts))
        await first(Over(parts.store, 0).wait(), stage.wait_stopped(), _silence(parts))
        if full is not None:
            await full


async def _silence(parts: Parts) -> None:
    """Raises when no commit has changed anything for SILENCE_S: whatever is unfinished then will stay so."""
    changed = asyncio.Event()
    stop = parts.store.subscribe(lambda _events: changed.set())
    try:
        while True:
            changed.clear()
            async with asyncio.timeout(SILENCE_S):
                await changed.wait()
    except TimeoutError:
        left = await parts.store.read(lambda reads: reads.tasks(TaskFilter(states=UNFINISHED)))
        words = [f"{each.name} is {each.state.value}: {each.reason}" for each in left]
        raise SilentError(f"Nothing has moved for {SILENCE_S:g} s. Unfinished: {words}") from None
    finally:
        stop()


async def _send_all(parts: Parts, orders: Orders) -> None:
    """Goes on behind the last errand that was acknowledged: the one after it may be safe without anybody knowing."""
    sent = of(parts.outside.before, What.SENT)
    before = int(sent[-1].task.removeprefix("T") or 0) if sent else 0
    number = len(sent)
    while number < orders.total:
        tallies = (await parts.store.read(lambda reads: reads.tallies())).tasks
        ended = sum(tallies.get(each.value, 0) for each in (TaskState.DONE, TaskState.FAILED))
        busy = sum(tallies.values()) - ended >= orders.busy
        task = None if busy else await send_or_none(parts, errand(number, before))
        if task is None:  # it is sent again until it is taken
            await parts.clock.sleep(LOOK_S)
            continue
        before = task
        number += 1


async def squeeze(parts: Parts, orders: Orders) -> None:
    """For a time the database may not grow by a page, and until that has hit the sender at least."""
    store = parts.store
    assert isinstance(store, SqliteStore)
    while len(of(parts.outside.said, What.SENT)) < orders.full_from:
        await parts.clock.sleep(LOOK_S)
    await store._writer.apart(_allow_no_page)
    ends_s = parts.clock.elapsed_s() + orders.full_for_s
    while (now_s := parts.clock.elapsed_s()) < ends_s or not (
        of(parts.outside.said, What.REFUSED) or now_s > ends_s + SILENCE_S
    ):
        await parts.clock.sleep(LOOK_S)
    await store._writer.apart(lambda connection: connection.execute(f"PRAGMA max_page_count = {PAGES}"))


def _allow_no_page(connection: sqlite3.Connection) -> None:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
