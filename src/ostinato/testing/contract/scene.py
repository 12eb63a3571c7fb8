"""A store on a stage: a clock that only the case moves, a node that claims, and short words for common steps.

Knows nothing of any test runner or of which store it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.message import Message, NewMessage
from ostinato.domain.question import Answer, NewQuestion, Question, QuestionKind, QuestionState
from ostinato.domain.task import (
    Done,
    NewTask,
    Outcome,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
)
from ostinato.domain.values import SECOND, Instant, Source
from ostinato.store.port import Claim, ClaimRequest, EventFilter, Reads, Store, Tallies, TaskFilter, Tx

T = TypeVar("T")

BEGINS_AT: Instant = 1_800_000_000 * SECOND
"""2027-01-15T08:00:00Z."""
LONG_S = 1_000.0
"""A lease that does not end while a case runs."""

StoreFactory = Callable[[], Store]


class Scene:
    """One store, its time and its node."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = BEGINS_AT
        self.node = 0

    async def begin(self) -> None:
        """Starts the node that claims."""
        started = await self.do(
            lambda tx: tx.start_node(pid=1, host="here", version="1", lease_s=LONG_S, exclusive=True, now=self.now)
        )
        self.node = started.id

    def wait(self, seconds: float) -> None:
        """Moves the clock."""
        self.now += round(seconds * SECOND)

    async def do(self, fn: Callable[[Tx], T]) -> T:
        """One transaction."""
        return await self.store.run(fn)

    async def change(self, verb: str, /, *values: Any, **more: Any) -> Any:
        """One verb in a transaction of its own, by its name."""
        return await self.store.run(lambda tx: getattr(tx, verb)(*values, **more))

    async def look_up(self, verb: str, /, *values: Any, **more: Any) -> Any:
        """One reading verb over a snapshot of its own, by its name."""
        return await self.store.read(lambda reads: getattr(reads, verb)(*values, **more))

    async def see(self, fn: Callable[[Reads], T]) -> T:
        """One snapshot."""
        return await self.store.read(fn)

    async def add(self, title: str = "a task", *, kind: TaskKind = TaskKind.RUN, **more: Any) -> Task:
        """Adds a task; what a specification has goes into `spec`."""
        new = NewTask(kind=kind, title=title, **more)
        return await self.do(lambda tx: tx.add_task(new, now=self.now))

    async def claim(self, most: int = 1, **more: Any) -> list[Task]:
        """Claims for the scene's node; agents may run 100 at once unless said otherwise."""
        more.setdefault("agent_limit_default", 100)
        request = ClaimRequest(node=self.node, most=most, **more)
        return await self.do(lambda tx: tx.claim(request, now=self.now))

    async def claim_one(self, **more: Any) -> Task:
        """Claims exactly one."""
        claimed = await self.claim(**more)
        assert len(claimed) == 1, f"claimed {claimed}"
        return claimed[0]

    async def finish(self, task: Task, outcome: Outcome | None = None, *, chance: float = 0.5) -> Task:
        """Finishes a claimed task, well unless said otherwise."""
        ending = outcome or done()
        return await self.do(lambda tx: tx.finish(claim_of(task), ending, now=self.now, chance=chance))

    async def move(self, task: Task, event: TaskEvent, reason: str = "") -> Task:
        """Moves a task as a person would."""
        return await self.do(lambda tx: tx.move_task(task.id, event, actor="ann", reason=reason, now=self.now))

    async def look(self, task: Task | int) -> Task:
        """The task as it stands."""
        number = task if isinstance(task, int) else task.id
        return await self.see(lambda reads: reads.task(number))

    async def say(self, key: str, text: str = "hello", *, agent: str = "triage", **more: Any) -> Message:
        """A message into a session's inbox."""
        wake = more.pop("wake", True)
        new = NewMessage(text=text, **{"source": Source.OPERATOR, **more})
        return await self.do(lambda tx: tx.append_message(key, new, agent=agent, now=self.now, wake=wake))

    async def ask(self, task: Task, **more: Any) -> Question:
        """A question of a task."""
        settings = {
            "kind": QuestionKind.APPROVAL,
            "text": "May I?",
            "agent": task.agent or "",
            "task": task.id,
            "session": task.session or "",
            **more,
        }
        return await self.do(lambda tx: tx.ask(NewQuestion(**settings), now=self.now))

    async def answer(self, question: Question, state: QuestionState = QuestionState.ALLOWED, **more: Any) -> Question:
        """A person's decision."""
        decision = Answer(state=state, by="ann", **more)
        return await self.do(lambda tx: tx.answer(question.id, decision, now=self.now))

    async def read_all(self, key: str) -> list[Message]:
        """Reads a session's inbox to its end, as a turn does."""

        def read(tx: Tx) -> list[Message]:
            messages = tx.inbox(key)
            if messages:
                tx.advance_cursor(key, messages[-1].id, now=self.now)
            return messages

        return await self.do(read)

    async def unfinished(self, session: str) -> list[Task]:
        """What still wants something in a session."""
        tasks = await self.see(lambda reads: reads.tasks(TaskFilter(session=session)))
        ended = {TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED}
        return [task for task in tasks if task.state not in ended]

    async def told(self, *names: EventName, task: Task | None = None) -> list[Event]:
        """Events with these names, oldest first."""
        which = EventFilter(names=frozenset(names), task=task.id if task else None)
        return await self.see(lambda reads: reads.events(which, limit=10_000))


def done(text: str = "ok") -> Done:
    """A good ending."""
    return Done(result=TaskResult(text=text))


def claim_of(task: Task) -> Claim:
    """The claim under which a task was taken."""
    return Claim(task=task.id, token=task.token)


def spec(**more: Any) -> TaskSpec:
    """A specification."""
    return TaskSpec(**more)


@contextlib.contextmanager
def refuses(kind: type[OstinatoError], *words: str) -> Iterator[None]:
    """The block must raise this error, and its text must hold these words."""
    refusal = ""
    try:
        yield
    except kind as error:
        refusal = str(error)
    assert refusal, f"nothing was refused; {kind.__name__} was expected"
    missing = [word for word in words if word.casefold() not in refusal.casefold()]
    assert not missing, f"{refusal} does not say {missing}"


Case = Callable[[Scene], Awaitable[None]]


_CASES: list[Case] = []


def case(function: Case) -> Case:
    """Makes an async function over a scene part of the contract; its name says what must be so."""
    _CASES.append(function)
    return function


def cases() -> list[Case]:
    """Every case of the rooms that have been imported."""
    return list(_CASES)


async def check(case: Case, factory: StoreFactory) -> None:
    """Runs one case over a fresh store, and looks at the store's own bookkeeping afterwards."""
    store = factory()
    try:
        scene = Scene(store)
        await scene.begin()
        await case(scene)
        await tallies_are_true(scene)
    finally:
        await store.close()


async def tallies_are_true(scene: Scene) -> None:
    """The counters equal what counting every row gives; most mistakes in bookkeeping show here, whatever the case."""

    def look(reads: Reads) -> tuple[Tallies, list[Task], dict[str, Mapping[str, int]]]:
        tasks = reads.tasks(TaskFilter(), limit=100_000)
        agents = sorted({task.agent for task in tasks if task.agent})
        return reads.tallies(), tasks, {agent: reads.agent_tally(agent) for agent in agents}

    tallies, tasks, agents = await scene.see(look)
    assert tallies.tasks == _count(tasks), f"{tallies.tasks} != {_count(tasks)}"
    assert tallies.goals == _count([task for task in tasks if task.kind is TaskKind.GOAL])
    for agent, tally in agents.items():
        counted = _count([task for task in tasks if task.agent == agent])
        assert tallies.agents[agent] == tally == counted, f"{agent}: {tallies.agents[agent]}, {tally} != {counted}"
    assert {agent for agent, states in tallies.agents.items() if states} == set(agents)
    assert tallies.dead == sum(task.state is TaskState.FAILED and not task.dismissed for task in tasks)


def _count(tasks: list[Task]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for task in tasks:
        counted[task.state.value] = counted.get(task.state.value, 0) + 1
    return counted
