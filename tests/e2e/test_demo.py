"""The demo, run for real: the supervisor, a node that is killed, the command line on what is left, and fresh mail.

Two whole days are told, one with the example's mails and one with mails that nobody wrote rules for; the rest looks at
what they left.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from examples.support_inbox.checks import Day, judge
from examples.support_inbox.record import MailStory, read_day
from examples.support_inbox.stage import MARK, ROOT, Stage
from examples.support_inbox.story import Story
from ostinato.cli.client import Client
from ostinato.domain.errors import Conflict
from ostinato.domain.values import SECOND
from tests.conftest import wait_until
from tests.e2e.fresh_mails import FRESH

pytestmark = pytest.mark.slow

DEMO = [sys.executable, "-m", "examples.support_inbox.demo"]
STRICT = [DEMO[0], "-X", "dev", *DEMO[1:]]
"""So that it says what it leaves open; it takes twice as long."""
LABEL = "scripted model, no money spent"
FAST = ["--pace", "0.002"]
"""Real seconds for half a minute of the story: a fifth of what people are shown."""

DAY_TIMEOUT_S = 150.0
"""Far above what a day takes, also where other tests run beside it."""


class Told(NamedTuple):
    """A demo that is over."""

    code: int
    lines: list[str]
    folder: Path
    first_line_s: float
    took_s: float

    @property
    def text(self) -> str:
        """All that it said."""
        return "\n".join(self.lines)

    def story(self) -> Story:
        """What its node was told."""
        return msgspec.json.decode((self.folder / "story.json").read_bytes(), type=Story)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without keys of models."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")} | more


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The day of the example's own mails."""
    folder = tmp_path_factory.mktemp("demo") / "stage"
    began_s = time.monotonic()
    with subprocess.Popen(
        [*STRICT, "--dir", str(folder), *FAST], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        first_line_s = time.monotonic() - began_s
        rest, _ = process.communicate(timeout=DAY_TIMEOUT_S)
    return Told(process.returncode, (first + rest).split("\n"), folder, first_line_s, time.monotonic() - began_s)


# --- the day ------------------------------------------------------------------------------------------------------


def test_the_demo_holds_its_invariants(told: Told) -> None:
    assert told.code == 0, told.text
    checks = [line for line in told.lines if line.startswith("  ok   ")]
    assert len(checks) == 8
    assert "NOT" not in told.text


def test_the_first_line_comes_at_once(told: Told) -> None:
    assert told.first_line_s < told.took_s / 3  # however fast the machine is


def test_each_mail_has_its_line_with_its_ending(told: Told) -> None:
    endings = re.findall(r"^\d\d:\d\d  (billing|technical|sales|logged|person)\b", told.text, re.MULTILINE)
    assert len(endings) == 48
    assert "07:15  billing   Charged twice for the March subscription        -> T3, operator told" in told.text


def test_the_node_was_killed_after_the_approval_and_the_letter_was_sent_once(told: Told) -> None:
    order = ["ostinato approvals allow Q1", "kill -9", "started again by the supervisor", "sent once 1 file"]
    found = [told.text.index(words) for words in order]
    allowed, killed, *then = found
    assert allowed < killed < min(then), "the letter may have left in the instant between the leave and the kill"
    [letter] = (told.folder / "fleet" / "outbox").iterdir()
    assert letter.name in told.text


def test_every_screen_says_that_no_money_is_spent_and_whose_time_it_is(told: Told) -> None:
    for at in range(0, len(told.lines), 30):
        assert LABEL in "\n".join(told.lines[at : at + 30])
    assert "story time" in told.text


def test_nothing_is_left_running(told: Told) -> None:
    assert (told.folder / MARK).read_text() == "0"
    seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in seen if str(told.folder).encode() in line]


def test_the_three_commands_that_it_names_work_on_what_it_left(told: Told) -> None:
    commands = [line.strip() for line in told.lines if re.match(r"  \S*ostinato \w+.* --fleet ", line)]
    assert len(commands) == 3
    for command in commands:
        words = [sys.executable, "-m", "ostinato", *command.split()[1:]]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    assert "tasks show T3" in commands[0]


def test_a_draft_that_waits_can_be_allowed_afterwards(told: Told, tmp_path: Path) -> None:
    """The story lies in the past, but its approvals have not expired."""
    shutil.copytree(told.folder / "fleet", tmp_path / "fleet")
    words = [sys.executable, "-m", "ostinato", "approvals", "allow", "Q2", "--fleet", str(tmp_path / "fleet")]
    whose = environment(XDG_CONFIG_HOME=str(told.folder / "keyring"))
    done = subprocess.run(words, cwd=ROOT, env=whose, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_mail_says_never_stands_among_the_instructions_of_another(told: Told) -> None:
    notes = "".join(path.read_text() for path in (told.folder / "fleet/agents/triage/memory").glob("*.md"))
    assert "logged: newsletter or list, news@tradeweekly.example" in notes
    subjects = {each.subject for each in read_day(Client(told.folder / "fleet"))}
    assert len(subjects) > 40
    assert not [each for each in subjects if each in notes and len(each) > 5]


# --- the checks can fail ------------------------------------------------------------------------------------------


@pytest.fixture
def left(told: Told, tmp_path: Path) -> tuple[Client, Day]:
    """A copy of what the day left, to be tampered with."""
    shutil.copytree(told.folder / "fleet", tmp_path / "fleet")
    client = Client(tmp_path / "fleet")
    story = told.story()
    day = Day(
        stories=tuple(read_day(client)),
        mails=story.mails,
        outbox=str(tmp_path / "fleet" / "outbox"),
        midnight_at=story.midnight_at,
    )
    return client, day


def failures(client: Client, day: Day) -> list[str]:
    """The findings that do not hold."""
    return [each.text for each in judge(client, day) if not each.ok]


def test_an_untouched_day_has_no_failures(left: tuple[Client, Day]) -> None:
    assert failures(*left) == []


def test_a_second_letter_and_a_missing_one_are_noticed(left: tuple[Client, Day]) -> None:
    client, day = left
    [letter] = Path(day.outbox).iterdir()
    letter.with_name("20260101T000000Z-0.eml").write_bytes(letter.read_bytes())
    assert any("sent once" in each for each in failures(client, day))
    for each in Path(day.outbox).iterdir():
        each.unlink()
    assert any("sent once" in each for each in failures(client, day))


def test_a_letter_that_says_something_else_than_was_allowed_is_noticed(left: tuple[Client, Day]) -> None:
    client, day = left
    [letter] = Path(day.outbox).iterdir()
    letter.write_bytes(letter.read_bytes().replace(b"tomorrow noon", b"tonight at six"))
    assert any("word for word" in each for each in failures(client, day))


def test_a_lost_mail_a_second_ending_and_a_wrong_one_are_noticed(left: tuple[Client, Day]) -> None:
    client, day = left
    one, two, *rest = day.stories

    def with_stories(*stories: MailStory) -> list[str]:
        return failures(client, msgspec.structs.replace(day, stories=stories))

    assert any("exactly one" in each for each in with_stories(two, *rest))
    doubled = msgspec.structs.replace(one, endings=(*one.endings, *two.endings))
    assert any("exactly one" in each for each in with_stories(doubled, two, *rest))
    wrong = msgspec.structs.replace(one, endings=two.endings)
    assert any("table" in each for each in with_stories(wrong, two, *rest))


def test_billing_that_was_told_late_or_never_is_noticed(left: tuple[Client, Day]) -> None:
    client, day = left
    late = msgspec.structs.replace(day, midnight_at=day.midnight_at - 600 * SECOND)
    assert any("15 minutes" in each for each in failures(client, late))
    untold = tuple(msgspec.structs.replace(each, told_at=None) for each in day.stories)
    assert any("15 minutes" in each for each in failures(client, msgspec.structs.replace(day, stories=untold)))


# --- other mail, and staying up -----------------------------------------------------------------------------------


def write_fresh(folder: Path) -> Path:
    """The fresh mails in a folder, one every five minutes of the morning; the afternoon is quiet."""
    folder.mkdir()
    for number, fresh in enumerate(FRESH):
        hour, minute = divmod(7 * 60 + 2 + number * 5, 60)
        (folder / f"{hour:02}{minute:02}-{fresh.name}.eml").write_bytes(fresh.eml())
    return folder


def test_fresh_mail_ends_in_exactly_one_way_and_the_fleet_can_be_kept_up(tmp_path: Path) -> None:
    folder, mails, said = tmp_path / "stage", write_fresh(tmp_path / "mails"), tmp_path / "said"
    words = [*DEMO, "--dir", str(folder), "--mails", str(mails), "--keep", *FAST]
    with said.open("w") as output, subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=output) as process:
        try:
            wait_until(lambda: "The fleet stays up" in said.read_text() or process.poll(), timeout_s=DAY_TIMEOUT_S)
            assert process.poll() is None, said.read_text()
            client = Client(folder / "fleet")
            check_fresh(read_day(client))
            play(folder, said)
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0, said.read_text()
        finally:
            process.kill()
    assert "Nothing is left running" in said.read_text()


def check_fresh(stories: list[MailStory]) -> None:
    """Each mail has one ending, and one that fits."""
    expected = {fresh.name: fresh.endings for fresh in FRESH}
    endings = {each.file[5:-4]: [ending.kind for ending in each.endings] for each in stories}
    assert endings.keys() == expected.keys()
    wrong = {name: kinds for name, kinds in endings.items() if len(kinds) != 1 or kinds[0] not in expected[name]}
    assert not wrong


def play(folder: Path, said: Path) -> None:
    """What somebody does who stays: answers a question, drops a mail of their own."""
    fleet = folder / "fleet"
    question = re.search(r"for you to decide, (Q\d+): Cake", said.read_text())
    assert question is not None
    words = [
        sys.executable,
        "-m",
        "ostinato",
        "approvals",
        "answer",
        question[1],
        "sales, please",
        "--fleet",
        str(fleet),
    ]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=120)
    wait_until(lambda: (fleet / "agents/sales/drafts").is_dir() and _mentions(fleet / "agents/sales/summaries", "Cake"))
    own = next(each for each in FRESH if each.name == "sollecito").eml().replace(b"<fresh.sollecito@", b"<my.own@")
    (fleet / "agents/triage/inbox/mine.eml").write_bytes(own)
    wait_until(lambda: said.read_text().count("Sollecito di pagamento ricevuto per errore") == 2)


def _mentions(folder: Path, words: str) -> bool:
    return any(words in path.read_text() for path in folder.glob("*.md"))


# --- money, and wrong use -----------------------------------------------------------------------------------------


def refused(*words: str, **more: str) -> str:
    """What a demo says that does not begin."""
    done = subprocess.run(
        [*DEMO, *words], cwd=ROOT, env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_real_model_needs_somebody_who_agrees_to_the_cost() -> None:
    said = refused("--model", "openai/gpt-5-mini", OPENAI_API_KEY="none")
    assert "48 mails x (8,000 tokens in + 1,500 out) at $0.25 and $2 a million = about $0.24" in said
    assert "Nobody is at a terminal" in said


def test_who_says_no_to_the_cost_spends_nothing(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    words = [*DEMO, "--model", "openai/gpt-5-mini", "--dir", str(tmp_path / "stage")]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(OPENAI_API_KEY="none"), stdin=follower, stdout=subprocess.PIPE, text=True
    ) as process:
        os.write(leader, b"\n")
        said, _ = process.communicate(timeout=120)
    os.close(leader)
    os.close(follower)
    assert process.returncode == 1
    assert "Go on? [y/N]" in said
    assert "Nothing was asked, nothing was spent." in said
    assert not (tmp_path / "stage").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--model", "gpt"], "Write provider/name"),
        (["--model", "nobody/x"], "has no usual address"),
        (["--model", "openai/gpt-5-mini"], "Set OPENAI_API_KEY"),
        (["--mails", "docs"], "There is no mail in"),
        (["--dir", "docs"], "is not empty"),
    ],
)
def test_wrong_use_is_answered_with_the_cure(words: list[str], why: str) -> None:
    assert why in refused(*words)


def test_a_folder_is_cleared_only_when_an_earlier_demo_made_it_and_is_over(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    Stage.set_up(folder, mails=tmp_path, pace_s=1.0)
    with pytest.raises(Conflict, match="not empty"):  # this process still uses it
        Stage.set_up(folder, mails=tmp_path, pace_s=1.0)
    (folder / MARK).write_text("0")
    (folder / "old").touch()
    assert not (Stage.set_up(folder, mails=tmp_path, pace_s=1.0).folder / "old").exists()
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*")} == {"0o600", "0o700"}
