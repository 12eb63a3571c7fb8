"""A tool for each effect, whose only effect is a line in the world outside.

`pause` is how long it still works after the effect, `hurry` before it: so that a death finds an intent without an
effect, or an effect without a result. Knows nothing of stores or turns.
"""

from __future__ import annotations

from ostinato.domain.errors import Conflict
from ostinato.domain.step import Effect
from ostinato.engine.port import Clock
from ostinato.tools.port import AnyTool, Arguments, OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from tests.crash.outside import Line, Outside, What

_SECONDS = {"type": "number", "minimum": 0, "maximum": 60}


def deeds(outside: Outside, clock: Clock) -> tuple[AnyTool, ...]:
    """`world.look`, `put`, `swap`, `fire`, one for each effect, and `world.stumble`, which always fails."""

    async def act(context: ToolContext, arguments: Arguments, effect: Effect) -> ToolResult:
        if "before" in arguments:
            await clock.sleep(arguments["before"])
        name = arguments["what"]
        outside.say(
            Line(
                what=What.DID,
                task=f"T{context.task}",
                call=context.call_id,
                name=name,
                effect=effect.value,
                key=context.key,
            )
        )
        if "after" in arguments:
            await clock.sleep(arguments["after"])
        return ToolResult(text=f"{name}: done")

    async def stumble(_context: ToolContext, arguments: Arguments) -> ToolResult:
        # About this call alone: what says more opens the tool's breaker, and other errands would not be made at all.
        raise Conflict(f"{arguments['what']} has no room now", cure="Take another way.")

    def tool(name: str, effect: Effect) -> AnyTool:
        return OutsideTool(
            name=f"world.{name}",
            description=f"Something that is {effect.value}.",
            parameters=object_schema("what", what=text_schema(least=1), before=_SECONDS, after=_SECONDS),
            effect=effect,
            outward=effect is Effect.IRREVERSIBLE,
            act=lambda context, arguments: act(context, arguments, effect),
        )

    stumbling = OutsideTool(
        name="world.stumble",
        description="Something that fails.",
        parameters=object_schema("what", what=text_schema(least=1)),
        effect=Effect.READ,
        act=stumble,
    )
    return (
        tool("look", Effect.READ),
        tool("put", Effect.IDEMPOTENT),
        tool("swap", Effect.REVERSIBLE),
        tool("fire", Effect.IRREVERSIBLE),
        stumbling,
    )
