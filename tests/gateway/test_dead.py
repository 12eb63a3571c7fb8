"""Dead letters as people deal with them: seen in groups, shown whole, asked about before a deed could happen twice."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.fingerprint import normalised
from ostinato.domain.step import Effect, Entry, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Fail, NewTask, TaskKind, TaskSpec
from ostinato.gateway import audit_api, dead_api, tasks_api
from ostinato.store.port import Claim, ClaimRequest, Retention, Tx
from ostinato.store.verbs.dead import DeadReads
from ostinato.store.verbs.transaction import Transaction
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground

PAID = ToolIntent(call_id="c", tool="pay", effect=Effect.IRREVERSIBLE, arguments={"sum": 3}, key="k")
REFUSED = ToolOutcome(call_id="c", tool="pay", status=ResultStatus.DENIED, text="no")


async def bury(made: Ground, error: str, *entries: Entry) -> str:
    """A goal that has failed so, after these steps."""

    def fail(tx: Tx) -> str:
        spec = TaskSpec(goal="Pay it", input={"sum": 3}, causes=("T1",))
        tx.add_task(NewTask(kind=TaskKind.GOAL, title="Pay", agent="clerk", spec=spec), now=NOW)
        node = tx.start_node(pid=1, host="h", version="1", lease_s=9e9, exclusive=True, now=NOW)
        (task,) = tx.claim(ClaimRequest(node=node.id, agent_limit_default=9), now=NOW)
        claim = Claim(task=task.id, token=task.token)
        tx.record_steps(claim, entries, now=NOW)
        return tx.finish(claim, Fail(error=error, error_class="permanent"), now=NOW).name

    return await made.store.run(fail)


@pytest.mark.slow
def test_a_letter_is_shown_whole_and_what_it_may_have_done_is_asked_about_first(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            paid, other = await bury(made, "Order 7 is lost", PAID), await bury(made, "Order 8 is lost", PAID, REFUSED)
            listed = await made.call(dead_api.list_dead, {})
            (group,) = listed["groups"]
            assert (group["count"], group["example"], listed["total"]) == (2, other, 2)
            found = await made.call(dead_api.list_dead, {"group": group["fingerprint"], "where": "agent:clerk cost:<1"})
            assert [each["task"]["id"] for each in found["dead"]] == [other, paid]
            whole = await made.call(dead_api.show, {"task": paid})
            assert (whole["input"], whole["causes"], whole["alike"]) == ({"sum": 3}, ["T1"], 2)
            assert (len(whole["tries"]), len(whole["steps"]), whole["beyond_recall"]) == (1, 1, ["pay"])

            with pytest.raises(Conflict, match="pay"):
                await made.call(dead_api.replay, {"task": paid})
            with pytest.raises(Conflict, match="pay"):
                await made.call(tasks_api.retry, {"task": paid, "fresh": True})
            with pytest.raises(Conflict, match=rf"1 of 2 .*: {paid}"):
                await made.call(dead_api.replay_many, {"group": group["fingerprint"]})
            with pytest.raises(Invalid, match="rate"):
                await made.call(dead_api.replay_many, {"group": group["fingerprint"], "rate": "often"})
            many = await made.call(
                dead_api.replay_many, {"group": group["fingerprint"], "risky": "leave", "rate": "5/m"}
            )
            order = await made.store.read(lambda tx: tx.task(int(many["id"][1:])).spec.input)
            assert (order["total"], order["rate"], order["actor"]) == (2, {"starts": 5, "span_s": 60.0}, "ann")
            edited = {"task": paid, "sure": True, "goal": "Pay half", "keys": {"sum": 1}}
            assert (await made.call(dead_api.replay, edited))["state"] == "ready"
            task = await made.call(tasks_api.show, {"task": paid})
            assert (task["goal"], task["input"]) == ("Pay half", {"sum": 1})

    run(look())


@pytest.mark.slow
def test_many_are_dismissed_at_once_each_with_its_row_in_the_audit(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            letters = [await bury(made, f"Order {number} is lost") for number in range(3)]
            await bury(made, "something else")
            done = await made.call(dead_api.dismiss_many, {"where": "title:Pay error:permanent", "reason": "by hand"})
            assert done["count"] == 4
            rows = (await made.call(audit_api.list_audit, {}))["rows"]
            dismissed = [each for each in rows if (each["name"], each["reason"]) == ("task.dismissed", "by hand")]
            assert len(dismissed) == len(letters) + 1
            assert (await made.call(dead_api.list_dead, {}))["groups"] == []

    run(look())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Timed out after 30.5 s", "timed out after 7 s"),
        ("cannot read /srv/a/1.json: no such file", "cannot read ./notes/b.md: no such file"),
        ("HTTP 503 from https://a.example.com/x?y=1", "HTTP 502 from http://b.example.com:81/z"),
        ("order 8f3a9c2b not found", "order 0xDEAD12 not found"),
        ("user 550e8400-e29b-41d4-a716-446655440000 gone", "user 123e4567-e89b-12d3-a456-426614174000 gone"),
        ("T12 has failed\nand more", "T9 has failed\nand other things"),
        ("mail to ann@example.com bounced", "mail to bob@example.org bounced"),
    ],
)
def test_failures_are_alike_whatever_numbers_ids_and_paths_they_name(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_failures_that_say_different_things_are_not_alike() -> None:
    said = ["the disk is full", "the disc is full", "no such tool: pay", "no such tool: send", "Unknown agent 'triag'"]
    assert len({normalised(each) for each in said}) == len(said)


def test_letters_of_an_earlier_version_are_told_apart_before_anybody_has_named_them(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            named = [await bury(made, f"Order {number} is lost") for number in range(3)]
            other = await bury(made, "No such customer")
            before = await made.store.read(lambda tx: tx.dead_groups())

            def forget(tx: Tx) -> None:
                assert isinstance(tx, Transaction)
                for each in (named[0], named[2], other):  # as the migration has left them
                    tx._db.do("name_failure", id=int(each[1:]), fingerprint="")

            await made.store.run(forget)
            assert await made.store.read(lambda tx: tx.dead_groups()) == before
            for group in before:
                name = group.fingerprint
                page = await made.store.read(partial(DeadReads.dead_of_group, group=name))
                assert {each.name for each in page} == ({other} if group.count == 1 else set(named))
                assert page[::-1] == await made.store.read(partial(DeadReads.dead_letters, group=name))
            assert await made.store.run(lambda tx: tx.prune(Retention(), now=NOW)) == 3
            assert await made.store.run(lambda tx: tx.prune(Retention(), now=NOW)) == 0
            assert await made.store.read(lambda tx: tx.dead_groups()) == before

    run(look())
