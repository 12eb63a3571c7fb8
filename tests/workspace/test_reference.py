"""The reference of the files names every key that there is and no other, and its examples load."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

from ostinato import workspace
from ostinato.domain.condition import compile_condition
from ostinato.domain.gate import DEFAULT_GATES
from ostinato.workspace import agent_file, gate_rules, tools_file
from ostinato.workspace.agent import FRONT_MATTER_KEYS, FleetDefaults, make_agent
from ostinato.workspace.file_text import text_of
from ostinato.workspace.fleet_file import FLEET_FILE_KEYS, parse_fleet
from ostinato.workspace.front_matter import Node
from ostinato.workspace.heartbeat_file import CHECK_KEYS, CHECK_VARIABLES, parse_heartbeat
from ostinato.workspace.inbox_item import ITEM_KEYS, ItemSource, parse_items

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
WORKSPACE = (REFERENCE / "workspace.md").read_text()
FLEET = (REFERENCE / "fleet-file.md").read_text()

SECTIONS = {
    "AGENTS.md": FRONT_MATTER_KEYS["AGENTS.md"],
    "Limits": agent_file.LIMIT_KEYS,
    "Gates": gate_rules.GATE_KEYS,
    "TOOLS.md": FRONT_MATTER_KEYS["TOOLS.md"],
    "HEARTBEAT.md and heartbeats/": FRONT_MATTER_KEYS["HEARTBEAT.md"],
    "Files in an inbox": ITEM_KEYS,
}


def section(page: str, title: str) -> str:
    """The text below a heading, up to the next."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def documented(text: str) -> list[str]:
    """Keys in the first column of tables that describe keys."""
    tables = re.findall(r"^\| Key \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        key for table in tables for row in table.splitlines() for key in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_describes_exactly_the_keys_of_its_file(title: str) -> None:
    assert sorted(documented(section(WORKSPACE, title))) == sorted(SECTIONS[title])


@pytest.mark.parametrize(
    "keys",
    [
        agent_file.BUDGET_KEYS,
        agent_file.PRODUCES_KEYS,
        agent_file.ABOUT_KEYS,
        tools_file.FILES_KEYS,
        tools_file.EXEC_KEYS,
        CHECK_KEYS,
        tuple(gate_rules.GATE_VARIABLES),
        tuple(DEFAULT_GATES),
        gate_rules.ESCALATE_KEYS,
        agent_file.EFFORTS,
    ],
)
def test_keys_within_keys_are_named(keys: tuple[str, ...]) -> None:
    code = " ".join(re.findall(r"`[^`]*`", WORKSPACE))
    assert [key for key in keys if not re.search(rf"\b{key}\b", code)] == []


def test_every_variable_of_a_check_is_described() -> None:
    names = {f"{group}.{name}" for group, kind in CHECK_VARIABLES.items() for name in kind}  # type: ignore[union-attr]  # a kind may also be a type
    assert set(re.findall(r"`(\w+\.\w+)`", section(WORKSPACE, "What a check can ask"))) == names


@pytest.mark.parametrize("table", [each for each in FLEET_FILE_KEYS if each])
def test_every_key_of_the_fleets_file_is_named(table: str) -> None:
    code = " ".join(re.findall(r"`[^`]*`", FLEET))
    assert f"[{table.partition('.')[0]}" in code
    assert [key for key in FLEET_FILE_KEYS[table] if not re.search(rf"\b{key}\b", code)] == []


def test_no_key_of_the_fleets_file_is_described_that_does_not_exist() -> None:
    known = {key for keys in FLEET_FILE_KEYS.values() for key in keys} | {f"[{key}]" for key in FLEET_FILE_KEYS[""]}
    assert set(documented(FLEET)) <= known


def example(page: str, name: str) -> str:
    """The example that is called so."""
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", page, re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.parametrize("name", ["AGENTS.md", "TOOLS.md", "HEARTBEAT.md"])
def test_an_example_of_a_file_loads(name: str) -> None:
    file = text_of(f"---\n{example(WORKSPACE, name)}---\nProse.\n".encode(), name=name, place=name)
    agent = make_agent("x", {name: file}, folder=Path("agents/x"), defaults=FleetDefaults(), place="agents/x")
    assert agent.findings == ()
    assert len(agent.heartbeats) == (name == "HEARTBEAT.md")


def test_the_example_of_a_dropped_file_and_of_the_fleets_file_load() -> None:
    text = f"---\n{example(WORKSPACE, 'inbox')}---\nLook.\n"
    assert parse_items(text.encode(), ItemSource(name="a.md", file="inbox/a.md", key="k"))[0].after == (12,)
    fleet = parse_fleet(text_of(example(FLEET, "fleet").encode(), name="ostinato.toml", place=""), name="x")
    assert (fleet.name, fleet.model) == ("support", "standard")


def test_every_condition_of_the_reference_is_one() -> None:
    rows = re.findall(r"^\| [a-z, ]+ \| (.*`.*) \|$", section(WORKSPACE, "Conditions"), re.MULTILINE)
    texts = [each for row in rows for each in re.findall(r"`([^`]+)`", row) if re.search(r"[ .(]", each)]
    assert len(texts) >= 8
    for text in texts:
        condition = text if re.search(r"==|!=|<|>|\?| in |With|contains|matches|exists", text) else f"{text} == {text}"
        compile_condition(condition, variables=gate_rules.GATE_VARIABLES)


def test_parse_heartbeat_needs_settings_to_fire() -> None:
    node = Node(value={"title": Node("x", 2)}, line=2)
    assert parse_heartbeat(node, agent="a", name="a", file="a.md", place="a.md", text="", timezone="UTC") is None


def keys_of(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """What a room calls the keys or words of a file: constants that end in KEYS, WORDS, KINDS, EFFECTS and the like."""
    named = {name: value for name, value in vars(module).items() if re.fullmatch(r"[A-Z][A-Z_]*", name)}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    }


@pytest.mark.parametrize("room", [each.name for each in pkgutil.iter_modules(workspace.__path__)])
def test_every_fixed_word_of_a_file_is_named_wherever_it_is_read(room: str) -> None:
    pages = [REFERENCE / f"{name}.md" for name in ("workspace", "fleet-file", "tasks-file", "models")]
    code = " ".join(re.findall(r"`[^`\n]*`", "\n".join(each.read_text() for each in pages)))
    keys = keys_of(importlib.import_module(f"{workspace.__name__}.{room}"))
    lacks = {
        name: missing
        for name, words in keys.items()
        if (missing := [each for each in words if not re.search(rf"\b{re.escape(each)}\b", code)])
    }
    assert lacks == {}
