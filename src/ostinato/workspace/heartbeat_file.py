"""HEARTBEAT.md and heartbeats/*.md: when an agent wakes by itself, and the free check before it costs anything.

Knows nothing of who fires them. A file without front matter never fires; its prose is the heartbeat's instructions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from ostinato.domain.condition import CompiledCondition, compile_condition
from ostinato.domain.errors import Invalid
from ostinato.domain.message import parse_deliver
from ostinato.domain.retry import RetryPolicy, parse_retry
from ostinato.domain.schedule import RULE_KEYS, ScheduleRule, parse_rule, rule_to_texts
from ostinato.domain.values import Value
from ostinato.store.port import ScheduleRow
from ostinato.workspace.agent_file import ABOUT_KEYS, EFFORTS
from ostinato.workspace.command_rules import words_of
from ostinato.workspace.fields import ID, ID_CURE, Fields
from ostinato.workspace.front_matter import Node

OWN_KEYS = ("check", "model", "effort", "session", "each", "escalate_after", "retry", "deliver")
HEARTBEAT_KEYS = (*ABOUT_KEYS, *RULE_KEYS, *OWN_KEYS)
CHECK_KEYS = ("when", "command", "timeout")
CHECK_TIMEOUT_S = 60.0

SESSIONS = ("main", "isolated")
EACH = ("inbox",)

CHECK_VARIABLES: Mapping[str, Mapping[str, type]] = {
    "inbox": {"files": int, "messages": int},
    "tasks": {
        "pending": int,
        "drafts": int,
        "blocked": int,
        "ready": int,
        "running": int,
        "waiting": int,
        "review": int,
        "failed": int,
        "stalled": int,
    },
    "questions": {"pending": int},
    "skips": {"in_row": int},
}
"""What a check can ask about: numbers that cost no model call. docs/reference/workspace.md says what each counts."""

MAIN_HEARTBEAT = "heartbeat"
"""Name of the heartbeat of HEARTBEAT.md; those of heartbeats/ are called like their files."""


class Heartbeat(Value):
    """One heartbeat of an agent."""

    name: str
    file: str
    """Relative to the agent's folder."""
    rule: ScheduleRule
    check: CompiledCondition | None = None
    """None: nothing that is counted is asked about."""
    command: tuple[str, ...] = ()
    """A check that is run: exit 0 wakes. Empty: none."""
    command_timeout_s: float = CHECK_TIMEOUT_S
    model: str | None = None
    effort: str | None = None
    session: str = "main"
    """`main`, or `isolated`: a session of its own for each fire."""
    each: str = ""
    """`inbox`: one isolated turn for each file that waits in the agent's inbox, which sees that file and no other."""
    escalate_after: int | None = None
    """Skips in a row after which a person is told; None: never. Those outside active hours do not count."""
    retry: RetryPolicy | None = None
    """How its turn is tried again; None: as every task."""
    deliver: str | None = None
    """Where its turn's result goes: `operator` or `session:<key>`."""
    text: str = ""
    """Instructions: the prose below the front matter."""

    def schedule_row(self, agent: str) -> ScheduleRow:
        """The heartbeat as the store keeps it; when it is due is the scheduler's to say."""
        return ScheduleRow(
            name=schedule_name(agent, self.name),
            agent=agent,
            rule=rule_to_texts(self.rule),
            text=self.text,
            session=self.session,
            model=self.model,
            effort=self.effort,
            retry=self.retry,
            deliver=self.deliver,
            source="file",
        )


def schedule_name(agent: str, heartbeat: str) -> str:
    """What a heartbeat is called among all schedules of a fleet."""
    return f"heartbeat:{agent}:{heartbeat}"


def heartbeat_name(file: str, *, place: str) -> str:
    """The name of the heartbeat that a file defines. Raises Invalid for a file name that cannot be one."""
    if file == "HEARTBEAT.md":
        return MAIN_HEARTBEAT
    name = re.sub(r"\.md$", "", file.rpartition("/")[2])
    if not ID.fullmatch(name):
        raise Invalid(f"{name[:80]!r} cannot be the name of a heartbeat", place=place, cure=ID_CURE)
    if name == MAIN_HEARTBEAT:
        raise Invalid(f"{name!r} is the heartbeat of HEARTBEAT.md", place=place, cure="Rename this file.")
    return name


def parse_heartbeat(
    node: Node, *, agent: str, name: str, file: str, place: str, text: str, timezone: str
) -> Heartbeat | None:
    """The heartbeat of a file; None where nothing says when. `timezone` is the agent's, unless the file names one."""
    fields = Fields(node, file=place, known=HEARTBEAT_KEYS)
    rule_keys = [key for key in RULE_KEYS if fields.has(key)]
    if not rule_keys and not any(fields.has(key) for key in OWN_KEYS):
        return None
    texts = {key: fields.plain(key) for key in rule_keys}
    texts.setdefault("timezone", timezone)
    try:
        rule = parse_rule(texts, of=schedule_name(agent, name), where=fields.place)
    except Invalid as error:
        raise Invalid(error.message, place=error.place or fields.place(), cure=error.cure) from None
    check = fields.group("check", CHECK_KEYS)
    if check is not None and not (check.has("when") or words_of(check, "command")):
        raise check.wrong("when", "The check has no condition", cure='For example {when: "inbox.files > 0"}.')
    most = fields.integer("escalate_after", 0, least=1, most=1_000_000) if fields.has("escalate_after") else None
    return Heartbeat(
        name=name,
        file=file,
        rule=rule,
        check=check.read("when", _compiled) if check and check.has("when") else None,
        command=words_of(check, "command") if check else (),
        command_timeout_s=check.duration_s("timeout", CHECK_TIMEOUT_S, least=1.0) if check else CHECK_TIMEOUT_S,
        model=fields.text("model") or None,
        effort=fields.choice("effort", EFFORTS, "medium") if fields.has("effort") else None,
        session=fields.choice("session", SESSIONS, "main"),
        each=fields.choice("each", EACH, "inbox") if fields.has("each") else "",
        escalate_after=most,
        retry=_parse_retry(fields),
        deliver=fields.read("deliver", parse_deliver),
        text=text.strip(),
    )


def _parse_retry(fields: Fields) -> RetryPolicy | None:
    return parse_retry(fields.plain("retry"), place=fields.place("retry")) if fields.has("retry") else None


@lru_cache(maxsize=1_024)
def _compiled(when: str) -> CompiledCondition:
    """Agents of a large fleet ask few different questions."""
    return compile_condition(when, variables=CHECK_VARIABLES)
