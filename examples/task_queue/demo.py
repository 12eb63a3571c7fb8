"""The lists of two projects, kept as a person would: read, given away, planned, done, ticked off, asked about.

    python -m examples.task_queue.demo

A triage agent with a heartbeat reads `projects/*/TASKS.md`, a planner proposes, a writer and a coding program work by
skill, and results come back to whoever gave the work away. The model is a file of rules, no money is spent, and the
fleet is a copy that goes away. Exits with 1 unless every line was done once and ticked off, or asked about.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from examples.stage import Stage, play
from ostinato.domain.message import main_session
from ostinato.domain.task import ENDED, Task, TaskKind, TaskState
from ostinato.gateway import agents_api, approvals_api, plans_api, schedules_api, tasks_api
from ostinato.store.port import TaskFilter

WORKERS = ("planner", "writer", "coder")
GOALS = TaskFilter(kinds=frozenset({TaskKind.GOAL}))


async def story(stage: Stage) -> bool:
    """A morning: two heartbeats, a failure, a plan and what comes of it, a question, a last look."""
    for each in WORKERS:
        await stage.call(agents_api.pause, agents_api.LeashAgent(agent=each, reason="it is early"))
    for time in ("eight", "a quarter past"):
        await _beat(stage)
        goals = await stage.look(lambda reads: reads.tasks(GOALS))
        print(f"at {time} the heartbeat has looked through two lists: {len(goals)} tasks")
    for task in goals[::-1]:
        print(f"  {task.name} {task.state.value:8} {task.agent or '-':8} {task.title} {task.reason}".rstrip())

    for each in WORKERS:
        await stage.call(agents_api.resume, agents_api.LeashAgent(agent=each))
    failed = await stage.question("failure")
    print(f"\n{failed.id}: {failed.text}")
    await stage.call(approvals_api.allow, approvals_api.AllowQuestion(question=failed.id, reason="a new pen"))
    print(f"you: ostinato approvals allow {failed.id}")

    drafts = await stage.until(lambda: _all_but_drafts(stage))
    print(f"\nthe planner proposes {len(drafts)} tasks; you: ostinato tasks approve {drafts[0].name} --tree")
    await stage.call(plans_api.approve_tree, plans_api.DecideTree(task=drafts[0].name))
    shown = await stage.until(lambda: _in_review(stage))
    print(f"{shown.name} waits for you: {shown.result.text if shown.result else ''}")
    await stage.call(tasks_api.approve, tasks_api.DecideTask(task=shown.name, reason="looks good"))
    print(f"you: ostinato tasks approve {shown.name}")
    for task in drafts:
        await stage.ended(task.name)
    tree = await stage.call(plans_api.tree, tasks_api.WhichTask(task=drafts[0].name))
    for node in (each for each in tree.nodes if each.level == 0):
        why = f" ({node.task.reason})" if node.task.reason else ""
        print(
            f"  {node.task.id:3} {node.task.state:9} {node.task.title}, after {', '.join(node.after) or 'nothing'}{why}"
        )

    await stage.until(lambda: _ticked(stage, but="Translate the imprint"))
    question = await stage.question("ask")
    print(f"\n{question.id}: {question.text}")
    (stuck,) = [each for each in await _goals(stage) if each.state is TaskState.BLOCKED]
    answer = approvals_api.AnswerQuestion(question=question.id, text="Leave it out.")
    await stage.call(approvals_api.answer, answer)
    await stage.call(tasks_api.cancel, tasks_api.DecideTask(task=stuck.name, reason="left out"))
    print(f'you: ostinato approvals answer {question.id} "Leave it out."; ostinato tasks cancel {stuck.name}')

    lists = await stage.until(lambda: _ticked(stage))
    before = len(await _goals(stage))
    await _beat(stage)
    print("\nthe lists at noon:")
    print("\n".join(f"  {line}" for line in lists))
    titles = Counter(each.title for each in await _goals(stage))
    changes = (stage.fleet / "agents/coder/changes.txt").read_text().splitlines()
    print(f"{len(titles)} tasks, none twice; the program has changed {len(changes)} things")
    return len(titles) == before == sum(titles.values()) and len(changes) == len(set(changes)) == 2


async def _goals(stage: Stage) -> list[Task]:
    return await stage.look(lambda reads: reads.tasks(GOALS))


async def _beat(stage: Stage) -> None:
    """The heartbeat, before its time; returns when its turn is over."""
    await stage.call(schedules_api.run, schedules_api.RunSchedule(name="heartbeat:triage:heartbeat"))

    async def over() -> bool:
        turns = await stage.look(lambda reads: reads.session_tasks(main_session("triage")))
        return bool(turns) and all(each.state in ENDED for each in turns)

    await stage.until(over)


async def _all_but_drafts(stage: Stage) -> list[Task]:
    """The drafts of the plan, as soon as all else that can be done is done."""
    goals = await _goals(stage)
    drafts = [each for each in goals[::-1] if each.state is TaskState.DRAFT]
    busy = [each for each in goals if each.state not in {*ENDED, TaskState.DRAFT, TaskState.BLOCKED}]
    return [] if busy else drafts


async def _in_review(stage: Stage) -> Task | None:
    return next((each for each in await _goals(stage) if each.state is TaskState.REVIEW), None)


async def _ticked(stage: Stage, *, but: str = "") -> list[str]:
    """The lines of both lists, once none is open; one may be."""
    files = sorted((stage.fleet / "agents/triage/projects").glob("*/TASKS.md"))
    text = await asyncio.to_thread(lambda: "".join(each.read_text() for each in files))
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    return [] if any("[ ]" in line and not (but and but in line) for line in lines) else lines


if __name__ == "__main__":
    sys.exit(play(Path(__file__), story, commands=True))
