"""The page about tools says what the tools are.

How pages are written from the code is tried in tests/test_docs.py.
"""

from __future__ import annotations

from pathlib import Path

from ostinato.domain.step import Effect
from ostinato.tools.describe import reference
from ostinato.tools.port import OutsideTool, StoreTool, TurnTool
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import usage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "tools.md"
NAMES = {
    "finish", "ask", "files.read", "files.list", "files.search", "files.write", "files.append", "files.edit",
    "files.delete", "memory.read", "memory.search", "memory.note", "memory.curate", "tasks.create", "tasks.propose",
    "tasks.plan", "tasks.list", "tasks.show", "tasks.comment", "message.send", "spawn", "children.list",
    "children.wait",
    "children.steer", "children.cancel",
    "exec.run", "exec.read", "exec.start", "processes.list", "processes.wait", "processes.log", "processes.write",
    "processes.keys", "processes.resize", "processes.kill", "http.get", "http.post", "web.read", "web.search",
    "web.more",
}  # fmt: skip


def test_the_page_holds_what_the_tools_say_of_themselves() -> None:
    assert reference() in PAGE.read_text(), "`make docs` writes it anew"


def test_every_tool_is_named_with_its_effect_and_its_arguments() -> None:
    page = reference()
    box = standard_toolbox()
    assert {tool.name for tool in box} == NAMES
    for tool in box:
        section = page.partition(f"### {tool.name}\n")[2].partition("###")[0]
        assert usage(tool) in section
        assert f"effect `{tool.effect.value}`" in section
        assert tool.description in section


def test_only_a_message_or_a_post_that_leaves_and_a_command_cannot_be_undone() -> None:
    box = standard_toolbox()
    cannot = {"message.send", "exec.run", "exec.start", "processes.write", "processes.keys", "http.post"}
    assert {tool.name for tool in box if tool.effect is Effect.IRREVERSIBLE} == cannot
    assert [tool.name for tool in box if tool.effect is Effect.REVERSIBLE] == ["files.delete"]
    assert [tool.name for tool in box if tool.always_allowed] == ["finish", "ask"]
    assert {type(tool) for tool in box} == {StoreTool, OutsideTool, TurnTool}
