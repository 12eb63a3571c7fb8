"""Events as sentences: the one place where the record is put into words, for screens, logs and notes.

A sentence leaves out the time and ends without a period. What agents and outsiders wrote is quoted and cut, never
interpreted; whoever prints it escapes it. Knows nothing of stores or screens.
"""

from __future__ import annotations

from typing import Any

from ostinato.domain.event import Event, EventName

QUOTE_CHARS_MAX = 120
"""How much of a foreign text a sentence quotes."""


def quoted(text: object, *, chars_max: int = QUOTE_CHARS_MAX) -> str:
    """A text in quotation marks on one line, cut where it is long."""
    line = " ".join(str(text).split())
    if len(line) > chars_max:
        line = line[: chars_max - 1] + "…"
    return f'"{line}"'


_TASK_WORDS = {
    EventName.TASK_APPROVED: "was approved by {actor}",
    EventName.TASK_RELEASED: "is ready to be worked on",
    EventName.TASK_BLOCKED: "is blocked",
    EventName.TASK_CLAIMED: "was taken up by {agent}",
    EventName.TASK_DONE: "was finished by {agent}",
    EventName.TASK_REVIEW: "has a result that somebody must accept",
    EventName.TASK_RETURNED: "was returned with notes by {actor}",
    EventName.TASK_PARKED: "is waiting",
    EventName.TASK_WOKEN: "goes on",
    EventName.TASK_RETRIED: "failed and will be tried again",
    EventName.TASK_REQUEUED: "was given back and will go on",
    EventName.TASK_FAILED: "failed and is a dead letter",
    EventName.TASK_CANCELLED: "was cancelled by {actor}",
    EventName.TASK_REPLAYED: "is tried again on the word of {actor}",
    EventName.TASK_DISMISSED: "was dismissed by {actor}",
    EventName.TASK_CHANGED: "was changed by {actor}",
    EventName.TASK_NOTED: "got a comment from {actor}",
    EventName.TURN_LIMITED: "reached a limit of its turn",
}

_OTHER_WORDS = {
    EventName.QUESTION_REMINDED: "{question} of {agent} was asked once more: nobody has answered yet",
    EventName.HEARTBEAT_FIRED: "the {heartbeat} of {agent} fired",
    EventName.SCHEDULE_FIRED: "the schedule {name} fired for {agent}",
    EventName.SCHEDULE_MISSED: "the schedule {name} missed a time",
    EventName.SCHEDULE_ADDED: "{actor} added the schedule {name} for {agent}",
    EventName.SCHEDULE_REMOVED: "{actor} removed the schedule {name}",
    EventName.FILE_TAKEN: "the file {file} was taken from the inbox",
    EventName.FILE_REFUSED: "the file {file} was moved aside",
    EventName.DELIVERY_SENT: "{task} delivered to {to}",
    EventName.NODE_STARTED: "the node started{node}",
    EventName.NODE_STOPPED: "the node stopped in order{node}",
    EventName.NODE_LOST: "a node was lost{node}; its work goes on",
    EventName.AGENT_LOADED: "{agent} was loaded{version}",
    EventName.AGENT_INVALID: "{agent} cannot run: its files are invalid",
    EventName.STORE_CHECKED: "the database was checked{result}",
    EventName.DISK_FULL: "the disk is full: nothing can be written until there is room",
}


def sentence(event: Event) -> str:
    """What happened, in one sentence."""
    words = _sentence(event)
    if event.reason and event.reason not in words:
        words += f": {_line(event.reason)}"
    return words


def _sentence(event: Event) -> str:
    if event.name is EventName.TASK_ADDED:
        return _task_added(event)
    if event.name in _TASK_WORDS:
        return _about_task(event, _TASK_WORDS[event.name])
    if event.name is EventName.MESSAGE_APPENDED:
        return _message(event)
    if event.name in (EventName.QUESTION_ASKED, EventName.QUESTION_SETTLED):
        return _question(event)
    if event.name is EventName.HEARTBEAT_SKIPPED:
        return _skipped(event)
    if event.name in (EventName.FLAG_SET, EventName.FLAG_CLEARED):
        return _flag(event)
    return _filled(event, _OTHER_WORDS.get(event.name, event.name.value))


def _task_added(event: Event) -> str:
    data = event.data
    kind = str(data.get("kind") or "goal")
    noun = {"goal": "task", "fire": "wake-up"}.get(kind, kind)
    owner = f" for {event.agent}" if event.agent else ", which nobody can do yet"
    how = "was proposed" if data.get("draft") or data.get("state") == "draft" else "was added"
    return f"{_name(event)}{_title(data)} {how} as a {noun}{owner} by {event.actor}"


def _about_task(event: Event, words: str) -> str:
    data = event.data
    text = f"{_name(event)}{_title(data)} {_filled(event, words)}"
    if said := data.get("text") or data.get("result"):
        text += f": {quoted(said)}" if isinstance(said, str) else ""
    if error := data.get("error"):
        text += f": {_line(error)}"
    return text


def _message(event: Event) -> str:
    data = event.data
    source = str(data.get("source") or "message")
    sender = str(data.get("sender") or event.actor)
    said = f": {quoted(data['text'])}" if data.get("text") else ""
    return f"{event.agent or 'a session'} got a message ({source} from {_line(sender)}){said}"


def _question(event: Event) -> str:
    data = event.data
    name = _question_name(data)
    tool = f" about {data['tool']}" if data.get("tool") else ""
    if event.name is EventName.QUESTION_ASKED:
        said = f": {quoted(data['text'])}" if data.get("text") else ""
        return f"{event.agent or 'an agent'} asks a person, {name}{tool}{said}"
    decision = str(data.get("state") or data.get("decision") or "settled")
    who = f" by {event.actor}" if event.actor != "runtime" else ""
    said = f": {quoted(data['answer'])}" if data.get("answer") else ""
    return f"{name}{tool} of {event.agent or 'an agent'} was {decision}{who}{said}"


def _skipped(event: Event) -> str:
    count = event.data.get("count")
    times = f", {count} times in a row" if isinstance(count, int) and count > 1 else ""
    beat = _line(event.data.get("heartbeat") or "heartbeat")
    return f"the {beat} of {event.agent} had nothing to do{times}, no model was asked"


def _flag(event: Event) -> str:
    scope = str(event.data.get("scope") or event.agent or "fleet")
    name = str(event.data.get("flag") or event.data.get("name") or "paused")
    what = "the fleet" if scope == "fleet" else scope.replace("agent:", "agent ")
    if event.name is EventName.FLAG_SET:
        return f"{event.actor} {'stopped' if name == 'halted' else name} {what}"
    return f"{event.actor} let {what} go on (no longer {name})"


def _filled(event: Event, words: str) -> str:
    data = event.data
    fields: dict[str, Any] = {
        "actor": event.actor,
        "agent": event.agent or event.actor,
        "task": _name(event),
        "question": _question_name(data),
        "heartbeat": _line(data.get("heartbeat") or "heartbeat"),
        "name": _line(data.get("name") or data.get("schedule") or ""),
        "file": _line(data.get("file") or data.get("name") or data.get("path") or ""),
        "to": _line(data.get("to") or data.get("recipient") or "its recipient"),
        "node": f" (pid {data['pid']})" if data.get("pid") else "",
        "version": f" ({str(data['version'])[:12]})" if data.get("version") else "",
        "result": f": {_line(data['result'])}" if data.get("result") else "",
    }
    return words.format_map(fields)


def _question_name(data: dict[str, Any]) -> str:
    question = data.get("question") or data.get("id")
    return f"Q{question}" if isinstance(question, int) else str(question or "a question")


def _name(event: Event) -> str:
    return f"T{event.task}" if event.task else "a task"


def _title(data: dict[str, Any]) -> str:
    return f" {quoted(data['title'], chars_max=60)}" if data.get("title") else ""


def _line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= QUOTE_CHARS_MAX else line[: QUOTE_CHARS_MAX - 1] + "…"
