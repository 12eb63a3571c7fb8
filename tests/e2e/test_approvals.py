"""Approvals over the real command line: one fleet, one node, two people, and what each decision comes to."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.cli.client import Client
from ostinato.domain.errors import OstinatoError
from ostinato.gateway import approvals_api, dead_api, people_api, status_api, tasks_api
from tests.conftest import wait_until
from tests.crash.siege import FULL
from tests.e2e.test_cli import ENVIRONMENT, PYTHON, document, done, node, refused

pytestmark = pytest.mark.slow

FILES = {
    "ostinato.toml": '[fleet]\nname = "desk"\nmodel = "script"\n'
    '[models.script]\nprovider = "scripted"\nscript = "model.yaml"\n',
    "agents/clerk/SOUL.md": "You send letters.\n",
    "agents/clerk/TOOLS.md": '---\nallow: [message.send]\nrecipients: ["mail:*@example.com"]\n---\n',
    "agents/clerk/AGENTS.md": "---\nconcurrency: 9\n---\n",
    "model.yaml": """
rules:
  - when: {tool: message.send}
    text: "told: {result}"
  - when: {user: "was not accepted"}
    text: "told: {user}"
  - when: {user: greet}
    text: "Hello"
  - when: {user: break}
    fault: {status: 400}
  - when: {user: to bob}
    calls: [{tool: message.send, args: {to: "mail:bob@example.com", subject: Hello, text: Hi}}]
default: {calls: [{tool: message.send, args: {to: "mail:ann@example.com", subject: Hello, text: Hi}}]}
""",
}


@pytest.fixture(name="desk", scope="module")
def _desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("desk")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with node(folder):
        yield folder


def task(folder: Path, title: str) -> str:
    """Adds a task; its id."""
    return str(json.loads(done(folder, "tasks", "add", title, "--agent", "clerk", "--json"))["id"])


def asked(folder: Path, task: str) -> str:
    """The question that a task waits for. Waiting is done in this process, as commands cost more than an answer."""
    which = approvals_api.WhichQuestions(task=task)
    return wait_until(lambda: Client(folder).call(approvals_api.list_questions, which).questions)[0].id


def ended(folder: Path, task: str) -> str:
    """What a task came to."""
    which = tasks_api.WhichTask(task=task)

    def result() -> str:
        view = Client(folder).call(tasks_api.show, which)
        return view.result if view.task.state == "done" else ""

    return wait_until(result)


def pid(folder: Path) -> int | None:
    """The node's, while one answers."""
    try:
        return Client(folder).call(status_api.status, status_api.Nothing()).node.pid
    except OstinatoError:
        return None


def letters(folder: Path) -> list[str]:
    return [each.read_text() for each in sorted(folder.glob("outbox/*.eml"))]


def edit(folder: Path, **arguments: str) -> str:
    file = folder / "edited.json"
    file.write_text(json.dumps({"to": "mail:ann@example.com", "subject": "Hello", "text": "Hi", **arguments}))
    return str(file)


def test_an_edit_is_shown_and_judged_before_it_is_decided_and_is_what_runs(desk: Path) -> None:
    sent = len(letters(desk))
    goal = task(desk, "write")
    question = asked(desk, goal)
    allow = ("approvals", "allow", question, "--edit")
    assert "not a declared recipient" in refused(desk, *allow, edit(desk, to="mail:x@elsewhere.test"), code=4)
    assert "does not take this" in refused(desk, *allow, edit(desk, colour="red"), code=2)
    assert refused(desk, "approvals", "show", question, "--edit", edit(desk, to="mail:x@elsewhere.test"), code=4)
    shown = done(desk, "approvals", "show", question, "--edit", edit(desk, text="Good day"))
    assert "-text: Hi" in shown
    assert "+text: Good day" in shown
    before = document(desk, "approvals", "show", question)
    assert (before["state"], before["edited"], len(letters(desk))) == ("pending", None, sent)
    allowed = json.loads(done(desk, *allow, edit(desk, text="Good day"), "--json"))
    assert allowed["digest"] == document(desk, "approvals", "show", question)["digest"] != before["digest"]
    ended(desk, goal)
    wait_until(lambda: len(letters(desk)) > sent)
    assert "Good day" in letters(desk)[-1]
    assert "is already allowed by ann" in refused(desk, "approvals", "allow", question, code=1)


def test_what_is_allowed_for_good_asks_no_more_and_anything_else_does(desk: Path) -> None:
    first = task(desk, "write")
    allow = ("approvals", "allow", asked(desk, first), "--always")
    assert "does not cover" in refused(desk, *allow, "to=mail:bob*", code=2)
    done(desk, *allow, "exact")
    ended(desk, first)
    ended(desk, task(desk, "write again"))
    to_bob = task(desk, "write to bob")
    other = asked(desk, to_bob)
    done(desk, "approvals", "deny", other, "--reason", "Bob is on holiday")
    assert "Bob is on holiday" in ended(desk, to_bob), "the model has read why"
    permission = document(desk, "approvals", "permissions")["permissions"][0]
    done(desk, "approvals", "revoke", permission["id"])
    last = asked(desk, task(desk, "write once more"))
    done(desk, "approvals", "deny", last)
    states = {each["id"]: each["state"] for each in document(desk, "approvals", "list", "--all")["questions"]}
    assert (states[other], states[last]) == ("denied", "denied")


def test_a_result_is_returned_with_notes_and_accepted_and_only_then_counts(desk: Path) -> None:
    reviewed = json.loads(done(desk, "tasks", "add", "greet", "--agent", "clerk", "--review", "person", "--json"))["id"]
    after = json.loads(done(desk, "tasks", "add", "greet too", "--agent", "clerk", "--after", reviewed, "--json"))["id"]
    question = asked(desk, reviewed)
    done(desk, "approvals", "deny", question, "--reason", "name the guest")
    again = asked(desk, reviewed)
    assert again != question
    shown = done(desk, "tasks", "show", reviewed)
    assert "rejected by ann: name the guest" in shown
    assert f"waits for {again}" in shown
    assert again in done(desk, "status")
    assert document(desk, "tasks", "show", after)["task"]["state"] == "blocked"
    done(desk, "tasks", "approve", reviewed)
    assert "name the guest" in ended(desk, reviewed)
    ended(desk, after)
    assert "is done" in refused(desk, "tasks", "approve", reviewed, code=1)


def test_a_question_outlives_its_node_and_nobody_allows_what_they_asked_for(desk: Path) -> None:
    goal = task(desk, "write")
    question = asked(desk, goal)
    running = pid(desk)
    assert running is not None
    os.kill(running, signal.SIGKILL)
    wait_until(lambda: pid(desk) not in (None, running))
    assert document(desk, "approvals", "show", question)["state"] == "pending"
    token = json.loads(done(desk, "tokens", "add", "ben", "--role", "operator", "--json"))["secret"]
    assert "that ann asked for" in refused(desk, "approvals", "allow", question, code=4)
    assert document(desk, "approvals", "show", question)["state"] == "pending"
    allowing = [*PYTHON, "approvals", "allow", question, "--json"]
    by_ben = subprocess.run(
        allowing, cwd=desk, env=ENVIRONMENT | {"OSTINATO_TOKEN": token}, capture_output=True, text=True, check=True
    )
    assert json.loads(by_ben.stdout)["decided_by"] == "ben"
    ended(desk, goal)


def at_once(folder: Path, *both: tuple[str, ...]) -> str:
    """Two people decide at the same time, each in a process of their own: the words of the one who came second."""
    found = [
        subprocess.Popen([*PYTHON, *words], cwd=folder, env=ENVIRONMENT | {"OSTINATO_TOKEN": token},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for token, words in zip(operators(folder), both, strict=True)
    ]  # fmt: skip
    told = {each.communicate(timeout=60)[1]: each.returncode for each in found}
    assert sorted(told.values()) == [0, 1], told
    (words,) = (text for text, code in told.items() if code)
    assert 1 <= len(words.splitlines()) <= 3
    return words


def operators(folder: Path) -> list[str]:
    """The tokens of two people, cara and dan."""
    client = Client(folder)
    known = folder / "tokens.json"
    if not known.exists():
        new = [people_api.AddToken(person=each, role="operator") for each in ("cara", "dan")]
        known.write_text(json.dumps([client.call(people_api.add, each).secret for each in new]))
    return [str(each) for each in json.loads(known.read_text())]


def test_of_two_people_who_decide_at_once_one_does_and_the_other_is_told_by_whom(desk: Path) -> None:
    """Questions in the ordinary suite, plans and dead letters beside them with OSTINATO_CRASH=full."""
    for _ in range(5 if FULL else 1):
        goal = task(desk, "write")
        question = asked(desk, goal)
        words = at_once(desk, ("approvals", "allow", question), ("approvals", "deny", question))
        assert re.search(rf"{question} .*(cara|dan)", words), words
        ended(desk, goal)
    for _ in range(5 if FULL else 0):
        plan = {"tasks": [{"name": each, "title": f"greet {each}", "agent": "clerk"} for each in ("ann", "bob")]}
        (desk / "plan.json").write_text(json.dumps(plan))
        drafts = json.loads(done(desk, "tasks", "plan", "plan.json", "--json"))["nodes"]
        first = drafts[0]["task"]["id"]
        words = at_once(desk, ("tasks", "approve", first, "--tree"), ("tasks", "reject", first, "--tree"))
        assert re.search(r"No draft belongs to T\d+: (cara|dan) has decided", words), words
    if FULL:
        for each in range(2):
            task(desk, f"break {each}")
        which = dead_api.WhichDead()
        wait_until(lambda: len(Client(desk).call(dead_api.list_dead, which).dead) == 2, timeout_s=30.0)
        group = document(desk, "dead", "list")["groups"][0]["fingerprint"]
        replay = ("dead", "replay", "--group", group, "--rate", "1/h", "--yes")
        words = at_once(desk, replay, replay)
        assert re.search(r"T\d+ replays them already, for (cara|dan)", words), words
