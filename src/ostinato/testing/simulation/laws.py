"""What must hold of every run, judged by the log of the world outside, and by what the store holds in the end.

Each law yields a line for each time it is broken. Pure; knows nothing of how a run is made.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator

from ostinato.domain.event import EventName
from ostinato.domain.ledger import day_of
from ostinato.domain.message import OPERATOR_SESSION
from ostinato.domain.question import QuestionKind, QuestionState
from ostinato.domain.step import Input, Note, Step, ToolIntent, ToolOutcome
from ostinato.domain.task import ENDED, TaskState, WaitKind
from ostinato.domain.values import SECOND
from ostinato.testing.simulation.outside import Line, What
from ostinato.testing.simulation.run import Run
from ostinato.testing.simulation.story import AddTask, Say

Findings = Iterator[str]

HALT_US = SECOND
"""What is halted does nothing new after a second."""

_ENDS = frozenset({EventName.TASK_DONE, EventName.TASK_FAILED, EventName.TASK_CANCELLED})

UNREPEATABLE = frozenset({"reversible", "irreversible"})


def judge(run: Run) -> list[str]:
    """Everything that is wrong with a run."""
    return [*run.accidents, *(f"{law.__name__}: {found}" for law in LAWS for found in law(run))]


# --- nothing is lost --------------------------------------------------------------------------------------------------


def acknowledged_is_kept(run: Run) -> Findings:
    """What somebody was told is safe is there, once, as the one that they were told of."""
    tasks = {task.key: task for task in run.left.tasks if task.key}
    wanted = {each.key for _, each in run.story.happenings if isinstance(each, AddTask)}
    said = {each.message.client_id for _, each in run.story.happenings if isinstance(each, Say)}
    for line in _of(run, What.SENT):
        if line.name in wanted:
            task = tasks.get(line.name)
            if task is None or task.name != line.task:
                yield f"{line.name} was to be {line.task}, and is {task.name if task else 'nowhere'}"
        elif line.name in said:
            found = [each for each in run.left.messages.get(line.key, ()) if each.client_id == line.name]
            if [str(each.id) for each in found] != [line.call]:
                yield f"{line.name} was to be M{line.call} in {line.key}, and is {[each.id for each in found]}"


def no_message_is_left_behind(run: Run) -> Findings:
    """What was said in a session after its last turn began to read was read by another one."""
    # Not by its time: a clock may have been set back meanwhile. Events are numbered in the order of commits.
    ends = {event.task: event.id for event in run.left.events if event.name in _ENDS}
    for key, messages in run.left.messages.items():
        unread = [each for each in messages if each.id > run.left.cursors[key]]
        if key == OPERATOR_SESSION or not unread:
            continue
        turns = [task for task in run.left.tasks if task.session == key]
        if any(task.state not in ENDED for task in turns):
            continue
        last = max(turns, key=lambda task: ends.get(task.id, 0), default=None)
        if last is None or last.state is TaskState.DONE:
            yield f"M{unread[0].id} in {key} was never read, and {last.name if last else 'nobody'} is done"
            continue
        began = [line.at_us for line in _of(run, What.ASKED) if line.task == last.name]
        late = [each for each in _of(run, What.SENT) if each.call == str(unread[-1].id) and each.key == key]
        ended = [line.at_us for line in run.lines if line.task == last.name]
        if late and began and late[0].at_us > max(ended, default=0) + SECOND and last.state is TaskState.FAILED:
            yield f"M{unread[-1].id} in {key} came after the end of {last.name}, and was never read"


def messages_are_read_once_and_in_order(run: Run) -> Findings:
    """Over all turns of a session."""
    sessions = {task.id: task.session for task in run.left.tasks}
    journals = {task.id: task.journal for task in run.left.tasks}
    read: dict[str | None, list[tuple[int, int]]] = {}
    for step in sorted(run.left.steps, key=lambda step: (step.task, step.journal, step.seq)):
        if isinstance(step.entry, Input) and step.journal == journals[step.task]:
            read.setdefault(sessions[step.task], []).extend((number, step.task) for number in step.entry.messages)
    for session, numbers in read.items():
        times = Counter(number for number, _ in numbers)
        for number, count in times.items():
            if count > 1:
                yield f"M{number} was read {count} times in {session}"
        for (one, task), (two, other) in itertools.pairwise(numbers):
            if two <= one and task == other:
                yield f"M{two} was read after M{one} by T{task}"


# --- nothing is done twice --------------------------------------------------------------------------------------------


def tasks_end_once(run: Run) -> Findings:
    """One completion for each, as recorded and as told; a parent hears of each child once."""
    done = Counter(each.task for each in run.left.attempts if each.outcome == "done")
    told = Counter(each.task for each in run.left.events if each.name is EventName.TASK_DONE)
    for task in run.left.tasks:
        if done[task.id] > 1 or told[task.id] > 1:
            yield f"{task.name} was completed {max(done[task.id], told[task.id])} times"
        if (task.state is TaskState.DONE) != (told[task.id] == 1):
            yield f"{task.name} is {task.state.value}, and was told of {told[task.id]} times"
    for key, messages in run.left.messages.items():
        times = Counter(each.client_id for each in messages if each.client_id)
        for name, count in times.items():
            if count > 1:
                yield f"{name} came {count} times to {key}"


def what_cannot_be_undone_happens_once(run: Run) -> Findings:
    """Each call at most, unless a person who looked said that it had not happened, and each only after its intent."""
    intents = {step.entry.key: step for step in run.left.steps if isinstance(step.entry, ToolIntent)}
    did = _of(run, What.DID)
    for key, times in Counter(line.key for line in did if line.effect in UNREPEATABLE).items():
        if times > 1:
            yield f"{_named(did, key)} was done {times} times"
    for key in {line.key for line in did} - intents.keys():
        yield f"{_named(did, key)} was done, and nothing of it is in any journal"


def gated_deeds_were_allowed(run: Run) -> Findings:
    """The clerk does nothing irreversible that a person has not allowed, in these words and this often."""
    agents = {task.name: task.agent for task in run.left.tasks}
    allowed = Counter(
        line.text for line in _of(run, What.DECIDED) if line.name == "allowed" and line.effect == "approval"
    )
    did = {line.key: line for line in _of(run, What.DID) if line.effect == "irreversible"}.values()
    for name, times in Counter(line.name for line in did if agents.get(line.task) == "clerk").items():
        if times > allowed[name]:
            yield f"{name!r} was done {times} times, and allowed {allowed[name]} times"


def letters_are_written_once(run: Run) -> Findings:
    """A file for each that is delivered, and no other."""
    letters = [task for task in run.left.tasks if task.spec.input.get("tool") == "mail.outbox"]
    ids = {f"{task.spec.input['arguments']['id']}.eml": task for task in letters}
    for name in run.left.letters:
        if name not in ids:
            yield f"{name} is a letter that nobody wrote"
    for name, task in ids.items():
        if task.state is TaskState.DONE and name not in run.left.letters:
            yield f"{task.name} is delivered, and {name} is not there"


def what_is_unknown_is_said_aloud(run: Run) -> Findings:
    """What took effect has a result in the journal, or a question, or words that it is unknown."""
    steps = _by_task(run)
    tasks = {task.id: task for task in run.left.tasks}
    asked = {(each.task, each.call_id) for each in run.left.questions if each.kind is QuestionKind.UNKNOWN}
    for line in {line.key: line for line in _of(run, What.DID) if line.effect in UNREPEATABLE}.values():
        number = int(line.task[1:])
        task = tasks[number]
        journal = [step for step in steps[number] if isinstance(step.entry, ToolIntent) and step.entry.key == line.key]
        if not journal:
            continue  # another law's
        where = journal[0].journal
        settled = any(
            isinstance(step.entry, ToolOutcome) and step.entry.call_id == line.call and step.journal == where
            for step in steps[number]
        )
        told = where < task.journal and any(
            isinstance(step.entry, Note) and "earlier try" in step.entry.text and step.journal > where
            for step in steps[number]
        )
        if not settled and not told and (number, line.call) not in asked and task.state not in _STOPPED:
            yield f"{line.name} took effect, and {line.task} ({task.state.value}) says nothing of it"


_STOPPED = frozenset({TaskState.CANCELLED, TaskState.FAILED})
"""Ended by somebody in the middle of a call; its intent stands in the journal."""


# --- rest, limits, stops ----------------------------------------------------------------------------------------------


def everything_ends_or_waits_for_something_named(run: Run) -> Findings:
    """When nothing goes wrong any more, and people have answered."""
    pending = {each.task for each in run.left.questions if each.state is QuestionState.PENDING}
    tasks = {task.id: task for task in run.left.tasks}
    end_at = run.left.ended_at
    for task in run.left.tasks:
        if task.state in ENDED or task.state is TaskState.DRAFT:
            continue
        if task.state is TaskState.BLOCKED and task.reason:
            continue
        if task.state is TaskState.READY and task.not_before_at > end_at:
            continue
        if task.state is TaskState.WAITING and task.wait is not None:
            match task.wait.kind:
                case WaitKind.QUESTION | WaitKind.UNKNOWN if task.id in pending:
                    continue
                case WaitKind.TIME if task.wait.until_at and task.wait.until_at > end_at:
                    continue
                case WaitKind.CHILD if any(tasks[int(ref.lstrip("T"))].state not in ENDED for ref in task.wait.refs):
                    continue
                case _:
                    pass
        yield f"{task.name} ({task.kind.value}) is {task.state.value}: {task.reason} {task.wait}"


def no_budget_is_exceeded(run: Run) -> Findings:
    """Neither an agent's days nor the fleet's, with what people have granted."""
    days = len({day_of(each.at) for each in run.left.events})
    granted: Counter[str] = Counter()
    for question in run.left.questions:
        if question.budget is not None and question.state is QuestionState.ALLOWED:
            more = (question.arguments or {}).get("more", question.budget.step)
            granted[question.budget.scope.removeprefix("agent:")] += round(float(more))
    spent = {each.name: each.usd_micros for each in run.left.spending}
    spent["fleet"] = sum(each.usd_micros for each in run.left.spending)
    for who, limit in run.left.limits.items():
        if spent.get(who, 0) > limit * days + granted[who]:
            yield f"{who} spent {spent[who]} of {limit} micro-dollars, with {granted[who]} granted"


def halted_means_nothing_new(run: Run) -> Findings:
    """From a second after a person was told so until they let it go on."""
    agents = {task.name: (task.agent, task.session) for task in run.left.tasks}
    halted: dict[str, int] = {}
    late: set[str] = set()
    for line in run.lines:
        if line.what is What.DECIDED and line.name == "halted":
            if line.key not in late:
                halted[line.key] = line.at_us + HALT_US
        elif line.what is What.DECIDED and line.name == "go on":
            halted.pop(line.key, None)
            late.add(line.key)  # it is asked for until it is heard, and may undo a later stop
        elif line.what in (What.ASKED, What.DID):
            agent, session = agents.get(line.task, (None, None))
            scopes = {"fleet", f"agent:{agent}", f"session:{session}", f"task:{line.task[1:]}"}
            for scope in sorted(scopes & halted.keys()):
                if line.at_us > halted[scope]:
                    yield f"{line.what.value} {line.name} {line.task} {line.call} while {scope} was halted"


def one_turn_at_a_time(run: Run) -> Findings:
    """No two tasks of one session are asked for or at work at the same time, and no two attempts of one task."""
    sessions = {task.name: task.session for task in run.left.tasks if task.session}
    open_: dict[str, dict[tuple[str, str], int]] = {}
    node = 0
    for line in run.lines:
        if line.node != node:
            node = line.node
            open_.clear()
        session = sessions.get(line.task)
        if session is None or line.what not in (What.ASKED, What.REPLIED, What.DID, What.ENDED):
            continue
        working = open_.setdefault(session, {})
        call = (line.task, line.call)
        if line.what in (What.REPLIED, What.ENDED):
            working.pop(call, None)
            continue
        if line.what is What.ASKED and any(other == line.task and "." not in each for other, each in working):
            yield f"{line.task} is asked for at {line.at_us} by two attempts at once"
        for other, _ in working:
            if other != line.task:
                yield f"{line.task} works in {session} at {line.at_us} while {other} does"
        working[call] = line.at_us


def the_engine_was_not_surprised(run: Run) -> Findings:
    """It has nothing to say but what was done to it."""
    for line in _of(run, What.NOTICE):
        expected = "disk is full" in line.text or line.name in ("AttemptStuck",)
        if not expected and not (line.name == "StoreChecked" and line.text == "ok"):
            yield f"{line.name}: {line.text} {line.key}"


LAWS: tuple[Callable[[Run], Findings], ...] = (
    acknowledged_is_kept,
    no_message_is_left_behind,
    messages_are_read_once_and_in_order,
    tasks_end_once,
    what_cannot_be_undone_happens_once,
    gated_deeds_were_allowed,
    letters_are_written_once,
    what_is_unknown_is_said_aloud,
    everything_ends_or_waits_for_something_named,
    no_budget_is_exceeded,
    halted_means_nothing_new,
    one_turn_at_a_time,
    the_engine_was_not_surprised,
)
"""All of them."""


def _of(run: Run, what: What) -> list[Line]:
    return [line for line in run.lines if line.what is what]


def _named(lines: list[Line], key: str) -> str:
    line = next(line for line in lines if line.key == key)
    return f"{line.name} ({line.task}, call {line.call}, {line.effect})"


def _by_task(run: Run) -> dict[int, list[Step]]:
    found: dict[int, list[Step]] = {task.id: [] for task in run.left.tasks}
    for step in run.left.steps:
        found[step.task].append(step)
    return found
