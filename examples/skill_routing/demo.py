"""Work that finds whoever is best for it: by skill, by what it cost before, by how often it failed, by rules.

    python -m examples.skill_routing.demo

Two models are files of rules with prices that are made up, and the fleet is a copy that goes away. Exits with 1 unless
each task went where the story says.
"""

from __future__ import annotations

import sys
from pathlib import Path

from examples.stage import Stage, play
from ostinato.domain.task import TaskState
from ostinato.gateway import cost_api, dead_api, task_story_api, tasks_api

LEARNED = (("junior", "Write to Ann"), ("junior", "Write to Łukasz"), ("senior", "Write to Ben"))
"""What each was given before, by name: the record that routing looks at."""


async def story(stage: Stage) -> bool:
    """From a record to choices, and a newcomer."""
    for agent, title in LEARNED:
        await stage.ended(await stage.add(title, agent=agent, type="letter"))
    (letter,) = (await stage.call(dead_api.list_dead, dead_api.WhichDead())).dead
    await stage.call(dead_api.dismiss, dead_api.WhichLetter(task=letter.task.id, reason="written by hand"))
    print("Until now:")
    for line in (await stage.call(cost_api.show, cost_api.WhichCost(by="agent"))).lines:
        print(f"  {line.name}: ${line.usd}")

    gone = [
        await _goes(stage, "Write to a customer", skills=["letters"], type="letter"),
        await _goes(stage, "Write the newsletter", skills=["letters"], type="letter", project="newsletter"),
        await _goes(stage, "Draw up a contract", skills=["contracts"], type="contract", priority=60),
        await _goes(stage, "A letter about a contract", skills=["letters", "contracts"]),
    ]
    taxes = await stage.add("File the taxes", skills=["taxes"])
    print(f"\n{taxes} File the taxes: {(await _explained(stage, taxes)).lines[-1]}")
    office = stage.fleet / "agents/accountant"
    office.mkdir()
    (office / "SOUL.md").write_text("You file taxes.\n")
    (office / "AGENTS.md").write_text("---\nskills: [taxes]\n---\n")
    found = await stage.ended(taxes)
    print(f"an accountant comes: {taxes} is {found.state.value}, by {found.agent}")
    return gone == ["senior", "junior", "counsel", "senior"] and found.state is TaskState.DONE


async def _goes(stage: Stage, title: str, **more: object) -> str | None:
    """Adds a task without saying who does it, and tells how it was decided."""
    task = await stage.add(title, **more)
    print(f"\n{task} {title}: {', '.join(f'{key} {value}' for key, value in more.items())}")
    explained = await _explained(stage, task)
    for each in explained.candidates:
        mark = "→" if each.chosen else " "
        print(f"  {mark} {each.agent:8} {'; '.join(each.reasons)}")
    await stage.ended(task)
    return explained.agent


async def _explained(stage: Stage, task: str) -> task_story_api.Explanation:
    return await stage.call(task_story_api.explain, tasks_api.WhichTask(task=task))


if __name__ == "__main__":
    sys.exit(play(Path(__file__), story))
