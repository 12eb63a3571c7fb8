"""Everybody who is no node: senders, an operator with a mind of their own, and whoever sees to it that things go wrong.

They live in a loop of their own. A request to the node may be refused, or never answered; then they cannot know what
came of it, and ask again, as people and programs do. Knows nothing of what must hold.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from ostinato.domain.errors import Conflict, Exhausted, OstinatoError
from ostinato.domain.question import Answer, Question, QuestionKind, QuestionState
from ostinato.domain.task import ENDED, TaskEvent, TaskState
from ostinato.domain.values import SECOND, Instant, digest_of
from ostinato.store.port import QuestionFilter, Reads, TaskFilter, Tx
from ostinato.testing.simulation.loop import Loop
from ostinato.testing.simulation.outside import What
from ostinato.testing.simulation.story import (
    BEGINS_AT,
    AddTask,
    Crash,
    Deploy,
    FillDisk,
    Flag,
    Freeze,
    Happening,
    Meddle,
    Restart,
    Say,
    SetClock,
    write_files,
)

if TYPE_CHECKING:
    from ostinato.testing.simulation.run import _Run

NAME = "ann"
AGAIN_S = (0.2, 2.0)
LOOK_S = 2.0
"""How often the operator looks at what is asked."""
REST_LOOK_S = 5.0
PATIENCE = 100
"""Looks that somebody takes, five in a second, until a tool is at work whose task they want to begin again."""
REST_S = 3_600.0
"""After this much quiet time whatever still moves will never come to rest."""

Deed = Callable[[Tx, Instant], Any]


class Lost(Exception):
    """Nobody knows what came of a request."""


class People:
    """Everybody outside of the node."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._open: list[asyncio.Future[Any]] = []
        self._ids: dict[str, int] = {}
        self._decided: set[int] = set()
        self._ignored: set[int] = set()
        self._answering: list[asyncio.Task[None]] = []
        self._calm = False
        self._calm_at_s = 0.0
        self._work: list[asyncio.Task[None]] = []
        self.limits: dict[str, int] = {}
        """See `Left.limits`."""

    def begin(self, loop: Loop) -> None:
        """Everybody makes their plans."""
        self._loop = loop
        self._learn_limits(self._run.story.files)
        for at_s, happening in self._run.story.happenings:
            self._work.append(loop.create_task(self._at(at_s, happening)))
        self._work.append(loop.create_task(self._operate()))

    def calm_down(self) -> None:
        """Whatever is out of order is put right, and all that is asked is answered."""
        self._calm, self._calm_at_s = True, self._loop.time()
        self._decided -= self._ignored
        self._write({"agents/watch/HEARTBEAT.md": ""})
        self._work.append(self._loop.create_task(self._wait_for_rest()))

    def cut_off(self) -> None:
        """The node is gone, and with it every answer that was on its way."""
        for each in self._open:
            if not each.done():
                each.set_exception(Lost())
        self._open.clear()

    # --- requests -------------------------------------------------------------------------------------------------

    async def _ask(self, fn: Deed) -> Any:
        """What a node answers. Raises Lost, or what the node refuses it with."""
        process = self._run.process
        if process is None or not process.ready:
            await asyncio.sleep(0.1)
            raise Lost
        future: asyncio.Future[Any] = self._loop.create_future()
        self._open.append(future)

        async def serve() -> None:
            try:
                tell, value = future.set_result, await process.store.run(lambda tx: fn(tx, process.clock.now()))
            except Exception as error:  # whatever it is, whoever asked is told
                tell, value = future.set_exception, error
            if not self._calm and self._run.chance.random() < 0.02:
                self._run.outside.say(What.LOST)
                tell, value = future.set_exception, Lost()
            if not future.done():
                tell(value)

        work = process.loop.create_task(serve())
        try:
            return await future
        finally:
            if future in self._open:
                self._open.remove(future)
            del work

    async def _insist(self, fn: Deed) -> Any:
        """Asks until there is an answer; a full disk is none."""
        while True:
            try:
                return await self._ask(fn)
            except Lost:
                pass
            except Exhausted as error:
                self._run.outside.say(What.REFUSED, text=str(error)[:40])
            await asyncio.sleep(self._run.chance.uniform(*AGAIN_S))

    # --- what happens ---------------------------------------------------------------------------------------------

    async def _at(self, at_s: float, happening: Happening) -> None:
        await asyncio.sleep(at_s)
        run, say = self._run, self._run.outside.say
        match happening:
            case AddTask():
                await self._send(happening)
            case Say():
                await self._say(happening)
            case Meddle():
                await self._meddle(happening)
            case Flag():
                await self._flag(happening)
            case Deploy():
                say(What.TROUBLE, "deploy", text=", ".join(happening.files))
                self._learn_limits(happening.files)
                self._write(happening.files)
            case Crash():
                run.crash(happening)
            case Restart():
                say(What.TROUBLE, "restart")
                run.restart(happening.down_s)
            case Freeze():
                say(What.TROUBLE, "freeze", text=f"{happening.for_s:.1f} s")
                run.freeze(happening.for_s)
            case SetClock():
                say(What.TROUBLE, "clock", text=f"{happening.by_s:+} s")
                run.time.set_wall(by_s=happening.by_s)
            case FillDisk():
                say(What.TROUBLE, "disk full", text=f"{happening.for_s:.1f} s")
                run.fill_disk(happening.for_s)
            case _:
                assert_never(happening)

    async def _send(self, add: AddTask) -> None:
        while any(key not in self._ids for key in add.after):  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(1.0)
        new = msgspec.structs.replace(add.new, after=tuple(self._ids[key] for key in add.after))
        task = await self._insist(lambda tx, now: tx.add_task(new, now=now, actor="sender").id)
        self._ids[add.key] = task
        self._run.outside.say(What.SENT, add.key, task=f"T{task}")

    async def _say(self, say: Say) -> None:
        message = await self._insist(
            lambda tx, now: tx.append_message(say.session, say.message, agent=say.agent, now=now).id
        )
        self._run.outside.say(What.SENT, say.message.client_id or "", key=say.session, call=str(message))

    async def _meddle(self, meddle: Meddle) -> None:
        for _ in range(PATIENCE if meddle.deed == "again" else 0):
            if self._run.outside.working:
                break
            await asyncio.sleep(0.2)

        def deed(tx: Tx, now: Instant) -> str:
            tasks = tx.tasks(TaskFilter(), limit=1_000)
            if not tasks:
                return "nothing there"
            task = tasks[meddle.pick % len(tasks)]
            match meddle.deed:
                case "retry" | "fresh":
                    failed = tx.tasks(TaskFilter(dead=True), limit=1_000)
                    task = failed[meddle.pick % len(failed)] if failed else task
                    tx.retry_task(task.id, fresh=meddle.deed == "fresh", actor=NAME, now=now)
                case "again":
                    running = tx.tasks(TaskFilter(states=frozenset({TaskState.RUNNING})), limit=1_000)
                    if not running:
                        return "nothing runs"
                    busy = [each for each in running if each.id in self._run.outside.working] or running
                    task = busy[meddle.pick % len(busy)]
                    tx.move_task(task.id, TaskEvent.FAIL, actor=NAME, reason="begin again", now=now)
                    tx.retry_task(task.id, fresh=False, actor=NAME, now=now)
                case "urgent":
                    tx.change_task(task.id, actor=NAME, now=now, priority=50)
                case "note":
                    tx.note_task(task.id, "hurry up", by=NAME, now=now)
                case move:
                    tx.move_task(task.id, TaskEvent(move), actor=NAME, reason="so it is", now=now)
            return task.name

        try:
            task = await self._ask(deed)
        except Lost:
            return
        except OstinatoError as error:
            self._run.outside.say(What.REFUSED, meddle.deed, text=str(error)[:60])
            return
        self._run.outside.say(What.DECIDED, meddle.deed, task=task)

    async def _flag(self, flag: Flag) -> None:
        say = self._run.outside.say
        await self._insist(lambda tx, now: tx.set_flag(flag.scope, flag.flag, actor=NAME, reason="wait", now=now))
        say(What.DECIDED, flag.flag, key=flag.scope)
        await asyncio.sleep(flag.for_s)
        say(What.DECIDED, "go on", key=flag.scope, text=flag.flag)
        await self._insist(lambda tx, now: tx.clear_flag(flag.scope, flag.flag, actor=NAME, now=now))

    def _write(self, files: Mapping[str, str]) -> None:
        write_files(self._run.folder, files, at=BEGINS_AT + self._run.time.elapsed_us)

    def _learn_limits(self, files: Any) -> None:
        """Only the largest limit of all versions can be held against a day's sum; one version without is no limit."""
        for name, text in files.items():
            if name.endswith("/AGENTS.md") or name == "ostinato.toml":
                agent = "fleet" if name == "ostinato.toml" else name.split("/")[1]
                found = re.search(r"usd(?:: | = )([\d.]+)", text)
                sum_ = round(float(found[1]) * 1_000_000) if found else 10**15
                self.limits[agent] = max(self.limits.get(agent, 0), sum_)

    # --- the operator ---------------------------------------------------------------------------------------------

    async def _operate(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                pending = await self._ask(_pending)
            except (Lost, OstinatoError):
                continue
            for question, journal in pending:
                if question.id not in self._decided:
                    self._decided.add(question.id)
                    self._answering.append(self._loop.create_task(self._settle(question, journal)))

    async def _settle(self, question: Question, journal: int) -> None:
        chance = self._run.chance
        if not self._calm:
            await asyncio.sleep(chance.choice((0.0, 0.5, 5.0, chance.uniform(0.0, 50.0))))
        answer = self._answer(question, journal)
        if answer is None:
            self._ignored.add(question.id)
            return
        await self._give(question, answer)
        if not self._calm and chance.random() < 0.1:
            await self._give(question, Answer(state=QuestionState.DENIED, by=NAME, text="no, wait"), again=True)

    async def _give(self, question: Question, answer: Answer, *, again: bool = False) -> None:
        run = self._run
        if not again:
            what = (answer.arguments or (question.action.arguments if question.action else {})).get("what", "")
            run.outside.say(
                What.DECIDED, answer.state.value, task=f"T{question.task}", call=question.call_id,
                key=question.name, text=str(what), effect=question.kind.value,
            )  # fmt: skip
        try:
            settled = await self._insist(lambda tx, now: tx.answer(question.id, answer, now=now))
        except Conflict as error:
            run.outside.say(What.REFUSED, "answer", key=question.name, text=str(error)[:60])
            return
        if again:
            run.accidents.append(f"{question.name} was settled a second time: {settled.state.value}")

    def _answer(self, question: Question, journal: int) -> Answer | None:
        """A decision; None: nobody cares, and it expires."""
        chance, kind = self._run.chance, question.kind
        if kind is QuestionKind.ASK:
            return Answer(state=QuestionState.ANSWERED, by=NAME, text=f"yes to {question.text}")
        if kind is QuestionKind.UNKNOWN:
            key = digest_of(f"{question.task}/{journal}/{question.call_id}".encode())[:32]
            if self._run.outside.deeds.get(key):
                return Answer(state=QuestionState.ANSWERED, by=NAME, text="it has happened")
            return Answer(state=QuestionState.ALLOWED, by=NAME, text="nothing has happened")
        choice = chance.random()
        if choice < 0.15:
            return Answer(state=QuestionState.DENIED, by=NAME, text="not that")
        if choice < 0.22 and kind is QuestionKind.APPROVAL and question.expires_at is not None and not self._calm:
            return None
        if choice < 0.3 and question.action is not None and "what" in question.action.arguments:
            edited = {**question.action.arguments, "what": f"{question.action.arguments['what']} edited"}
            return Answer(state=QuestionState.ALLOWED, by=NAME, arguments=edited)
        return Answer(state=QuestionState.ALLOWED, by=NAME)

    # --- the end --------------------------------------------------------------------------------------------------

    async def _wait_for_rest(self) -> None:
        quiet = 0
        while quiet < 2:
            await asyncio.sleep(REST_LOOK_S)
            moving = "nobody knows"
            try:
                moving = await self._ask(_moving)
            except (Lost, OstinatoError):
                pass
            busy = [each for each in (*self._work[:-1], *self._answering) if not each.done()]
            # One of them is the operator, who never ends.
            quiet = quiet + 1 if not moving and len(busy) == 1 else 0
            if self._loop.time() - self._calm_at_s > REST_S:
                self._run.end(f"it did not come to rest: {moving or busy}")
                return
        for each in (*self._work[:-1], *self._answering):
            if each.done() and not each.cancelled() and each.exception() is not None:
                self._run.accidents.append(f"somebody outside was surprised: {each.exception()!r}")
        self._run.end()


def _pending(tx: Tx, _now: Instant) -> list[tuple[Question, int]]:
    found = tx.questions(QuestionFilter(), limit=1_000)[::-1]
    return [(each, tx.task(each.task).journal) for each in found]


def _moving(reads: Reads, now: Instant) -> str:
    """What is not at rest: anything that could still move by itself soon."""
    if reads.schedules():
        return "schedules"
    if reads.questions(QuestionFilter(), limit=1):
        return "questions"
    for task in reads.tasks(TaskFilter(), limit=100_000):
        if task.state in (TaskState.RUNNING, TaskState.READY) and task.not_before_at <= now:
            return f"{task.name} is {task.state.value}"
        wait = task.wait
        if wait is not None and wait.until_at is not None and wait.until_at - now < REST_S * SECOND:
            return f"{task.name} waits for a time"
        if task.state not in ENDED and task.state is TaskState.REVIEW:
            return f"{task.name} is in review"
    return ""
