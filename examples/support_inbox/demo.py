"""The support inbox at work: one day of mail, told in less than a minute.

    python -m examples.support_inbox.demo [--keep] [--model PROVIDER/NAME] [--dir FOLDER] [--mails FOLDER]

48 mails reach a support address between 07:00 and 18:00. A triage agent wakes every quarter of an hour, sorts them, and
hands them to billing, technical and sales, who draft answers. Nothing is sent before a person has said yes: the demo
says yes once, kills its own node right after, and shows that the letter was sent, once. The node is the real one under
the real supervisor; the clock is a story's, and the model is a file of rules. Exits with 1 unless every invariant held.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from examples.support_inbox import money
from examples.support_inbox.checks import Day, judge
from examples.support_inbox.postman import letters_in
from examples.support_inbox.record import LOGGED, PERSON, MailStory, read_day, show_task
from examples.support_inbox.stage import HERE, Stage
from examples.support_inbox.teller import Teller, clock_of
from ostinato.cli.client import Client
from ostinato.cli.screen import Screen
from ostinato.domain.errors import Conflict, Internal, OstinatoError
from ostinato.gateway import approvals_api, events_api, status_api
from ostinato.gateway.access import PERSON_VARIABLE
from ostinato.gateway.operation import Nothing
from ostinato.gateway.views import EventView

NO_MONEY = "scripted model, no money spent"

TOLD_WITHIN_S = 240.0
"""Real seconds after which a story with a scripted model has gone wrong; it takes 30 on two idle cores."""

LOOK_AGAIN_S = 0.02


class Demo:
    """One performance, from the first line to the last."""

    def __init__(self, stage: Stage, screen: Screen, *, model: str | None) -> None:
        self._stage = stage
        self._screen = screen
        self._model = model
        self._label = f"story time, {model or NO_MONEY}"
        self._client = Client(stage.fleet)
        self._teller = Teller(self._client, screen, timezone="Europe/Berlin", label=self._label)
        self._last = 0
        self._killed = ""
        """The question that was allowed before the kill."""
        self._killed_s = 0.0

    def play(self, *, keep: bool) -> int:
        """The exit code."""
        try:
            self._stage.start()
            self._tell_the_day()
            ok = self._sum_up()
            if keep:
                self._stay()
            return 0 if ok else 1
        finally:
            self._stage.stop()
            self._last_words(keep=keep)

    # --- the day ---

    def _tell_the_day(self) -> None:
        count = len(letters_in(Path(self._stage.story.mails)))
        give_up_s = time.monotonic() + TOLD_WITHIN_S if self._model is None else float("inf")
        for event in self._events():
            if event is not None:
                self._teller.tell(event)
                self._watch(event)
            if self._teller.report_told and self._teller.mails_ended >= count:
                return
            if time.monotonic() > give_up_s:
                raise Internal("The story takes too long", cure=f"The node's log: {self._stage.log}")

    def _events(self) -> Iterator[EventView | None]:
        """Events as they are stored, over as many nodes as it takes; None where nothing happened for a moment."""
        while True:
            if not self._stage.is_up():
                raise Internal("The supervisor has given up", cure=f"See {self._stage.log}")
            with contextlib.suppress(OstinatoError, OSError, http.client.HTTPException):
                begin = None if self._last else "30d"
                which = events_api.WhichEvents(after=self._last, since=begin)
                for event in self._client.stream(events_api.follow, which):
                    if event is not None:
                        self._last = event.id
                    yield event
            yield None
            time.sleep(LOOK_AGAIN_S)  # the node is starting, or was just killed

    def _watch(self, event: EventView) -> None:
        """Kills the node once, right after the first approval."""
        if event.name == "question.asked" and event.data.get("kind") == "approval" and not self._killed:
            self._allow_and_kill(event)
        elif event.name == "delivery.sent" and str(event.data.get("to")).startswith("mail:"):
            self._show_sent(event)
        elif event.name == "node.started" and self._killed:
            self._screen.say(f"         (that took {time.monotonic() - self._killed_s:.1f} s of real time)")

    def _allow_and_kill(self, event: EventView) -> None:
        self._killed = f"Q{event.data['question']}"
        asked = self._client.call(approvals_api.show, approvals_api.WhichQuestion(question=self._killed))
        arguments = asked.arguments or {}
        self._teller.line(event, "approval", f"{asked.agent} asks to send this ({self._killed}):", style="strong")
        letter = [f"To: {arguments.get('to')}", f"Subject: {arguments.get('subject')}", "", str(arguments.get("text"))]
        for line in "\n".join(letter).strip().split("\n"):
            self._screen.say(f"         | {line}")
        pid = self._client.call(status_api.status, Nothing()).node.pid
        self._client.call(approvals_api.allow, approvals_api.AllowQuestion(question=self._killed, reason="looks right"))
        if pid:
            os.kill(pid, signal.SIGKILL)
        self._killed_s = time.monotonic()
        self._screen.say(f"         you:  ostinato approvals allow {self._killed}", style="strong")
        self._screen.say(f"         and right after it:  kill -9 {pid}   (the node is gone, and could not say goodbye)")
        self._screen.flush()

    def _show_sent(self, event: EventView) -> None:
        """Judged by the files outside, not by the record."""
        files = [each.name for each in self._stage.outbox.glob("*.eml")]
        delivery = show_task(self._client, event.task or "")
        tries = ", ".join(f"{each.outcome} on node {each.node}" for each in delivery.attempts if each.outcome)
        text = f"{len(files)} file in the outbox: {', '.join(files)}"
        self._teller.line(event, "sent once", text, style="strong")
        self._screen.say(f"         {self._killed} to {event.data['to']}; its delivery: {tries or 'done'}")

    # --- the end ---

    def _sum_up(self) -> bool:
        stories = tuple(read_day(self._client))
        self._screen.say(f"\nThe day is over ({self._label}).\n", style="strong")
        self._tally(stories)
        day = Day(
            stories=stories,
            mails=self._stage.story.mails,
            outbox=str(self._stage.outbox),
            midnight_at=self._stage.story.midnight_at,
            expects=self._model is None,
            costs_nothing=self._model is None,
        )
        findings = judge(self._client, day)
        self._screen.say("Checked against the stored events and the files outside:")
        for each in findings:
            mark = self._screen.styled("ok " if each.ok else "NOT", "good" if each.ok else "bad")
            self._screen.raw(f"  {mark}  ", each.text)
            for problem in each.problems[:10]:
                self._screen.say(f"         {problem}", style="bad")
        return all(each.ok for each in findings)

    def _tally(self, stories: tuple[MailStory, ...]) -> None:
        counts: dict[str, int] = {}
        for story in stories:
            for ending in story.endings:
                counts[ending.kind] = counts.get(ending.kind, 0) + 1
        order = ("billing", "technical", "sales", LOGGED, PERSON)
        self._screen.say("  " + ", ".join(f"{counts.get(each, 0)} {each}" for each in order))
        asked = [each for each in stories if any(ending.kind == PERSON for ending in each.endings)]
        for story in asked:
            at = clock_of(story.endings[0].at, "Europe/Berlin")
            self._screen.say(f"  {at}  for you to decide, {story.endings[0].question}: {story.subject or story.file}")
        self._screen.say()

    def _stay(self) -> None:
        command, fleet = _command(), self._stage.fleet
        self._screen.say(f"\nThe fleet stays up ({self._label}); a minute of its time is a second of yours.")
        self._screen.say(f"  drop a mail:    cp your.eml {fleet}/agents/triage/inbox/")
        self._screen.say(f"  decide:         {command} approvals list --fleet {fleet}")
        self._screen.say(f"  look around:    {command} status --fleet {fleet}")
        self._screen.say("Ctrl-C ends it.\n")
        self._screen.flush()
        with contextlib.suppress(KeyboardInterrupt):
            for event in self._events():
                if event is not None:
                    self._teller.tell(event)

    def _last_words(self, *, keep: bool) -> None:
        """Three commands that work on what is left."""
        command, fleet = _command(), self._stage.fleet
        self._screen.say(f"\nNothing is left running. What it left is in {fleet}, until the next demo. Try:")
        self._screen.say(f"  {command} tasks show {self._task_of_the_letter()} --fleet {fleet}")
        self._screen.say(f"  {command} approvals list --fleet {fleet}")
        self._screen.say(f"  {command} events --since 3d --agent billing --fleet {fleet}")
        if not keep:
            self._screen.say(f"({self._label}. To play with it: make run)", style="faint")
        self._screen.flush()

    def _task_of_the_letter(self) -> str:
        if not self._killed:
            return "T1"
        with contextlib.suppress(OstinatoError):
            asked = self._client.call(approvals_api.show, approvals_api.WhichQuestion(question=self._killed))
            return asked.task
        return "T1"


def _command() -> str:
    """How a person calls the command line from here."""
    beside = Path(sys.executable).with_name("ostinato")
    if not beside.exists():
        return f"{sys.executable} -m ostinato"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)


def _prepared(arguments: argparse.Namespace, screen: Screen) -> Stage | None:
    """The stage; None where a person does not want to spend the money."""
    mails = arguments.mails.resolve()
    count = len(letters_in(mails))
    if not count:
        raise Conflict(f"There is no mail in {mails}", cure="Put .eml files there; 0712-x.eml arrives at 07:12.")
    if arguments.model is None:
        return Stage.set_up(arguments.dir, mails=mails, pace_s=arguments.pace)
    settings = money.settings_of(arguments.model)
    screen.say(f"A real model costs money: {money.estimate(settings, mails=count).text}.", style="warn")
    if not sys.stdin.isatty():
        raise Conflict("Nobody is at a terminal to agree to that", cure="Run it where you can answer.")
    screen.piece("Go on? [y/N] ")
    if input().strip().lower() not in {"y", "yes"}:
        screen.say("Nothing was asked, nothing was spent.")
        return None
    stage = Stage.set_up(arguments.dir, mails=mails, pace_s=arguments.pace, patience_s=60.0)
    money.write_into(stage.fleet, settings)
    return stage


def main(words: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keep", action="store_true", help="leave the fleet up to play with, until Ctrl-C")
    parser.add_argument("--model", metavar="PROVIDER/NAME", help="a real model; says what it costs, and asks")
    parser.add_argument("--dir", type=Path, metavar="FOLDER", help="where the fleet goes [a temporary folder]")
    parser.add_argument("--mails", type=Path, default=HERE / "mails", metavar="FOLDER", help="other mails")
    parser.add_argument("--pace", type=float, default=0.012, metavar="S", help="seconds for half a minute of the story")
    arguments = parser.parse_args(words)
    os.environ.setdefault(PERSON_VARIABLE, "you")
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends the demo ends its fleet, in order
        signal.signal(number, signal.default_int_handler)
    screen = Screen()
    try:
        label = arguments.model or NO_MONEY
        screen.say(
            f"The support inbox of a small software company, one day in half a minute ({label}).", style="strong"
        )
        screen.flush()
        stage = _prepared(arguments, screen)
        if stage is None:
            return 1
        if not arguments.keep:  # nobody comes back to this fleet: its token need not stay in anybody's keyring
            os.environ["XDG_CONFIG_HOME"] = str(stage.folder / "keyring")
        screen.say(f"The fleet: {stage.fleet}")
        screen.say("Times are story time: the clock is the demo's, everything else is the real thing.\n")
        screen.flush()
        return Demo(stage, screen, model=arguments.model).play(keep=arguments.keep)
    except OstinatoError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads any more; the fleet has been stopped, and nothing can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
