"""A result that its task wants saved becomes a file of the agent: within its rules, once, however often nodes die."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.domain.file_rules import FileRules
from ostinato.domain.message import main_session, parse_deliver, saved_path
from ostinato.domain.task import Done, Fail, Outcome, Task, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.values import Instant
from ostinato.store.port import Claim, ClaimRequest, Tx
from ostinato.tools.port import ToolContext
from tests.tools.conftest import Scene
from tests.tools.post import Post
from tests.tools.test_delivery import at_post

Play = Callable[[Scene], None]


async def ended(post: Post, deliver: str, outcome: Outcome) -> Task:
    """A goal of triage that ends so."""
    goal = await post.desk.add(title="look", agent="triage", spec=TaskSpec(deliver=deliver), priority=9)
    request = ClaimRequest(node=post._node, kinds=(TaskKind.GOAL,), agent_limit_default=9)
    (claimed,) = await post.desk.see(lambda tx: tx.claim(request, now=post.clock.now()))
    assert claimed.id == goal.id
    claim = Claim(task=goal.id, token=claimed.token)
    return await post.desk.see(lambda tx: tx.finish(claim, outcome, now=post.clock.now()))


FOUND = Done(result=TaskResult(text="All is well."))


def test_a_result_is_saved_where_its_task_says(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        goal = await ended(post, "file:out/report-{date}-{task}.md", FOUND)
        saved = await post.perform()
        path = f"out/report-2027-01-15-{goal.name}.md"
        assert (saved.state, saved.result and saved.result.text) == (TaskState.DONE, f"saved in {path}")
        assert (post.desk.workspace / path).read_text() == "All is well.\n"
        assert saved.agent == "triage"
        assert await post.perform_all() == []

    at_post(at_desk, scene)


def test_a_task_that_failed_saves_nothing(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        await ended(post, "file:out/report.md", Fail(error="no"))
        assert await post.perform_all() == []

    at_post(at_desk, scene)


def test_a_place_that_the_agent_may_not_write_in_is_a_dead_letter(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        inner = post.handler._contexts

        def narrow(tx: Tx, task: Task, *, intent: object, now: Instant, repeated: bool) -> ToolContext:
            given = inner(tx, task, intent=intent, now=now, repeated=repeated)  # type: ignore[arg-type]  # passed on
            return replace(given, files=FileRules(read=(".",), write=("out/",)))

        post.handler._contexts = narrow
        for place in ("notes/report.md", "SOUL.md", "out/TOOLS.md"):
            await ended(post, f"file:{place}", FOUND)
            saved = await post.perform()
            assert (saved.state, saved.dismissed) == (TaskState.FAILED, False), place
            assert "cannot be saved" in saved.reason
            assert not (post.desk.workspace / place).exists()

    at_post(at_desk, scene)


def test_a_link_in_the_place_of_the_file_is_not_followed(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        outside = post.desk.workspace.parent / "outside.md"
        outside.write_text("mine")
        (post.desk.workspace / "report.md").symlink_to(outside)
        await ended(post, "file:report.md", FOUND)
        await post.perform()
        assert outside.read_text() == "mine"

    at_post(at_desk, scene)


def test_a_save_that_its_node_did_not_survive_is_done_again(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        await ended(post, "file:out/report.md", FOUND)
        task = await post.claim()
        assert task is not None
        await post.new_node()  # it died with the claim
        saved = await post.perform()
        assert (saved.id, saved.state) == (task.id, TaskState.DONE)
        assert (post.desk.workspace / "out/report.md").read_text() == "All is well.\n"

    at_post(at_desk, scene)


def test_an_agents_session_is_its_main_one() -> None:
    assert parse_deliver("agent:boss") == f"session:{main_session('boss')}"
    assert parse_deliver("file:out/{date}.md") == "file:out/{date}.md"
    assert saved_path("{task}/{date}.md", task="T7", at=1_800_000_000_000_000) == "T7/2027-01-15.md"


@pytest.mark.parametrize("place", ["file:", "file:../up.md", "file:/etc/passwd", "file:a\0b", "nobody", "session:"])
def test_what_is_no_place_for_a_result_is_said_at_once(place: str) -> None:
    with pytest.raises(Invalid):
        parse_deliver(place)
