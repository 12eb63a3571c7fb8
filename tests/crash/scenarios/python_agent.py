"""A function does three steps of its own, one for each kind of effect, and calls a tool that asks a person first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ostinato.domain.step import Effect
from ostinato.tools.python.worker import Call, CallFailed, Context
from tests.crash.scenario import Scenario, goal, script

Say = Callable[[str, str, Effect, Call], Any]
"""Does something outside: the id of the call, its name and effect."""

AGENT = "---\nkind: python\nfunction: forge.work\nconcurrency: 2\n---\n"


async def work(context: Context, say: Say) -> dict[str, Any]:
    """What the agent does. Where a person had to settle a step, it goes on all the same."""

    async def step(number: int, name: str, effect: Effect) -> Any:
        async def act(call: Call) -> dict[str, int]:
            await say(f"{number}.0", name, effect, call)
            return {"of": number}

        try:
            return await context.once(name, act, effect=effect.value)
        except CallFailed as failed:
            if failed.status != "unknown":
                raise
            return {"of": number}

    context.log("strikes, reserves, looks")
    found = [
        await step(1, "strike", Effect.IRREVERSIBLE),
        await step(2, "reserve", Effect.IDEMPOTENT),
        await step(3, "look", Effect.READ),
    ]
    try:
        await context.call("world.fire", what="launch", after=0.001)
    except CallFailed as failed:
        if failed.status != "unknown":
            raise
    return {"found": found}


SCENARIO = Scenario(
    name="python agent",
    agents={"smith": {"AGENTS.md": AGENT}},
    script=script(""),
    arrivals=(goal("work", "smith", key="work"),),
    ends=1,
    deeds=("strike", "reserve", "look", "launch"),
    function=work,
)
