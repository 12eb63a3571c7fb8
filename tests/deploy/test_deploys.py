"""Deploys while turns are under way: other files, another model, another version; drained, and killed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ostinato import __version__
from tests.conftest import wait_until
from tests.deploy.oracle import Oracle, Question, oracle
from tests.deploy.site import NEXT_SCHEMA, NEXT_VERSION, Site, next_version, site

OTHER_FILES = {
    "agents__helper__SOUL_md": "You are SOUL-TWO.",
    "agents__helper__AGENTS_md": "---\nskills: [help]\n---\nPROTOCOL-TWO.",
    "agents__helper__TOOLS_md": '---\nallow: [files.read, memory.note]\nfiles: {read: ["."]}\n---\n',
}
"""files.write is taken away, another tool is granted."""


def is_old(question: Question) -> bool:
    assert ("SOUL-ONE" in question.system) != ("SOUL-TWO" in question.system)
    assert ("PROTOCOL-ONE" in question.system) == ("SOUL-ONE" in question.system)
    return "SOUL-ONE" in question.system


def under_way(made: Site, model: Oracle, *, drain: bool) -> str:
    """A turn whose first call has been done, stopped in or behind its second model call; returns its name."""
    task = made.goal("helper", "write the report")
    model.next().call("files.read", path="SOUL.md")
    second = model.next()
    assert is_old(second)
    made.write(**OTHER_FILES)
    if drain:
        made.drain()
        second.call("files.read", path="AGENTS.md")  # it is let to its next step, and there it stops
        made.ended()
    else:
        made.kill()
    return task


def goes_on_as_it_began(made: Site, model: Oracle, task: str, *, replies: int) -> None:
    """The turn under way has the files that it began with, and the stricter of both policies; the next one is new."""
    before = model.asked
    question = model.next()
    assert is_old(question), "its files are frozen"
    assert question.calls_so_far == replies, "no reply that was journaled is asked for again"
    assert {"files.write", "memory.note"} & question.tools == {"files.write"}, "nor are its tools others"
    assert question.model == "m-2", "who answers is the node's matter"
    question.call("files.write", path="out/report.md", text="done")
    denied = model.next()
    assert not (made.folder / "agents/helper/out/report.md").exists(), "what was taken away is denied"
    denied.call("memory.note", text="hello")
    denied = model.next()
    assert not (made.folder / "agents/helper/memory").exists(), "what was granted since is not given to it"
    denied.say("I may do nothing any more")
    made.until(task)
    assert model.asked - before <= 4
    follow_up = made.goal("helper", "and now?")
    question = model.next()
    assert not is_old(question), "the next turn has the new files"
    assert {"files.write", "memory.note"} & question.tools == {"memory.note"}
    question.say("all new")
    made.until(follow_up)


@pytest.mark.slow
def test_a_turn_that_was_killed_in_a_deploy_goes_on_with_its_files_under_the_stricter_policy(tmp_path: Path) -> None:
    with oracle() as model, site(tmp_path, model.url) as made:
        made.start()
        made.write(ostinato_toml="[fleet")
        made.hang_up()
        wait_until(lambda: "at work with the settings from before: ostinato.toml:1" in made.log)
        task = under_way(made, model, drain=False)
        made.write_models(model="m-2")
        made.start()
        goes_on_as_it_began(made, model, task, replies=1)


@pytest.mark.slow
def test_a_new_version_takes_over_what_was_drained_and_the_old_one_refuses_what_came_after_it(tmp_path: Path) -> None:
    later, fleet = next_version(tmp_path), tmp_path / "fleet"
    fleet.mkdir()
    with oracle() as model, site(fleet, model.url) as made:
        made.write(agents__paused__SOUL_md="You rest.", agents__killed__SOUL_md="You are stopped.")
        made.start()
        made.hold("paused", kill=False)
        made.hold("killed", kill=True)
        held = [made.goal(agent, "not yet") for agent in ("paused", "killed")]
        task = under_way(made, model, drain=True)
        made.write_models(model="m-2")
        made.start(package=later)
        goes_on_as_it_began(made, model, task, replies=2)
        assert versions(made) == (NEXT_SCHEMA, [__version__, NEXT_VERSION])
        for each, agent in zip(held, ("paused", "killed"), strict=True):
            assert made.until(each, "ready").task.state == "ready", "who was held is held by the new version, too"
            made.resume(agent)
            model.next().say("at last")
            made.until(each)
        made.drain()
        made.ended()
        code, words = made.refused()
        assert code == 2, "another start would not help, so that nobody tries"
        assert f"The database has schema {NEXT_SCHEMA}" in words
        assert "Install the newer version again" in words
        made.start(package=later)
        assert versions(made) == (NEXT_SCHEMA, [__version__, NEXT_VERSION, NEXT_VERSION]), "nothing was touched"
        again = made.goal("helper", "go on")
        model.next().say("gladly")
        made.until(again)


def versions(made: Site) -> tuple[int, list[str]]:
    """The schema of the database, and the versions of its nodes, in a backup of the running one."""
    copy = made.folder / f"copy-{len(list(made.folder.glob('copy-*')))}.db"
    made.backup(copy)
    opened = sqlite3.connect(copy)
    try:
        schema = opened.execute("PRAGMA user_version").fetchone()[0]
        return schema, [row[0] for row in opened.execute("SELECT version FROM nodes ORDER BY id")]
    finally:
        opened.close()
