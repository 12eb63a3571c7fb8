"""Work that nobody can do says so at once, and goes on when somebody appears who can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ostinato.agents.calendar import VACANT_S, Calendar
from ostinato.agents.colleagues import colleague_of, delegates_of
from ostinato.agents.vacancies import Vacancies
from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.task import NewTask, Park, Task, TaskKind, TaskSpec, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import Claim, ClaimRequest, StoreAway, Tx
from ostinato.tools.router import Router
from tests.agents.fleet import Fleet, running, write_fleet
from tests.conftest import run

FILES = {"agents/helper/AGENTS.md": "---\nskills: [mail]\n---\n", "model.yaml": 'default: {text: "done"}'}
LATIN = "---\nskills: [latin]\n---\n"


class Interrupted(Vacancies):
    """Finds no database for the first few looks."""

    away = 0

    async def remain(self, agents: Sequence[str], *, now: Instant) -> bool:
        self.away -= 1
        if self.away >= 0:
            raise StoreAway("The database cannot be reached")
        return await super().remain(agents, now=now)


def calendar_of(fleet: Fleet, *, away: int = 0) -> Calendar:
    vacancies = Interrupted(
        store=fleet.store,
        colleagues=lambda: [colleague_of(each) for each in fleet.workspaces.briefs(look=False) if not each.is_broken],
        router=Router(),
        delegates=lambda agent, among: delegates_of(fleet.workspaces, agent, among),
    )
    vacancies.away = away
    return Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock, vacancies=vacancies)


async def add(fleet: Fleet, *, after: tuple[int, ...] = (), maker: str = "", skill: str = "latin") -> Task:
    """A goal that names a skill, routed as every other."""
    new = NewTask(
        kind=TaskKind.GOAL, title="read Cicero", spec=TaskSpec(skills=(skill,), created_by=maker), after=after
    )
    agents, now = fleet.colleagues(), fleet.clock.now()
    return await fleet.store.run(lambda tx: tx.add_task(Router().place(tx, new, agents, now=now), now=now))


def test_a_task_that_nobody_can_do_is_done_once_an_agent_is_there_or_learns_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES) as fleet:
            calendar = calendar_of(fleet)
            task, greek = await add(fleet), await add(fleet, skill="greek")
            assert (task.state, task.reason) == (TaskState.BLOCKED, "no agent has the skill latin")
            assert await calendar.poll() == VACANT_S, "it is looked more often while somebody waits"
            write_fleet(tmp_path, {"agents/scholar/AGENTS.md": LATIN})
            await calendar.poll()
            assert (await fleet.until(task.id)).agent == "scholar"
            write_fleet(tmp_path, {"agents/helper/AGENTS.md": "---\nskills: [mail, greek]\n---\n"})
            assert await calendar.poll() > VACANT_S
            assert (await fleet.until(greek.id)).agent == "helper"

    run(story())


def test_whoever_becomes_able_while_the_database_is_away_gets_the_task_once_it_is_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES) as fleet:
            calendar = calendar_of(fleet, away=1)
            task = await add(fleet)
            write_fleet(tmp_path, {"agents/scholar/AGENTS.md": LATIN})
            with pytest.raises(StoreAway):
                await calendar.poll()
            await calendar.poll()
            assert (await fleet.until(task.id)).agent == "scholar"

    run(story())


def test_what_waits_for_others_too_gets_its_agent_and_goes_on_waiting(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            calendar = calendar_of(fleet)
            first = await fleet.goal("helper", "go")
            task = await add(fleet, after=(first.id,))
            write_fleet(tmp_path, {"agents/scholar/AGENTS.md": LATIN})
            await calendar.poll()
            found = await fleet.store.read(lambda reads: reads.task(task.id))
            assert (found.agent, found.state) == ("scholar", TaskState.BLOCKED)
            assert first.name in found.reason

    run(story())


def test_nobody_gets_a_task_whom_its_maker_may_not_ask(tmp_path: Path) -> None:
    async def story() -> None:
        only = {"agents/helper/AGENTS.md": "---\nskills: [mail]\ndelegates: [friend]\n---\n"}
        async with running(tmp_path, FILES | only, start=False) as fleet:
            calendar = calendar_of(fleet)
            task = await add(fleet, maker="helper")
            write_fleet(tmp_path, {"agents/scholar/AGENTS.md": LATIN})
            await calendar.poll()
            assert (await fleet.store.read(lambda reads: reads.task(task.id))).agent is None
            write_fleet(tmp_path, {"agents/friend/AGENTS.md": LATIN})
            await calendar.poll()
            assert (await fleet.store.read(lambda reads: reads.task(task.id))).agent == "friend"

    run(story())


def test_what_was_routed_goes_to_whoever_is_able_first_and_what_was_named_stays(tmp_path: Path) -> None:
    async def story() -> None:
        two = {f"agents/{each}/AGENTS.md": LATIN for each in ("scholar", "tutor")}
        async with running(tmp_path, FILES | two) as fleet:
            calendar, now = calendar_of(fleet), fleet.clock.now()
            await calendar.poll()

            async def hold(agent: str, held: bool = True) -> None:
                if held:
                    await fleet.store.run(
                        lambda tx: tx.set_flag(f"agent:{agent}", "paused", actor="ann", reason="", now=now)
                    )
                else:
                    await fleet.store.run(lambda tx: tx.clear_flag(f"agent:{agent}", "paused", actor="ann", now=now))
                await calendar.poll()

            async def agent_of(task: Task) -> str | None:
                return (await fleet.store.read(lambda reads: reads.task(task.id))).agent

            await hold("scholar")
            await hold("tutor")
            task = await add(fleet)
            named = await fleet.goal("scholar", "go")
            later = await add(fleet, after=(named.id,))
            assert (task.agent, later.agent) == ("scholar", "tutor")
            await hold("helper")
            assert await agent_of(task) == "scholar", "nobody else can do it now"
            await hold("tutor", False)
            done = await fleet.until(task.id)
            assert (done.agent, done.state) == ("tutor", TaskState.DONE)
            assert ": tutor: " in done.spec.routed
            await hold("tutor")
            await hold("scholar", False)
            assert (await fleet.until(later.id)).agent == "scholar", "also what waited for others"
            assert await agent_of(named) == "scholar"

    run(story())


def test_what_waits_for_its_agents_breaker_goes_to_another_that_is_not_in_trouble(tmp_path: Path) -> None:
    async def story() -> None:
        two = {f"agents/{each}/AGENTS.md": LATIN for each in ("scholar", "tutor")}
        async with running(tmp_path, FILES | two, start=False) as fleet:
            calendar, now = calendar_of(fleet), fleet.clock.now()

            def trouble(tx: Tx) -> None:
                for name in ("agent:scholar", "agent:tutor"):
                    until_at = now + 600 * SECOND
                    tx.put_breaker(name, Breaker(name=name, state=BreakerState.OPEN, until_at=until_at), now=now)

            def leave_alone(tx: Tx) -> None:
                node = tx.start_node(pid=1, host="", version="", lease_s=100.0, exclusive=True, now=now).id
                (task,) = tx.claim(ClaimRequest(node=node), now=now)
                wait = Wait(kind=WaitKind.TIME, refs=("agent:scholar",), until_at=now + 600 * SECOND)
                tx.finish(Claim(task=task.id, token=task.token), Park(wait=wait, reason="it is down"), now=now)

            await fleet.store.run(trouble)
            task = await add(fleet)
            await fleet.store.run(leave_alone)
            await calendar.poll()
            await fleet.store.run(lambda tx: tx.put_breaker("agent:tutor", None, now=now))
            await calendar.poll()
            found = await fleet.store.read(lambda reads: reads.task(task.id))
            assert (task.agent, found.agent, found.state) == ("scholar", "tutor", TaskState.READY)

    run(story())
