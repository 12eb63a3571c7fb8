"""Events as sentences: the one place where the record is put into words, for screens, logs and notes.

A sentence leaves out the time and ends without a period. What agents and outsiders wrote is quoted and cut, never
interpreted; whoever prints it escapes it. Knows nothing of screens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ostinato.domain.errors import NotFound
from ostinato.domain.event import Event, EventName
from ostinato.domain.message import Message
from ostinato.domain.question import Action, Question
from ostinato.domain.task import Task, TaskKind
from ostinato.domain.values import Value
from ostinato.store.port import Flag, Reads
from ostinato.workspace.tasks_file import TASKS_FILE

QUOTE_CHARS_MAX = 120
"""How much of a foreign text a sentence quotes."""


class Known(Value):
    """What events speak of, as far as it is still there: it makes their sentences say more than ids."""

    tasks: Mapping[int, Task] = {}
    questions: Mapping[int, Question] = {}
    messages: Mapping[int, Message] = {}


def known_of(tx: Reads, events: Sequence[Event]) -> Known:
    """Reads what these events speak of."""
    tasks = {each.task for each in events if each.task}
    questions = {number for each in events if isinstance(number := each.data.get("question"), int)}
    messages = {number for each in events if isinstance(number := each.data.get("message"), int)}
    return Known(
        tasks={number: task for number in tasks if (task := _found(tx.task, number)) is not None},
        questions={number: each for number in questions if (each := _found(tx.question, number)) is not None},
        messages=tx.messages_by_id(sorted(messages)),
    )


def _found(read: Callable[[int], Any], number: int) -> Any:
    """What is there, or None where it was pruned."""
    try:
        return read(number)
    except NotFound:
        return None


def quoted(text: object, *, chars_max: int = QUOTE_CHARS_MAX) -> str:
    """A text in quotation marks on one line, cut where it is long; its own marks become single ones."""
    inner = one_line(text, chars_max=chars_max).replace('"', "'")
    return f'"{inner}"'


def one_line(text: object, *, chars_max: int = QUOTE_CHARS_MAX) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def action_words(action: Action, *, chars_max: int = 100) -> str:
    """An action on one line, short arguments first, so that a long text cannot push the recipient out of sight."""
    shown = [f"{key}={value!r}" for key, value in action.arguments.items()]
    shown.sort(key=len)
    return one_line(f"{action.tool}({', '.join(shown)})", chars_max=chars_max)


def question_words(question: Question, *, chars_max: int = 100) -> str:
    """What a question is about, on one line: the action itself where there is one."""
    if question.action is not None:
        return f"before {action_words(question.action, chars_max=chars_max)}"
    return quoted(question.text, chars_max=chars_max)


_ABOUT_TASKS = {
    EventName.TASK_APPROVED: "{task} was approved by {actor}",
    EventName.TASK_RELEASED: "{task} is ready to be worked on",
    EventName.TASK_BLOCKED: "{task} is blocked",
    EventName.TASK_DONE: "{agent} finished {task}",
    EventName.TASK_ANSWERED: "{task} was answered from the result of {source}",
    EventName.TASK_REVIEW: "{agent} finished {task}, which somebody must accept",
    EventName.TASK_RETURNED: "{task} was returned with notes by {actor}",
    EventName.TASK_PARKED: "{task} is waiting",
    EventName.TASK_WOKEN: "{task} goes on",
    EventName.TASK_RETRIED: "{task} met an error and will be tried again",
    EventName.TASK_REQUEUED: "{task} was given back and will go on",
    EventName.TASK_FAILED: "{task} failed and is a dead letter",
    EventName.TASK_CANCELLED: "{task} was cancelled by {actor}",
    EventName.TASK_REPLAYED: "{task} is tried again on the word of {actor}",
    EventName.TASK_DISMISSED: "{task} was dismissed by {actor}",
    EventName.TASK_LATE: "{task} was no longer held when a call of it ended: kept as evidence, and nothing else",
    EventName.TASK_STALLED: "{task} of {agent} has come to a standstill",
    EventName.TURN_LIMITED: "{task} reached a limit",
}

_ABOUT_OTHERS = {
    EventName.QUESTION_REMINDED: "{question} of {agent} was asked once more: nobody has answered yet",
    EventName.QUESTION_ESCALATED: "{question} of {agent} was put to {to}, because nobody has answered",
    EventName.BUDGET_WARNED: "the budget {scope} is nearly used up",
    EventName.AUDIT_BROKEN: "the record of what people did was tampered with",
    EventName.PERMISSION_ADDED: "{actor} allowed {agent} {tool} for good, as {permission} says",
    EventName.PERMISSION_REVOKED: "{actor} took back {permission}, of {agent} for {tool}",
    EventName.PROCESS_DIRECTED: "{actor} took {task} of {agent} in hand: {text}",
    EventName.TAINT_CLEARED: "{actor} has looked at what strangers wrote into the files of {agent}",
    EventName.HEARTBEAT_FIRED: "the {heartbeat} of {agent} fired",
    EventName.HEARTBEAT_SKIPPED: "the {heartbeat} of {agent} was skipped, no model was asked",
    EventName.SCHEDULE_FIRED: "the schedule {schedule} fired for {agent}",
    EventName.SCHEDULE_MISSED: "times of {schedule} passed unseen",
    EventName.SCHEDULE_CORRECTED: "what was due too late is due by today's clock again",
    EventName.SCHEDULE_ADDED: "the schedule {schedule} was {added} for {agent} by {actor}",
    EventName.SCHEDULE_REMOVED: "the schedule {schedule} was removed by {actor}",
    EventName.FILE_TAKEN: "the file {file} was taken from the inbox{for_agent}",
    EventName.FILE_REFUSED: "the file {file} in the inbox was moved aside{for_agent}",
    EventName.TOKEN_ADDED: "{actor} gave {person} a token ({role})",
    EventName.TOKEN_REVOKED: "{actor} revoked a token of {person}",
    EventName.BREAKER_OPENED: "{breaker} is in trouble and is left alone for a while",
    EventName.BREAKER_CLOSED: "{breaker} works again",
    EventName.PIN_CHANGED: "{pin} has changed and is withheld until a person accepts it",
    EventName.PIN_ACCEPTED: "{actor} accepted {pin} as it is now",
    EventName.RULE_MISSED: "a rule could not be judged for {task} and was passed over",
    EventName.NODE_STARTED: "the node started{pid}",
    EventName.NODE_STOPPED: "the node stopped in order",
    EventName.NODE_LOST: "a node was lost; its work goes on",
    EventName.LIMITS_CHANGED: "the limits of queues have changed",
    EventName.AGENT_SCALED: "{actor} let {agent} do {at_once} at once",
    EventName.AGENT_LOADED: "the files of {agent} were read{version}",
    EventName.AGENT_PLACED: "tasks of {agent} wait for nodes of the pool {pool} from now on",
    EventName.AGENT_INVALID: "{agent} cannot run, its files are invalid",
    EventName.STORE_CHECKED: "the database was checked",
    EventName.DISK_FULL: "the disk is full: nothing can be written until there is room",
}

_NOTHING = Known()


def sentence(event: Event, known: Known = _NOTHING) -> str:
    """What happened, in one sentence."""
    words = _words(event, known)
    reason = one_line(event.reason, chars_max=200)
    if reason and reason not in words and event.name is not EventName.DELIVERY_SENT:
        words += f": {reason}"
    return words


def _words(event: Event, known: Known) -> str:
    special = _SPECIAL.get(event.name)
    if special is not None:
        return special(event, known)
    if event.name in _ABOUT_TASKS:
        words = _filled(event, known, _ABOUT_TASKS[event.name])
        return words + _outcome(event, known)
    return _filled(event, known, _ABOUT_OTHERS[event.name])


def _outcome(event: Event, known: Known) -> str:
    task = known.tasks.get(event.task or 0)
    if task is None or task.result is None or event.at != task.finished_at:
        return ""
    if event.name is EventName.TASK_DONE and task.result.text:
        return f": {quoted(task.result.text)}"
    if event.name is EventName.TASK_FAILED and task.result.error:
        return f": {one_line(task.result.error)}"
    return ""


def _task_added(event: Event, known: Known) -> str:
    task = known.tasks.get(event.task or 0)
    draft = task is not None and task.state.value == "draft"
    how = "was proposed" if draft else "was added"
    delivery = task is not None and task.kind is TaskKind.DELIVERY  # the runtime's own, of no agent
    owner = f" for {event.agent}" if event.agent else "" if delivery else ", for nobody in particular,"
    return f"{_task(event, known)} {how}{owner} by {event.actor}"


def _task_claimed(event: Event, known: Known) -> str:
    attempt = event.data.get("attempt")
    began = "went on with" if isinstance(attempt, int) and attempt > 1 else "began"
    return f"{event.agent or 'the runtime'} {began} {_task(event, known)}"


def _task_changed(event: Event, known: Known) -> str:
    before, after = event.data.get("from"), event.data.get("to")
    changes = ""
    if isinstance(before, dict) and isinstance(after, dict):
        changes = ": " + ", ".join(f"{key} {before.get(key)} → {value}" for key, value in after.items())
    return f"{_task(event, known)} was changed by {event.actor}{one_line(changes)}"


def _task_noted(event: Event, known: Known) -> str:
    return f"{event.actor} left a comment on {_task(event, known)}: {quoted(event.data.get('text', ''))}"


def _message(event: Event, known: Known) -> str:
    message = known.messages.get(_number(event.data.get("message")))
    who = event.agent or event.session or "a session"
    if message is None:
        return f"{who} got a message ({event.data.get('source', 'unknown')})"
    kind = message.source.value
    sender = f" from {one_line(message.sender, chars_max=60)}" if message.sender != kind else ""
    return f"{who} got a message ({kind}{sender}): {quoted(message.text)}"


def _question_asked(event: Event, known: Known) -> str:
    question = known.questions.get(_number(event.data.get("question")))
    who = event.agent or "an agent"
    if question is None:
        return f"{who} asks a person, {_question(event)}"
    return f"{who} asks a person, {question.name}: {question_words(question)}"


def _question_settled(event: Event, known: Known) -> str:
    question = known.questions.get(_number(event.data.get("question")))
    decision = str(event.data.get("state", "settled"))
    who = f" by {event.actor}" if event.actor != "runtime" else ""
    changed = " with changed arguments" if event.data.get("edited") else ""
    tool = f", {question.action.tool}," if question and question.action else ""
    said = f": {quoted(question.answer)}" if question and question.answer else ""
    return f"{_question(event)}{tool} of {event.agent or 'an agent'} was {decision}{who}{changed}{said}"


def _delivery(event: Event, _known: Known) -> str:
    to = one_line(event.data.get("to") or "its recipient", chars_max=80)
    said = event.data.get("subject") or event.reason or event.data.get("text")
    return f"{event.agent or 'the runtime'} sent a message to {to}{f': {quoted(said)}' if said else ''}"


def _flag(event: Event, _known: Known) -> str:
    scope = str(event.data.get("scope") or "fleet")
    name = str(event.data.get("flag") or event.data.get("name") or "halted")
    what = "the fleet" if scope == "fleet" else scope.replace(":", " ", 1)
    if event.name is EventName.FLAG_CLEARED:
        return f"{event.actor} let {what} go on, it is no longer {name}"
    return f"{event.actor} stopped {what}" if name == "halted" else f"{event.actor} made {what} {name}"


def _file(event: Event, known: Known) -> str:
    """TASKS.md is in no inbox, and is never moved aside."""
    if event.data.get("file") != TASKS_FILE:
        return _filled(event, known, _ABOUT_OTHERS[event.name])
    if event.name is EventName.FILE_REFUSED:
        return f"{TASKS_FILE} is not kept for now: {one_line(event.reason, chars_max=200)}"
    return f"a line was taken from {one_line(event.reason, chars_max=200)}"


_SPECIAL: Mapping[EventName, Callable[[Event, Known], str]] = {
    EventName.FILE_TAKEN: _file,
    EventName.FILE_REFUSED: _file,
    EventName.TASK_ADDED: _task_added,
    EventName.TASK_CLAIMED: _task_claimed,
    EventName.TASK_CHANGED: _task_changed,
    EventName.TASK_NOTED: _task_noted,
    EventName.MESSAGE_APPENDED: _message,
    EventName.QUESTION_ASKED: _question_asked,
    EventName.QUESTION_SETTLED: _question_settled,
    EventName.DELIVERY_SENT: _delivery,
    EventName.FLAG_SET: _flag,
    EventName.FLAG_CLEARED: _flag,
}


_HOLDS = {"halted": "killed", "paused": "paused", "draining": "told to drain"}


def held_words(flag: Flag) -> str:
    """Who holds a scope, and why: `clerk was killed by ann: it writes to the wrong people`."""
    kind, _, name = flag.scope.partition(":")
    who = {"fleet": "the fleet", "agent": name, "task": f"T{name}"}.get(kind, f"{kind} {name}")
    how = "stopped" if kind == "fleet" and flag.name == "halted" else _HOLDS.get(flag.name, flag.name)
    return f"{who} was {how} by {flag.actor}{f': {one_line(flag.reason)}' if flag.reason else ''}"


def _filled(event: Event, known: Known, words: str) -> str:
    data = event.data
    schedule = one_line(data.get("schedule") or data.get("name") or "a schedule", chars_max=80)
    beat = one_line(data.get("heartbeat") or schedule.rpartition(":")[2] or "heartbeat", chars_max=80)
    fields: dict[str, Any] = {
        "actor": event.actor,
        "agent": event.agent or event.actor,
        "task": _task(event, known),
        "question": _question(event),
        "heartbeat": beat if beat == "heartbeat" else f"heartbeat {beat}",
        "schedule": schedule,
        "added": "changed" if data.get("changed") else "added",
        "file": one_line(data.get("file") or data.get("name") or data.get("path") or "", chars_max=80),
        "person": one_line(data.get("person") or "somebody", chars_max=80),
        "role": data.get("role") or "",
        "at_once": f"{data.get('concurrency') or 1} tasks",
        "pool": one_line(data.get("pool") or "default", chars_max=80),
        "pin": one_line(data.get("pin") or "something", chars_max=80),
        "scope": one_line(str(data.get("scope") or "of somebody").replace(":", " ", 1), chars_max=80),
        "to": one_line(data.get("to") or "somebody else", chars_max=80),
        "tool": one_line(data.get("tool") or "a tool", chars_max=80),
        "source": one_line(data.get("source") or "another task", chars_max=80),
        "permission": f"P{data['permission']}" if isinstance(data.get("permission"), int) else "a permission",
        "breaker": one_line(str(data.get("breaker") or "something").replace(":", " ", 1), chars_max=80),
        "for_agent": f" for {event.agent}" if event.agent else "",
        "text": one_line(data.get("text") or "a process", chars_max=80),
        "pid": f" (pid {data['pid']})" if data.get("pid") else "",
        "version": f" ({str(data['version'])[:12]})" if data.get("version") else "",
    }
    return words.format_map(fields)


def _question(event: Event) -> str:
    number = event.data.get("question")
    return f"Q{number}" if isinstance(number, int) else "a question"


def _task(event: Event, known: Known) -> str:
    if not event.task:
        return "a task"
    task = known.tasks.get(event.task)
    return f"T{event.task} {quoted(task.title, chars_max=60)}" if task else f"T{event.task}"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
