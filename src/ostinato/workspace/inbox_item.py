"""What a file dropped into an inbox says: tasks, proposals or messages, or nothing but itself, an attachment.

Pure: bytes in, values out. Knows nothing of folders, or of what becomes of an item.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from ostinato.domain.dependency import parted
from ostinato.domain.errors import Invalid
from ostinato.domain.instant import parse_instant
from ostinato.domain.review import ByCommand, ReviewTerms
from ostinato.domain.task import After, Condition
from ostinato.domain.values import Instant, Trust, Value
from ostinato.workspace.agent_file import check_agent_id, parse_review
from ostinato.workspace.failure_rules import FAILURE_KEYS, NO_RULES, FailureRules, parse_failure_rules
from ostinato.workspace.fields import Fields
from ostinato.workspace.file_text import text_of
from ostinato.workspace.front_matter import Node, split_front_matter

ITEM_KEYS = (
    "kind",
    "agent",
    "session",
    "title",
    "goal",
    "priority",
    "project",
    "type",
    "skills",
    "after",
    "any",
    "not_before",
    "deadline",
    "timeout",
    "cache",
    "fresh",
    "model",
    "input",
    "review",
    *FAILURE_KEYS,
    "delegation",
    "key",
)
"""Keys of an item, in front matter or JSON. In Markdown the goal may be the prose instead."""

ITEMS_MAX = 200
"""Items of one JSON file."""

GOAL_CHARACTERS_MAX = 100_000
TITLE_CHARACTERS_MAX = 200
JSON_DEPTH_MAX = 20


class ItemKind(enum.StrEnum):
    """What becomes of an item: a task that can run, a draft that a person approves, or a message to an agent."""

    TASK = "task"
    PROPOSAL = "proposal"
    MESSAGE = "message"


class RawAttachment(Value):
    """A file as it was dropped."""

    name: str
    media_type: str
    data: bytes


class InboxItem(Value):
    """One thing that somebody wants."""

    kind: ItemKind = ItemKind.TASK
    agent: str | None = None
    session: str | None = None
    title: str
    goal: str = ""
    priority: int = 0
    project: str = ""
    type: str = ""
    skills: tuple[str, ...] = ()
    after: tuple[int | After, ...] = ()
    """Tasks that it waits for; an id alone: until that is done."""
    any: bool = False
    """Any one of `after` is enough."""
    not_before_at: Instant | None = None
    deadline_at: Instant | None = None
    cache_s: float | None = None
    """How long a result counts for equal tasks; None: as its agent's files say."""
    fresh: bool = False
    timeout_s: float | None = None
    model: str | None = None
    failures: FailureRules = NO_RULES
    """What is to happen when it fails."""
    input: Mapping[str, Any] = {}
    review: ReviewTerms | None = None
    """Who must accept the result; None: what the agent's files say."""
    delegation: str = ""
    """The key of its work; empty: none, for what a person writes again is a wish of its own."""
    attachments: tuple[RawAttachment, ...] = ()
    trust: Trust = Trust.OPERATOR
    private: bool = False
    """An agent that had read what may be private has written it."""
    depth: int = 0
    """Links in the chain of causes, where a turn has left the file."""
    key: str
    """Idempotency key: the same file, taken again after a crash, has the same."""
    file: str
    """Where it came from, relative to the fleet."""


class ItemSource(Value):
    """What is known of a file before it is read. `agent` is whose inbox it lay in; None: the fleet's."""

    name: str
    file: str
    key: str
    agent: str | None = None
    timezone: str = "UTC"


def parse_items(data: bytes, source: ItemSource) -> tuple[InboxItem, ...]:
    """The items in a file: of Markdown with front matter one, of JSON one or several, of any other file one with the
    file as its attachment. Raises Invalid with place and cure for a malformed one.

    A file of an agent's own inbox may be the agent's own work, and is trusted no further than the agent.
    """
    suffix = PurePosixPath(source.name).suffix.lower()
    if suffix == ".json":
        return _from_json(data, source)
    if suffix in {".md", ".markdown"}:
        item = _from_markdown(data, source)
        if item is not None:
            return (item,)
    return (_as_attachment(data, source),)


def _from_markdown(data: bytes, source: ItemSource) -> InboxItem | None:
    try:
        text = text_of(data, name=source.name, place=source.file).text
    except Invalid:
        return None  # no text after all: an attachment
    split = split_front_matter(text, place=source.file, keys=ITEM_KEYS)
    if split.settings is None:
        return None
    return _item(Fields(split.settings, file=source.file, known=ITEM_KEYS), source, goal=split.prose.strip())


def _from_json(data: bytes, source: ItemSource) -> tuple[InboxItem, ...]:
    cure = f"A JSON file holds an object, or a list of objects, with keys such as: {', '.join(ITEM_KEYS[:6])}."
    try:
        text = text_of(data, name=source.name, place=source.file).text
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = str(error).partition("(byte")[0].strip() or "nested too deep"
        raise Invalid(f"This is not JSON: {problem}", place=source.file, cure=cure) from None
    entries = document if isinstance(document, list) else [document]
    if not entries or len(entries) > ITEMS_MAX:
        raise Invalid(f"{len(entries)} items", place=source.file, cure=f"One file holds 1 to {ITEMS_MAX}.")
    items = []
    for number, entry in enumerate(entries, 1):
        one = source if len(entries) == 1 else msgspec.structs.replace(source, key=f"{source.key}#{number}")
        node = _node(entry, 0, source)
        place = source.file if len(entries) == 1 else f"{source.file}, item {number}"
        items.append(_item(Fields(node, file=place, known=ITEM_KEYS), one, goal=""))
    keys = {item.key for item in items}
    if len(keys) < len(items):
        raise Invalid("Two items have the same key", place=source.file, cure="Give each its own, or none.")
    return tuple(items)


def _node(value: Any, depth: int, source: ItemSource) -> Node:
    if depth > JSON_DEPTH_MAX:
        raise Invalid(f"Nested deeper than {JSON_DEPTH_MAX}", place=source.file, cure="Say it more simply.")
    match value:
        case dict():
            return Node({key: _node(each, depth + 1, source) for key, each in value.items()}, 0)
        case list():
            return Node([_node(each, depth + 1, source) for each in value], 0)
        case _:
            return Node(value, 0)


_ID = re.compile(r"[Tt]?([1-9]\d{0,17})", re.ASCII)
_SESSION = re.compile(r"[\w][\w:@./+-]{0,199}")


def _item(fields: Fields, source: ItemSource, *, goal: str) -> InboxItem:
    if goal and fields.has("goal"):
        raise fields.wrong("goal", "The goal is there twice: as a key and below", cure="Remove one of them.")
    goal = goal or fields.text("goal", limit=GOAL_CHARACTERS_MAX)
    title = " ".join(fields.text("title").split()) or next((each for each in goal.split("\n") if each.strip()), "")
    title = title.strip("#*_> \t")[:TITLE_CHARACTERS_MAX]
    if not goal and not title:
        raise fields.wrong("", "The item says nothing", cure="Give it a title, and write the goal below.")
    if len(goal) > GOAL_CHARACTERS_MAX:
        raise fields.wrong("", f"The goal is longer than {GOAL_CHARACTERS_MAX} characters", cure="Attach it as a file.")
    kind = ItemKind(fields.choice("kind", tuple(ItemKind), ItemKind.TASK))
    agent = fields.read("agent", check_agent_id) or source.agent
    if source.agent is not None and agent != source.agent:
        why = f"It is for {agent}, and lies in the inbox of {source.agent}"
        raise fields.wrong("agent", why, cure="Drop it into the fleet's inbox/, or into that agent's own.")
    key = fields.text("key")
    if kind is ItemKind.MESSAGE and agent is None:
        raise fields.wrong("agent", "The message is for nobody", cure="Name an agent: 'agent: triage'.")
    return InboxItem(
        kind=kind,
        agent=agent,
        session=_session(fields),
        title=title,
        goal=goal or title,
        priority=fields.integer("priority", 0, least=-100, most=100),
        project=fields.text("project")[:TITLE_CHARACTERS_MAX],
        type=fields.text("type")[:TITLE_CHARACTERS_MAX],
        skills=fields.texts("skills"),
        after=_after(fields),
        any=fields.flag("any", default=False),
        not_before_at=fields.read("not_before", lambda text: parse_instant(text, zone=source.timezone)),
        deadline_at=fields.read("deadline", lambda text: parse_instant(text, zone=source.timezone)),
        timeout_s=fields.duration_s("timeout", 0.0, least=1.0) if fields.has("timeout") else None,
        cache_s=fields.duration_s("cache", 0.0) if fields.has("cache") else None,
        fresh=fields.flag("fresh", default=False),
        model=fields.text("model") or None,
        input=_input(fields),
        review=_review(fields, source),
        failures=_failures(fields, source),
        delegation=fields.text("delegation", limit=200),
        trust=Trust.OPERATOR if source.agent is None else Trust.AGENT,
        key=f"inbox:{key[:200]}" if key else source.key,
        file=source.file,
    )


def _failures(fields: Fields, source: ItemSource) -> FailureRules:
    found = parse_failure_rules(fields)
    if source.agent is not None and (found.fallback or found.escalate is not None):
        key = "fallback" if found.fallback else "escalate"
        why = "Who else works or is asked is not an agent's to say"
        raise fields.wrong(key, why, cure="Drop the file into the fleet's inbox/, or say it in AGENTS.md.")
    return found


def _session(fields: Fields) -> str | None:
    text = fields.text("session")
    if text and not _SESSION.fullmatch(text):
        raise fields.wrong(
            "session", f"{text[:64]!r} cannot be the key of a session", cure="For example 'main:triage'."
        )
    return text or None


def _after(fields: Fields) -> tuple[int | After, ...]:
    if not fields.has("after"):
        return ()
    given = fields.plain("after")
    found = [_dependency(fields, each) for each in (given if isinstance(given, list) else [given])]
    if len(found) > ITEMS_MAX:
        raise fields.wrong("after", f"{len(found)} tasks are too many", cure=f"At most {ITEMS_MAX}.")
    return tuple(dict.fromkeys(found))


def _dependency(fields: Fields, given: object) -> int | After:
    try:
        text, on = parted(str(given))
    except Invalid as unknown:
        raise fields.wrong("after", unknown.message, cure=unknown.cure) from unknown
    name = _ID.fullmatch(text.strip()) if isinstance(given, str | int) and not isinstance(given, bool) else None
    if name is None or int(name[1]) >= 2**63:
        cure = "Name tasks like this: [T12, T13:failure]."
        raise fields.wrong("after", f"{str(given)[:64]!r} is not a task", cure=cure)
    number = int(name[1])
    return number if on is Condition.SUCCESS else After(task=number, on=on)


def _review(fields: Fields, source: ItemSource) -> ReviewTerms | None:
    """An agent's own inbox may hold the agent's own work: it names no command that would test a result."""
    terms = parse_review(fields)
    if source.agent is not None and terms is not None and isinstance(terms.by, ByCommand):
        what = "Only people have results tested by commands"
        raise fields.wrong("review", what, cure="Drop the file into the fleet's inbox/.")
    return terms


def _input(fields: Fields) -> dict[str, Any]:
    group = fields.group("input", ())
    if group is None:
        return {}
    plain: dict[str, Any] = fields.plain("input")
    return plain


def _as_attachment(data: bytes, source: ItemSource) -> InboxItem:
    """A file that is only itself. It is outside text: what it says instructs nobody."""
    raw = RawAttachment(name=source.name, media_type=media_type(source.name), data=data)
    return InboxItem(
        kind=ItemKind.MESSAGE if source.agent is not None else ItemKind.TASK,
        agent=source.agent,
        title=source.name[:TITLE_CHARACTERS_MAX],
        goal="",
        attachments=(raw,),
        trust=Trust.EXTERNAL,
        key=source.key,
        file=source.file,
    )


MEDIA_TYPES = {
    "eml": "message/rfc822",
    "txt": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "csv": "text/csv",
    "ics": "text/calendar",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
"""By the end of the name. The standard library's table depends on the machine; the same file must mean the same
everywhere."""


def media_type(name: str) -> str:
    """The media type of a file by its name; `application/octet-stream` for what is not known."""
    return MEDIA_TYPES.get(PurePosixPath(name).suffix.lower().removeprefix("."), "application/octet-stream")
