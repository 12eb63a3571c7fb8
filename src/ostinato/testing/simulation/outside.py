"""The world outside: what was really done, asked, answered and promised, whatever the store thinks of it.

A run is judged by this log. The tools here have no effect but a line in it. Knows nothing of stores.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from random import Random
from typing import Any

from ostinato.domain.errors import Exhausted
from ostinato.domain.step import Effect
from ostinato.domain.values import Value
from ostinato.engine.port import Clock
from ostinato.testing.simulation.loop import Time
from ostinato.tools.port import AnyTool, Arguments, OutsideTool, ToolContext, ToolResult, object_schema, text_schema


class What(enum.StrEnum):
    """What a line says."""

    STARTED = "started"
    """A node runs."""
    DIED = "died"
    """It does not any more; `name` says how it ended."""
    SENT = "sent"
    """Somebody was told that what they sent is safe: `name` is their own key for it."""
    DECIDED = "decided"
    """A person was told that their decision stands."""
    REFUSED = "refused"
    """Somebody was told why not."""
    LOST = "lost"
    """Somebody was told nothing: the answer got lost."""
    ASKED = "asked"
    """A model was asked."""
    REPLIED = "replied"
    """It has answered, or failed: `name`."""
    DID = "did"
    """A tool took effect."""
    ENDED = "ended"
    """A tool's work is over, or was cut off."""
    HEARD = "heard"
    """Somebody who listens heard of an event."""
    TROUBLE = "trouble"
    """Something was made to go wrong."""
    NOTICE = "notice"
    """What the engine had to say."""


class Line(Value):
    """One thing that happened."""

    at_us: int
    """Since the run began."""
    node: int
    """Which node runs then, from 1; 0 before the first."""
    what: What
    name: str = ""
    task: str = ""
    call: str = ""
    effect: str = ""
    key: str = ""
    text: str = ""

    def __str__(self) -> str:
        facts = [each for each in (self.name, self.task, self.call, self.effect, self.text) if each]
        return f"{self.at_us / 1_000_000:10.6f} s  node {self.node}  {self.what.value:<8} {' · '.join(facts)}"


class Outside:
    """The log."""

    def __init__(self, time: Time) -> None:
        self.lines: list[Line] = []
        self.node = 0
        """The node that runs now."""
        self.deeds: dict[str, int] = {}
        """Key of a call -> how often it took effect."""
        self.working: list[int] = []
        """Tasks whose tools have taken effect and are still at it."""
        self._time = time

    def say(self, what: What, name: str = "", **facts: Any) -> None:
        """One line more."""
        self.lines.append(Line(at_us=self._time.elapsed_us, node=self.node, what=what, name=name, **facts))


class Hands:
    """What deeds need of the run: a clock, chance, and the moment after an effect."""

    def __init__(self, outside: Outside, *, clock: Clock, chance: Random, after: Callable[[], None]) -> None:
        self.outside = outside
        self.clock = clock
        self.chance = chance
        self.after = after


STUBBORN = 0.5
"""Deeds that take their time to stop when they are told to."""


def deeds(hands: Hands) -> tuple[AnyTool, ...]:
    """`world.look`, `put`, `swap`, `fire`: one for each effect; `before` and `after` are seconds of work."""

    def tool(name: str, effect: Effect) -> AnyTool:
        async def act(context: ToolContext, arguments: Arguments) -> ToolResult:
            return await _act(hands, context, arguments, effect=effect)

        seconds = {"type": "number", "minimum": 0, "maximum": 200}
        return OutsideTool(
            name=f"world.{name}",
            description=f"Something that is {effect.value}.",
            parameters=object_schema("what", what=text_schema(least=1), before=seconds, after=seconds),
            effect=effect,
            outward=effect is Effect.IRREVERSIBLE,
            act=act,
        )

    return (
        tool("look", Effect.READ),
        tool("put", Effect.IDEMPOTENT),
        tool("swap", Effect.REVERSIBLE),
        tool("fire", Effect.IRREVERSIBLE),
    )


async def _act(hands: Hands, context: ToolContext, arguments: Arguments, *, effect: Effect) -> ToolResult:
    outside, chance = hands.outside, hands.chance
    facts = {"task": f"T{context.task}", "call": context.call_id, "effect": effect.value, "key": context.key}
    stubborn = chance.random() < STUBBORN
    await hands.clock.sleep(arguments.get("before", 0.0))
    if chance.random() < 0.05:
        raise Exhausted(f"{arguments['what']} has no room now", cure="Take another way.")
    outside.deeds[context.key] = outside.deeds.get(context.key, 0) + 1
    outside.say(What.DID, arguments["what"], **facts)
    hands.after()
    outside.working.append(context.task)
    try:
        await hands.clock.sleep(arguments.get("after", 0.0) + 0.0001)
    except asyncio.CancelledError:
        outside.say(What.ENDED, arguments["what"], text="cut off", **facts)
        if stubborn:  # such as a thread, which nobody can stop: it does nothing more, and takes its time
            await hands.clock.sleep(chance.uniform(0.1, 8.0))
        raise
    finally:
        if context.task in outside.working:  # a death ends all work
            outside.working.remove(context.task)
    outside.say(What.ENDED, arguments["what"], **facts)
    return ToolResult(text=f"{arguments['what']}: done")
