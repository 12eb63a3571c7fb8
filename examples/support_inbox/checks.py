"""What must be true when the day is over: judged by the record, and by the files outside of it.

Knows nothing of screens.
"""

from __future__ import annotations

import email
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from email.policy import default
from pathlib import Path

from examples.support_inbox.postman import letters_in
from examples.support_inbox.record import MAIL_SESSION, MailStory, all_events, all_tasks
from ostinato.cli.client import Client
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.gateway import approvals_api, cost_api

ESCALATION_S = 15 * 60
"""Billing reaches the operator within this time after the mail's arrival."""

ROW = re.compile(r"^\| (\S+\.eml) \|.*\| (\w+) \|$", re.MULTILINE)


class Finding(Value):
    """One invariant: what holds, or what does not and where."""

    ok: bool
    text: str
    problems: tuple[str, ...] = ()


class Day(Value):
    """What is judged."""

    stories: tuple[MailStory, ...]
    mails: str
    """Folder of the mails that were delivered."""
    outbox: str
    midnight_at: Instant
    expects: bool = True
    """Whether each mail's ending must be the one of the README's table: rules are exact, a real model may differ."""
    costs_nothing: bool = True


def judge(client: Client, day: Day) -> list[Finding]:
    """Every invariant of the demo."""
    return [
        _one_ending(day),
        _expected(day),
        _told_in_time(day),
        _no_idle_calls(client),
        _nothing_unapproved(client, day),
        _sent_once(client, day),
        _died_and_rose(client),
        _costs(client, day),
    ]


def expected_endings(mails: Path) -> dict[str, str]:
    """File -> ending, from the table in the folder's README; empty without one."""
    readme = mails / "README.md"
    return dict(ROW.findall(readme.read_text(encoding="utf-8"))) if readme.exists() else {}


def _finding(text: str, problems: Sequence[str]) -> Finding:
    return Finding(ok=not problems, text=text, problems=tuple(problems))


def _one_ending(day: Day) -> Finding:
    delivered = {each.file for each in letters_in(Path(day.mails))}
    seen = Counter(each.file for each in day.stories)
    problems = [f"{file} was never taken" for file in sorted(delivered - seen.keys())]
    problems += [f"{file} was taken {count} times" for file, count in seen.items() if count != 1]
    problems += [
        f"{each.file} ended in {len(each.endings)} ways: {', '.join(e.kind for e in each.endings) or 'none'}"
        for each in day.stories
        if len(each.endings) != 1
    ]
    return _finding(f"each of {len(delivered)} mails ended in exactly one of task, escalation, log", problems)


def _expected(day: Day) -> Finding:
    wanted = expected_endings(Path(day.mails))
    endings = {each.file: each.endings[0].kind if each.endings else "none" for each in day.stories}
    wrong = [f"{file}: {endings.get(file)}, not {kind}" for file, kind in wanted.items() if endings.get(file) != kind]
    if not wanted:
        return _finding("no table says how these mails should end", ())
    if not day.expects:
        return _finding(f"{len(wanted) - len(wrong)} of {len(wanted)} mails ended as a person would have it", ())
    return _finding("each ended as its table in mails/README.md says", wrong)


def _told_in_time(day: Day) -> Finding:
    arrivals = {each.file: day.midnight_at + each.after_s * SECOND for each in letters_in(Path(day.mails))}
    problems, longest_s = [], 0.0
    for each in day.stories:
        if not any(ending.kind == "billing" for ending in each.endings):
            continue
        waited_s = (each.told_at - arrivals.get(each.file, each.taken_at)) / SECOND if each.told_at else None
        if waited_s is None or waited_s > ESCALATION_S:
            problems.append(f"{each.file}: {'never told' if waited_s is None else f'told after {waited_s:.0f} s'}")
        longest_s = max(longest_s, waited_s or 0.0)
    return _finding(
        f"billing reached the operator within 15 minutes, at the latest after {longest_s / 60:.1f}", problems
    )


def _no_idle_calls(client: Client) -> Finding:
    """Every model call belongs to a mail, a task or the report; heartbeats with nothing to do made none."""
    turns = {row.id: row.session or "" for row in all_tasks(client, kind="turn")}
    goals = {row.id for row in all_tasks(client, kind="goal")}
    view = client.call(cost_api.show, cost_api.WhichCost(by="task", since="30d", limit=1_000))
    reasons = (MAIL_SESSION, "isolated:triage:report:", "main:")
    strays = [
        f"{each.name} made {each.calls} model calls for nothing"
        for each in view.lines
        if each.calls and each.name not in goals and not turns.get(each.name, "").startswith(reasons)
    ]
    strays += [] if view.skipped else ["no heartbeat was skipped, so nothing was shown"]
    return _finding(f"{view.skipped} heartbeats had nothing to do, and made 0 model calls", strays)


def _letters(day: Day) -> Iterator[tuple[str, str, str, str]]:
    """File, recipient, subject and text of each letter that has left."""
    for path in sorted(Path(day.outbox).glob("*.eml")):
        message = email.message_from_bytes(path.read_bytes(), policy=default)
        body = message.get_body(("plain",))
        yield path.name, str(message["To"]), str(message["Subject"]), body.get_content() if body else ""


def _nothing_unapproved(client: Client, day: Day) -> Finding:
    which = approvals_api.WhichQuestions(state="allowed", kind="approval", limit=500)
    allowed = [
        each.edited or each.arguments or {} for each in client.call(approvals_api.list_questions, which).questions
    ]
    problems = []
    letters = list(_letters(day))
    for file, to, subject, text in letters:
        same = [
            each
            for each in allowed
            if (each.get("to"), each.get("subject")) == (f"mail:{to}", subject) and _lines(each["text"]) == _lines(text)
        ]
        if not same:
            problems.append(f"{file} to {to} was never approved")
    return _finding(f"{len(letters)} letter left, word for word as a person had allowed it", problems)


def _lines(text: str) -> list[str]:
    """A text without regard to how its lines end."""
    return text.strip().splitlines()


def _sent_once(client: Client, day: Day) -> Finding:
    """The one approval of the demo became one file, although the node was killed right after."""
    sent = [each for each in all_events(client, "delivery.sent") if str(each.data.get("to")).startswith("mail:")]
    files = [path.name for path in Path(day.outbox).iterdir()] if Path(day.outbox).is_dir() else []
    wanted = [str(each.data.get("file")) for each in sent]
    problems = [] if sorted(files) == sorted(wanted) else [f"in the outbox {files}, in the record {wanted}"]
    problems += [f"{file} is there {count} times" for file, count in Counter(wanted).items() if count != 1]
    problems += [] if files else ["nothing was sent"]
    return _finding("what was allowed before the kill was sent once, not never and not twice", problems)


def _died_and_rose(client: Client) -> Finding:
    nodes = [each.data.get("pid") for each in all_events(client, "node.started")]
    problems = [] if len(set(nodes)) > 1 else ["the node was not killed, so nothing was shown"]
    lost = [row.id for kind in ("turn", "goal", "delivery") for row in all_tasks(client, kind=kind) if row.dead]
    problems += [f"{each} is a dead letter" for each in lost]
    return _finding(f"the node was killed and started again ({len(nodes)} starts); no task failed", problems)


def _costs(client: Client, day: Day) -> Finding:
    view = client.call(cost_api.show, cost_api.WhichCost(by="model", since="30d"))
    spent = "an unknown sum" if view.usd is None else f"${view.usd:.2f}"
    problems = [f"{spent} was spent"] if day.costs_nothing and view.usd != 0 else []
    return _finding(f"{view.calls} model calls, {view.tokens:,} tokens, {spent}", problems)
