"""Mails in the fleet's inbox become messages of the agent bound to them, in the session that its binding says."""

from __future__ import annotations

from pathlib import Path

from ostinato.agents.inbox import InboxTaker, InboxTimes
from ostinato.agents.intake import Intake
from ostinato.domain.event import EventName
from ostinato.domain.values import SECOND, Trust
from ostinato.gateway.placing import Placing
from ostinato.store.port import EventFilter, TaskFilter
from ostinato.tools.router import Router
from ostinato.workspace.fleet_file import read_fleet
from tests.agents.fleet import Fleet, running
from tests.conftest import run

FLEET = """
[fleet]
name = "desk"
model = "script"
[models.script]
provider = "scripted"
script = "model.yaml"
[inbox]
agent = "triage"
[[bindings]]
peer = "*@acme.example"
agent = "acme"
session = "stay"
[[bindings]]
peer = "bob@acme.example"
agent = "bob"
session = "branch"
[[bindings]]
account = "jobs@us.example"
agent = "gone"
"""
FILES = {
    "ostinato.toml": FLEET,
    **{f"agents/{each}/SOUL.md": "You help." for each in ("acme", "bob", "triage")},
    "model.yaml": "default: {text: ok}",
}


def mail(number: int, sender: str, *, more: str = "", to: str = "help@us.example") -> str:
    head = f"From: {sender}\nTo: {to}\nSubject: s{number}\nMessage-ID: <{number}@x>\n{more}"
    return f"{head}\nWhere is order {number}?\n"


async def take(fleet: Fleet, *mails: str) -> list[str]:
    """Drops mails one after the other; what became of each."""
    settings = read_fleet(fleet.folder).inbox
    taker = InboxTaker(
        fleet=fleet.folder,
        store=fleet.store,
        workspaces=fleet.workspaces,
        intake=Intake(colleagues=fleet.colleagues, settings=settings),
        clock=fleet.clock,
        times=InboxTimes(settle_s=0.0),
    )
    (fleet.folder / "inbox").mkdir(exist_ok=True)
    for number, text in enumerate(mails):
        (fleet.folder / f"inbox/{number}.eml").write_text(text)
        await taker.take(None)
        fleet.clock.ahead += SECOND
    names = frozenset({EventName.FILE_TAKEN, EventName.FILE_REFUSED})
    return [each.reason for each in await fleet.store.read(lambda reads: reads.events(EventFilter(names=names)))]


def test_the_most_specific_binding_says_who_reads_a_mail_and_in_which_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            ann, bob = "Ann <ANN@acme.example>", "bob@acme.example"
            said = await take(
                fleet,
                mail(1, ann),
                mail(2, ann),
                mail(3, bob),
                mail(4, bob, more="In-Reply-To: <3@x>\nReferences: <3@x> <9@x>\n"),
                mail(5, bob),
                mail(6, "eve@elsewhere.example"),
                mail(1, ann),
            )
            acme = await fleet.store.read(lambda reads: reads.messages("mail:acme:ann@acme.example", limit=9))
            assert [each.text.count("order 1") + each.text.count("order 2") for each in acme] == [1, 1]
            assert {each.trust for each in acme} == {Trust.EXTERNAL}
            assert said[0].endswith("for acme, in mail:acme:ann@acme.example, bound by peer *@acme.example")
            third, fourth, fifth = (each.partition(", in ")[2].partition(",")[0] for each in said[2:5])
            assert third == fourth != fifth, "a thread is a branch of its own"
            assert third.startswith("mail:bob:bob@acme.example:")
            assert "became T" in said[5], "nobody is bound to it: a task of the inbox's agent"
            assert "a repetition of" in said[6]
            first = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(agent="acme"))[-1])
            why = await fleet.store.read(lambda reads: Placing(Router(), []).why_here(reads, first, now=0))
            assert why[-1] == said[0], "it can be told later, too"

    run(story())


def test_a_sender_whom_nobody_vouches_for_reads_on_in_no_conversation_and_a_binding_to_nobody_refuses(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            ann = "ann@acme.example"
            said = await take(
                fleet,
                mail(1, ann, more="Authentication-Results: mx.us.example; spf=fail\n"),
                mail(2, ann, more="Reply-To: eve@elsewhere.example\n"),
                mail(3, "eve@elsewhere.example", to="Jobs <jobs@us.example>"),
            )
            assert await fleet.store.read(lambda reads: reads.messages("mail:acme:ann@acme.example", limit=9)) == []
            assert all("became T" in each for each in said[:2])
            assert "Unknown agent 'gone'" in said[2]

    run(story())
