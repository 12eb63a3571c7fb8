"""Lists: filters, pages by key, events in order."""

from __future__ import annotations

from ostinato.domain.event import EventName
from ostinato.domain.task import Fail, Task, TaskEvent, TaskKind, TaskState
from ostinato.store.port import EventFilter, TaskFilter
from ostinato.testing.contract.scene import Scene, case


@case
async def tasks_are_listed_newest_first_in_pages(scene: Scene) -> None:
    ids = [(await scene.add(str(number))).id for number in range(10)]
    seen: list[int] = []
    before: int | None = None
    while page := await scene.look_up("tasks", TaskFilter(), before=before, limit=3):
        assert len(page) <= 3
        seen += [task.id for task in page]
        before = seen[-1]
    assert seen == ids[::-1]


@case
async def a_page_does_not_shift_when_tasks_are_added(scene: Scene) -> None:
    for number in range(4):
        await scene.add(str(number))
    first = await scene.see(lambda reads: reads.tasks(TaskFilter(), limit=2))
    await scene.add("new")
    second = await scene.see(lambda reads: reads.tasks(TaskFilter(), before=first[-1].id, limit=2))
    assert [task.title for task in (*first, *second)] == ["3", "2", "1", "0"]


@case
async def pages_for_people_find_the_same_and_end(scene: Scene) -> None:
    await _various(scene)
    for which in (TaskFilter(), TaskFilter(text="sort"), TaskFilter(kinds=frozenset({TaskKind.TURN}), project="p")):
        expected = [task.id for task in await scene.look_up("tasks", which)]
        seen: list[int] = []
        before: int | None = None
        while True:
            page, before = await _page(scene, which, before=before)
            seen += [task.id for task in page]
            if before is None:
                break
        assert seen == expected


async def _page(scene: Scene, which: TaskFilter, *, before: int | None) -> tuple[list[Task], int | None]:
    return await scene.see(lambda reads: reads.tasks_page(which, before=before, limit=2))


@case
async def every_filter_selects_what_it_says(scene: Scene) -> None:
    tasks = await _various(scene)
    filters = (
        TaskFilter(),
        TaskFilter(states=frozenset({TaskState.READY})),
        TaskFilter(states=frozenset({TaskState.BLOCKED})),
        TaskFilter(states=frozenset({TaskState.FAILED, TaskState.DONE})),
        TaskFilter(states=frozenset({TaskState.FAILED}), agent="a"),
        TaskFilter(kinds=frozenset({TaskKind.GOAL})),
        TaskFilter(kinds=frozenset({TaskKind.GOAL, TaskKind.TURN}), agent="a"),
        TaskFilter(agent="a"),
        TaskFilter(agent="nobody"),
        TaskFilter(project="p"),
        TaskFilter(project="p", agent="b", states=frozenset({TaskState.READY})),
        TaskFilter(session="main:a"),
        TaskFilter(session="main:a", states=frozenset({TaskState.DONE})),
        TaskFilter(parent=tasks[0].id),
        TaskFilter(parent=tasks[0].id, agent="b"),
        TaskFilter(dead=True),
        TaskFilter(dead=True, agent="a"),
        TaskFilter(text="SORT"),
        TaskFilter(text="sort", agent="b"),
    )
    current = [await scene.look(task) for task in tasks]
    for which in filters:
        found = await scene.look_up("tasks", which)
        expected = [task.id for task in current if _matches(which, task)][::-1]
        assert [task.id for task in found] == expected, which


async def _various(scene: Scene) -> list[Task]:
    """Tasks that differ in everything that can be filtered by."""
    failed = await scene.add("Sort mail", kind=TaskKind.GOAL, agent="a", project="p")
    await scene.finish(await scene.claim_one(), Fail(error="x"))
    dismissed = await scene.add("sort more", agent="a")
    await scene.finish(await scene.claim_one(), Fail(error="x"))
    await scene.move(dismissed, TaskEvent.DISMISS)
    ended = await scene.add("turn", kind=TaskKind.TURN, agent="a", session="main:a")
    await scene.finish(await scene.claim_one())
    return [
        failed,
        dismissed,
        ended,
        await scene.add("next turn", kind=TaskKind.TURN, agent="a", session="main:a"),
        await scene.add("child", agent="b", parent=failed.id, project="p"),
        await scene.add("stuck", agent="b", blocked="nobody"),
        await scene.add("Assorted", agent="b", project="q", draft=True),
        await scene.add("nobody's"),
    ]


def _matches(which: TaskFilter, task: Task) -> bool:
    return (
        (not which.states or task.state in which.states)
        and (not which.kinds or task.kind in which.kinds)
        and (which.agent is None or task.agent == which.agent)
        and (which.project is None or task.project == which.project)
        and (which.session is None or task.session == which.session)
        and (which.parent is None or task.parent == which.parent)
        and (not which.dead or (task.state is TaskState.FAILED and not task.dismissed))
        and which.text.casefold() in task.title.casefold()
    )


@case
async def what_ran_in_a_session_is_listed_newest_first(scene: Scene) -> None:
    for number in range(3):
        await scene.say("main:a", str(number))
        turn = await scene.claim_one()
        await scene.read_all("main:a")
        await scene.finish(turn)
    tasks = await scene.see(lambda reads: reads.session_tasks("main:a"))
    assert [task.title for task in tasks] == ["2", "1", "0"]
    older = await scene.see(lambda reads: reads.session_tasks("main:a", before=tasks[0].id, limit=1))
    assert [task.title for task in older] == ["1"]


@case
async def events_come_in_the_order_of_their_commits(scene: Scene) -> None:
    for number in range(50):
        await scene.add(str(number), agent="ab"[number % 2])
    everything = await scene.see(lambda reads: reads.events(EventFilter()))
    assert [event.id for event in everything] == sorted(event.id for event in everything)
    assert await scene.see(lambda reads: reads.latest_event()) == everything[-1].id
    seen = [event for event in everything if event.agent == "a"]
    assert await scene.see(lambda reads: reads.events(EventFilter(agent="a"))) == seen
    rest = await scene.see(lambda reads: reads.events(EventFilter(agent="a"), after=seen[4].id, limit=3))
    assert rest == seen[5:8]


@case
async def events_are_found_by_when_what_and_where(scene: Scene) -> None:
    times: list[int] = []
    for number in range(200):
        scene.wait(1.0)
        times.append(scene.now)
        await scene.say(f"main:{'ab'[number % 2]}", wake=False, agent="ab"[number % 2])
    name = EventName.MESSAGE_APPENDED
    for first, last in ((0, 200), (3, 9), (64, 130), (150, 151), (199, 200), (77, 77)):
        which = EventFilter(
            since_at=times[first], until_at=times[last] if last < 200 else None, names=frozenset({name})
        )
        found = await scene.look_up("events", which)
        assert [event.at for event in found] == times[first:last]
    which = EventFilter(session="main:b", since_at=times[100])
    found = await scene.see(lambda reads: reads.events(which))
    assert [event.at for event in found] == times[101::2]
    assert await scene.see(lambda reads: reads.events(EventFilter(since_at=scene.now + 1))) == []
    assert await scene.told(EventName.TASK_ADDED) == []
