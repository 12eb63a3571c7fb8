"""The page of what an agent can and cannot do leaves nothing out that the code has."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable
from types import ModuleType

import pytest

from docs import leash
from ostinato import tools
from ostinato.domain import address
from ostinato.domain.file_rules import AUTORUN, HIDDEN, LEASH
from ostinato.domain.gate import DEFAULT_GATES
from ostinato.domain.step import EFFECTS, Effect
from ostinato.domain.values import Limits
from ostinato.tools.sandbox import landlock, protected, room, surroundings, syscall_filter
from ostinato.tools.standard import standard_toolbox
from ostinato.workspace.agent_file import ABOUT_KEYS, LIMIT_KEYS
from ostinato.workspace.fleet_policy import POLICY_KEYS
from ostinato.workspace.tools_file import GRANTS, TOOLS_KEYS
from tests.tidy.rule import ROOT

PAGE = (ROOT / "docs" / "reference" / "what-an-agent-can-do.md").read_text()

NAMED: dict[str, Iterable[object]] = {
    "tools": [each.name for each in standard_toolbox()],
    "effects": Effect,
    "gates": DEFAULT_GATES,
    "grants": [each for each in TOOLS_KEYS if each not in ABOUT_KEYS],
    "rules of the fleet": POLICY_KEYS,
    "limits that people set": LIMIT_KEYS,
    "limits of a turn": Limits.__struct_fields__,
    "limits of a command": room.Bounds.__struct_fields__,
    "the leash": LEASH,
    "hidden names": HIDDEN,
    "what makes others run something": AUTORUN,
    "files that no command changes": protected.FILES,
    "files of the machine": room.SYSTEM_FILES,
    "variables": surroundings.PLAIN,
    "system calls": [each.name for each in (*syscall_filter.REFUSED, *syscall_filter.UNBOUNDED)],
    "system calls that are not there": [each.name for each in syscall_filter.BEYOND_REACH],
    "addresses that are never reached": address.NEVER,
}


def lacking(names: Iterable[object], page: str) -> list[str]:
    """Names that the page does not set as code."""
    said = set(re.findall(r"`([^`\n]+)`", page))
    return [str(each) for each in names if str(each) not in said]


@pytest.mark.parametrize("what", NAMED)
def test_the_page_names_every_one(what: str) -> None:
    names = list(NAMED[what])
    assert names
    assert lacking(names, PAGE) == []


def test_a_name_that_the_page_lacks_is_found() -> None:
    assert lacking(["exec.run", "exec.fly"], "`exec.run` and exec.fly") == ["exec.fly"]


def test_every_effect_and_every_grant_is_described() -> None:
    assert set(EFFECTS) == set(Effect)
    assert set(GRANTS) == set(TOOLS_KEYS) - set(ABOUT_KEYS)


def test_the_page_prints_every_gap_of_the_fall_back() -> None:
    gaps = landlock.gaps(landlock.VERSION_MIN)
    assert len(gaps) == 5
    assert [each for each in gaps if each not in PAGE] == []


def unexplained(module: ModuleType) -> list[str]:
    """Public limits of a module that say nothing about themselves, and so are on no page."""
    told = {name for name, _, _ in leash.limits_in(module)}
    return [
        name
        for name in vars(module)
        if name.isupper() and "_MAX" in name and name not in told and _is_own(name, module)
    ]


def source_of(module: str) -> str:
    """The text of a module, which is not loaded: some are programs."""
    return (ROOT / "src" / f"{module.replace('.', '/')}.py").read_text()


def _is_own(name: str, module: ModuleType) -> bool:
    return name[0] != "_" and re.search(rf"^{name}\b.* = ", source_of(module.__name__), re.MULTILINE) is not None


@pytest.mark.parametrize("what", leash.BOUNDED)
def test_every_limit_that_nobody_sets_says_what_it_is_of(what: str) -> None:
    for module in leash.BOUNDED[what]:
        assert unexplained(module) == [], module.__name__
        assert lacking((name for name, _, _ in leash.limits_in(module)), PAGE) == []


def test_every_module_of_the_tools_is_looked_at() -> None:
    looked_at = {module.__name__ for modules in (*leash.BOUNDED.values(), leash.INNER) for module in modules}
    names = [each.name for each in pkgutil.walk_packages(tools.__path__, f"{tools.__name__}.") if not each.ispkg]
    assert len(names) > 40
    others = [name for name in names if name not in looked_at]
    assert [name for name in others if re.search(r"^[A-Z]\w*_MAX\w*\b.* = ", source_of(name), re.MULTILINE)] == []


def test_the_verdicts_of_the_page_are_those_of_the_gate() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", leash.tools(), re.MULTILINE))
    assert rows["finish"] == "allowed without a grant"
    assert rows["files.read"] == "allow"
    assert rows["http.post"] == "ask (`irreversible`)"
    assert rows["message.send"] == "ask (`irreversible`), unless it stays in the fleet"
    assert rows["exec.run"] == "ask (`irreversible`), unless the call's effect is another"
