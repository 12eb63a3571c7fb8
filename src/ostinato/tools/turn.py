"""The tools that act on the turn itself: `finish` ends it, `ask` waits for a person. Always allowed.

Knows nothing of how a turn ends or waits: the turn runner does that, and needs the specs and the result from here.
"""

from __future__ import annotations

from ostinato.domain.step import Effect, ResultStatus
from ostinato.domain.turn import FINISH_TOOL
from ostinato.tools.port import AnyTool, Arguments, ToolContext, ToolResult, TurnTool, object_schema, text_schema

ASK_TOOL = "ask"
"""The tool that becomes a question of kind `ask`."""


def _finish(_context: ToolContext, arguments: Arguments) -> ToolResult:
    return ToolResult(text=arguments["result"], data=arguments.get("data"))


def _ask(_context: ToolContext, arguments: Arguments) -> ToolResult:
    """What the model reads where the turn cannot wait: the answer comes as a message."""
    return ToolResult(status=ResultStatus.PENDING, text=f"asked: {question_text(arguments)}")


def question_text(arguments: Arguments) -> str:
    """The question as a person reads it, choices included."""
    choices = arguments.get("choices")
    return f"{arguments['question']} [{' | '.join(choices)}]" if choices else str(arguments["question"])


def turn_tools() -> tuple[AnyTool, ...]:
    """`finish` and `ask`."""
    return (
        TurnTool(
            name=FINISH_TOOL,
            description="End this turn with its result.",
            parameters=object_schema("result", result=text_schema(), data={"type": "object"}),
            effect=Effect.READ,
            always_allowed=True,
            act=_finish,
        ),
        TurnTool(
            name=ASK_TOOL,
            description="Ask a person, and wait for the answer.",
            parameters=object_schema(
                "question",
                question=text_schema(least=1, most=4_000),
                choices={"type": "array", "items": text_schema(most=200), "maxItems": 8},
            ),
            effect=Effect.READ,
            always_allowed=True,
            act=_ask,
        ),
    )
