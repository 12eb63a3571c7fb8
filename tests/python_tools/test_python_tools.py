"""Functions become tools; their workers reach nothing of the fleet, share no secrets, and no file breaks the node."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import ostinato
from ostinato.domain.errors import Invalid
from ostinato.domain.policy import Policy, judge
from ostinato.domain.step import Decision, Effect, ResultStatus
from ostinato.tools.port import OutsideTool, ToolContext, ToolResult
from ostinato.tools.python import workers
from ostinato.tools.python.family import PythonTools
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox, perform
from tests.conftest import run
from tests.mcp.bench import CONTEXT, give
from tests.sandbox.ground import ORDINARY

pytestmark = pytest.mark.slow

CRM = '''
import asyncio, dataclasses, enum, os, time
from typing import Annotated, Literal, TypedDict
from ostinato import Call, Refused, tool
from _shared import GREETING

class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"

@dataclasses.dataclass
class Line:
    text: str
    count: int = 1

@tool(effect="read")
def find(name: Annotated[str, "Part of it."], level: Level = Level.LOW, lines: list[Line] | None = None) -> dict:
    """Find a customer.

    By any part of the name."""
    print("noise that is nobody's answer")
    return {"name": GREETING + name, "level": level.name, "lines": [each.text * each.count for each in lines or ()]}

@tool(effect="idempotent")
async def put(amount: float, call: Call) -> str:
    await asyncio.sleep(0)
    return f"{call.key} {call.agent} {call.repeated} {amount!r}"

@tool()
def charge(how: Literal["break", "refuse", "die", "hang"]) -> None:
    """Charge."""
    if how == "refuse":
        raise Refused("the account is closed")
    if how == "die":
        os._exit(1)
    if how == "hang":
        time.sleep(600)
    raise OSError("half of it is done")

charge.__ostinato_tool__["timeout_s"] = 0.4

@tool(effect="read", secrets=("CRM_KEY",))
def key() -> str:
    return f"{len(os.environ.get('CRM_KEY', ''))} {sorted(each for each in os.environ if 'KEY' in each)}"

@tool(effect="read")
def reach(paths: list[str]) -> list:
    return [each for each in paths if os.path.exists(each)]

@tool(effect="read")
def huge() -> str:
    return "x" * 5_000_000
'''
FILES = {
    "crm.py": CRM,
    "_shared.py": "GREETING = 'dear '\n",
    "missing.py": "\n\nimport nothing_of_that_name\n",
    "wrong.py": "def x(:\n",
    "odd.py": "from ostinato import tool\n@tool(effect='read')\ndef untyped(x): ...\n\n"
    "@tool(effect='read')\ndef fine() -> str:\n    return 'fine'\n",
    "ends.py": "import sys\nsys.exit(3)\n",
    "files.py": "from ostinato import tool\n@tool(effect='read')\ndef copy() -> str: ...\n",
    "Bad-Name.py": "",
}


@pytest.fixture(scope="module")
def _ground() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ostinato-tools-test-", dir="/tmp"))
    try:
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def fleet(_ground: Path) -> Iterator[Path]:
    for each in ("tools", "agents/other", ".ostinato"):
        (_ground / each).mkdir(parents=True)
    for name, text in FILES.items():
        (_ground / "tools" / name).write_text(text)
    give(_ground, ORDINARY)
    yield _ground
    for each in _ground.iterdir():
        shutil.rmtree(each)


class Hand:
    """One toolbox, and calls on behalf of any agent."""

    def __init__(self, box: Toolbox, tools: PythonTools) -> None:
        self.box = box
        self.tools = tools

    def tool(self, name: str) -> OutsideTool:
        found = self.box.get(name)
        assert isinstance(found, OutsideTool), [each.name for each in self.box]
        return found

    async def call(self, tool: str, *, agent: str = "a", secrets: tuple[str, ...] = (), **arguments: Any) -> ToolResult:
        context: ToolContext = replace(CONTEXT, agent=agent, secrets=secrets)
        assert self.box.check_arguments(self.tool(tool), arguments) == ""
        return await perform(self.tool(tool), context, arguments)


@contextlib.asynccontextmanager
async def hand(fleet: Path) -> AsyncIterator[Hand]:
    box = standard_toolbox()
    tools = PythonTools(fleet, toolbox=box, say=lambda level, text: None)
    try:
        await tools.look()
        yield Hand(box, tools)
    finally:
        await tools.stop()


def test_a_typed_function_is_a_tool_and_a_file_that_cannot_be_loaded_keeps_no_other_from_working(fleet: Path) -> None:
    async def story() -> None:
        async with hand(fleet) as h:
            findings = {each.place: each.message for each in h.tools.findings}
            assert set(findings) == {
                *("tools/missing.py:3", "tools/wrong.py:1", "tools/odd.py:2", "tools/ends.py:2"),
                *("tools/files.py", "tools/Bad-Name.py"),
            }
            assert "no type" in findings["tools/odd.py:2"]
            assert h.box.get("files.copy") is None
            assert h.box.get("odd.fine") is not None
            find = h.tool("crm.find")
            assert (find.effect, find.description) == (Effect.READ, "Find a customer. By any part of the name.")
            assert find.parameters["required"] == ["name"]
            assert find.parameters["properties"]["name"] == {"type": "string", "description": "Part of it."}
            assert find.parameters["properties"]["level"] == {"enum": ["low", "high"]}
            assert "call" not in h.tool("crm.put").parameters["properties"]
            assert h.box.check_arguments(find, {"name": 3}) != ""
            assert h.box.check_arguments(find, {"name": "x", "lines": [{"text": "a", "more": 1}]}) != ""
            found = await h.call(
                "crm.find", name="Ann", level="high", lines=[{"text": "ab", "count": 2}, {"text": "c"}]
            )
            assert json.loads(found.text) == {"name": "dear Ann", "level": "HIGH", "lines": ["abab", "c"]}
            assert (await h.call("crm.put", amount=2)).text == "k a False 2.0"
            assert len((await h.call("crm.huge")).text) == 200_000

    run(story())


def test_what_breaks_off_is_unknown_and_only_what_the_function_refuses_is_not(fleet: Path) -> None:
    async def story() -> None:
        async with hand(fleet) as h:
            facts = h.box.facts(h.tool("crm.charge"), {"how": "break"}, CONTEXT)
            assert judge(facts, Policy(agent="a", tools=("crm.charge",))).decision is Decision.ASK
            assert judge(facts, Policy(agent="a", tools=("crm.*",))).decision is Decision.DENY
            for how, status, words in (
                ("break", ResultStatus.UNKNOWN, "half of it is done (tools/crm.py:"),
                ("die", ResultStatus.UNKNOWN, "has ended"),
                ("hang", ResultStatus.UNKNOWN, "no result within"),
                ("refuse", ResultStatus.ERROR, "the account is closed"),
            ):
                result = await h.call("crm.charge", how=how)
                assert (result.status, words in result.text) == (status, True), result.text
            assert (await h.call("crm.put", amount=1)).status is ResultStatus.OK

    run(story())


def test_a_worker_reaches_nothing_of_the_fleet_and_no_secret_but_its_own(
    fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_KEY", "tulip-bulb-field")
    monkeypatch.setenv("OTHER_KEY", "never-to-be-seen")

    async def story() -> None:
        async with hand(fleet) as h:
            paths = [str(fleet), str(fleet / ".ostinato"), str(fleet / "agents"), "/root", "/home", "/etc/shadow"]
            assert (await h.call("crm.reach", paths=paths)).text == "[]"
            assert (await h.call("crm.reach", paths=["/tmp"])).text == '["/tmp"]'
            key = h.tool("crm.key")
            assert "does not declare" in h.box.facts(key, {}, replace(CONTEXT, agent="b")).refusal
            assert h.box.facts(key, {}, replace(CONTEXT, secrets=("CRM_KEY",))).refusal == ""
            mine = await h.call("crm.key", secrets=("CRM_KEY",))
            assert mine.text == "16 ['CRM_KEY']"

    run(story())


def test_an_edit_is_taken_up_and_a_call_under_way_ends_as_it_began(fleet: Path) -> None:
    async def story() -> None:
        file = fleet / "tools/odd.py"
        slow = "import time\nfrom ostinato import tool\n@tool(effect='read')\ndef fine() -> str:\n    time.sleep({})\n"
        file.write_text(f"{slow.format(0.5)}    return 'old'\n")
        async with hand(fleet) as h:
            old = h.tool("odd.fine")
            report = h.box.facts(old, {}, CONTEXT)
            assert report.refusal == ""
            bound = old.report(CONTEXT, {}).bound if old.report else {}
            under_way = asyncio.ensure_future(h.call("odd.fine"))
            await asyncio.sleep(0)
            file.write_text(f"{slow.format(0)}    return 'new'\n")
            await h.tools.look()
            assert (await h.call("odd.fine")).text == "new"
            assert (await under_way).text == "old"
            late = await perform(h.tool("odd.fine"), replace(CONTEXT, bound=bound), {})
            assert (late.status, "Nothing was run" in late.text) == (ResultStatus.ERROR, True)
            file.write_text(f"{slow.format(0)}    return 'newer'\n")
            await h.tools.look()
            both = await asyncio.gather(h.call("odd.fine"), h.call("odd.fine"))
            assert [each.text for each in both] == ["newer"] * 2, "two who come together end the old worker once"
            file.write_text("nonsense nonsense\n")
            await h.tools.look()
            with pytest.raises(Invalid, match="cannot be loaded any more"):
                h.box.tool("odd.fine", Policy(agent="a"))
            file.unlink()
            await h.tools.look()
            assert h.box.get("odd.fine") is None

    run(story())


def test_what_a_file_says_of_itself_may_be_nonsense(fleet: Path) -> None:
    async def story() -> None:
        poked = "one.__ostinato_tool__['timeout_s'] = None\ntwo.__ostinato_agent__['timeout_s'] = None\n"
        own = "@tool(effect='read')\ndef one() -> str: ...\n@agent()\ndef two(job): ...\n"
        (fleet / "tools/poked.py").write_text(f"from ostinato import agent, tool\n{own}{poked}")
        async with hand(fleet) as h:
            assert [each.place for each in h.tools.findings].count("tools/poked.py") == 2
            assert h.box.get("poked.one") is None
            assert h.box.get("odd.fine") is not None

    run(story())


def test_where_no_worker_could_be_had_the_files_are_loaded_again(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(workers, "START_S", 0.001)  # a machine at its limits
        async with hand(fleet) as h:
            assert h.box.get("odd.fine") is None
            monkeypatch.undo()
            await h.tools.look()
            assert h.box.get("odd.fine") is None
            await h.tools.look(again=True)
            assert h.box.get("odd.fine") is not None

    run(story())


def test_what_tools_import_is_there_outside_of_a_worker_too() -> None:
    @ostinato.tool(effect="read")
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4
    with pytest.raises(ValueError, match="none of"):
        ostinato.tool(effect="harmless")
    with pytest.raises(AttributeError):
        ostinato.nothing  # noqa: B018  # the look-up is what is tried


def test_a_worker_that_cannot_be_started_leaves_no_folder(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise Invalid("there is no room")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(workers.Resident, "start", refuse)

    async def story() -> None:
        async with hand(fleet) as h:
            assert ["there is no room" in each.message for each in h.tools.findings].count(True) == 1

    run(story())
    assert list(tmp_path.glob("ostinato-tools-*")) == []
