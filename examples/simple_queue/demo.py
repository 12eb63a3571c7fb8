"""A queue: five invoices, one of them urgent, one that fails and is sent on, and a report that waits for all of them.

    python -m examples.simple_queue.demo

The model is a file of rules, and the fleet is a copy that goes away. Exits with 1 unless everything was filed once, in
the order that priorities and dependencies ask for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from examples.stage import Stage, play
from ostinato.domain.event import EventName
from ostinato.domain.task import TaskState
from ostinato.gateway import agents_api, dead_api
from ostinato.store.port import EventFilter

ORDER = ["File invoice 4", "File invoice 1", "File invoice 2", "File invoice 5", "File invoice 3", "Check the binder"]


async def story(stage: Stage) -> bool:
    """From an empty queue to an empty queue."""
    await stage.call(agents_api.pause, agents_api.LeashAgent(agent="clerk", reason="still at lunch"))
    tasks = [await stage.add(f"File invoice {each}", agent="clerk") for each in (1, 2, 3)]
    tasks.append(await stage.add("File invoice 4", agent="clerk", priority=20))
    tasks.append(await stage.add("File invoice 5", agent="clerk"))
    report = await stage.add("Check the binder", agent="clerk", after=tasks)
    print(f"{len(tasks)} invoices wait, and {report} waits for them: ostinato tasks list")
    await stage.call(agents_api.resume, agents_api.LeashAgent(agent="clerk"))

    for each in tasks:
        await stage.ended(each)
    (letter,) = (await stage.call(dead_api.list_dead, dead_api.WhichDead())).dead
    waiting = await stage.look(lambda reads: reads.task(int(report[1:])))
    print(f"{letter.task.id} has failed; {report} is {waiting.state.value}: {waiting.reason}")
    await stage.call(dead_api.replay, dead_api.WhichLetter(task=letter.task.id, reason="the page is straight now"))
    print(f"you: ostinato dead replay {letter.task.id}")

    await stage.ended(report)
    done = await stage.look(lambda reads: reads.events(EventFilter(names=frozenset({EventName.TASK_DONE}))))
    ended = [await stage.look(lambda reads, number=each.task: reads.task(number)) for each in done]
    for each in ended:
        print(f"  {each.name} {each.title}: {each.result.text if each.result else ''}")
    return [each.title for each in ended] == ORDER and all(each.state is TaskState.DONE for each in ended)


if __name__ == "__main__":
    sys.exit(play(Path(__file__), story))
