"""New fleets and agents: they load, are secure by default, fit the budget of the prompt, and overwrite nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.chat import SystemPart
from ostinato.domain.errors import Conflict, Invalid, NotFound, OstinatoError
from ostinato.domain.policy import CallFacts, judge
from ostinato.domain.step import Decision, Effect
from ostinato.models.scripted.reading import read_script
from ostinato.workspace.fleet_file import read_fleet
from ostinato.workspace.inbox import look
from ostinato.workspace.init import TEMPLATES, add_agent, init_fleet
from ostinato.workspace.registry import Workspaces


def loaded(fleet: Path) -> Workspaces:
    """The agents of a fleet, all of them read."""
    workspaces = Workspaces(fleet, defaults=read_fleet(fleet).defaults)
    workspaces.refresh_all()
    return workspaces


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_fleet_loads_without_a_problem_and_runs_offline(tmp_path: Path, template: str) -> None:
    files = init_fleet(tmp_path / "new" / "fleet", template=template, timezone="Europe/Zurich")
    fleet = tmp_path / "new" / "fleet"
    assert sorted(files) == sorted(each.relative_to(fleet).as_posix() for each in fleet.rglob("*") if each.is_file())
    assert {"ostinato.toml", "RUNBOOK.md", ".gitignore"} <= set(files)
    settings_ = read_fleet(fleet)
    assert (settings_.name, settings_.timezone, settings_.port) == ("fleet", "Europe/Zurich", None)
    assert settings_.model is not None
    assert all(each.provider == "scripted" for each in settings_.models.values())
    for each in settings_.models.values():
        assert read_script(fleet / each.script).rules
    workspaces = loaded(fleet)
    assert workspaces.problems() == ()
    assert workspaces.ids()
    assert settings_.inbox.agent in (None, *workspaces.ids())
    assert look(fleet, None, settle_s=0.0).ready == ()


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_agents_of_a_template_are_secure_by_default(tmp_path: Path, template: str) -> None:
    init_fleet(tmp_path, template=template)
    workspaces = loaded(tmp_path)
    for name in workspaces.ids():
        agent = workspaces.current(name)
        assert not [each for each in agent.policy.tools if "*" in each]
        assert agent.policy.recipients == ("operator",)
        assert "." not in agent.files_write
        assert agent.tools.exec is None
        assert agent.stop
        assert agent.settings.description
        facts = CallFacts(tool=agent.policy.tools[0], effect=Effect.IRREVERSIBLE)
        assert judge(facts, agent.policy).decision is Decision.ASK


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_files_of_a_template_leave_room_in_the_prompt(tmp_path: Path, template: str) -> None:
    init_fleet(tmp_path, template=template)
    workspaces = loaded(tmp_path)
    for name in workspaces.ids():
        prompt = "\n\n".join(f"# {file}\n{text}" for file, text in workspaces.current(name).prompt_files.items())
        assert len(SystemPart(text=prompt).text.encode()) <= 3_000  # of 8,000, which the tools and rules share


def test_an_agent_is_added_with_its_skills(tmp_path: Path) -> None:
    init_fleet(tmp_path)
    files = add_agent(tmp_path, "first-line", purpose='Answers "simple" mail: # today', skills=["mail", "späti"])
    assert "agents/first-line/TOOLS.md" in files
    agent = loaded(tmp_path).current("first-line")
    assert agent.skills == ("mail", "späti")
    assert agent.description == 'Answers "simple" mail: # today'
    assert agent.prompt_files["SOUL.md"].startswith("# First line\n")
    assert agent.heartbeats == ()
    assert agent.stop.startswith("it holds no keys")


@settings(max_examples=40)
@given(
    st.text(max_size=120),
    st.lists(st.text(max_size=12), max_size=3),
    st.text(max_size=40) | st.just("a-name"),
    st.text(max_size=120),
)
@pytest.mark.slow
def test_whatever_people_type_makes_files_that_load_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, purpose: str, skills: list[str], agent: str, name: str
) -> None:
    fleet = tmp_path_factory.mktemp("fleet")
    try:
        init_fleet(fleet, name=name)
    except OstinatoError:
        init_fleet(fleet)
    try:
        add_agent(fleet, agent, purpose=purpose, skills=skills)
    except OstinatoError:
        pass
    assert loaded(fleet).problems() == ()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "agents" / "clerk").mkdir(parents=True)
    (tmp_path / "agents" / "clerk" / "SOUL.md").write_text("mine")
    with pytest.raises(Conflict, match="SOUL"):
        init_fleet(tmp_path)
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["SOUL.md"]
    init_fleet(tmp_path / "other")
    with pytest.raises(Conflict, match="There is a fleet"):
        init_fleet(tmp_path / "other")
    add_agent(tmp_path / "other", "billing")
    with pytest.raises(Conflict, match="exists already"):
        add_agent(tmp_path / "other", "billing")


def test_what_cannot_be_made_is_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Did you mean 'worker'"):
        init_fleet(tmp_path, template="workr")
    with pytest.raises(Invalid, match="time zone"):
        init_fleet(tmp_path, timezone="Mars")
    with pytest.raises(Invalid, match="name"):
        init_fleet(tmp_path, name="a" * 101)
    (tmp_path / "file").write_text("x")
    with pytest.raises(Invalid, match="cannot be written"):
        init_fleet(tmp_path / "file" / "fleet")
    with pytest.raises(NotFound, match="ostinato"):
        add_agent(tmp_path, "billing")
    init_fleet(tmp_path / "fleet")
    with pytest.raises(Invalid, match="cannot be the name"):
        add_agent(tmp_path / "fleet", "../billing")
    with pytest.raises(Invalid, match="not a skill"):
        add_agent(tmp_path / "fleet", "billing", skills=["two words"])
