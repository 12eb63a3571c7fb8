"""The table `[queues]` of ostinato.toml: how much of what runs at once, and how often it begins.

Knows nothing of queues: that a limit names a project or an agent that there is turns out when it is used.
"""

from __future__ import annotations

from ostinato.domain.aging import AGING_LEAST_S, AGING_MOST_S, AGING_S
from ostinato.domain.limit import (
    EACH,
    LIMITS_MAX,
    PRIORITY_LEAST,
    PRIORITY_MOST,
    QueueLimit,
    parse_priorities,
    parse_rate,
)
from ostinato.domain.task import TaskKind
from ostinato.workspace.fields import ID, Fields

QUEUE_KEYS: dict[str, tuple[str, ...]] = {
    "queues": ("limits", "aging"),
    "queues.limits": ("kind", "project", "agent", "priority", "concurrency", "rate"),
}
"""Keys of each table."""

CONCURRENCY_MAX = 100_000
KINDS = tuple(each.value for each in TaskKind)


def parse_aging(root: Fields) -> float:
    """Seconds of waiting that a level of priority is worth. Raises Invalid."""
    fields = root.group("queues", QUEUE_KEYS["queues"])
    aging_s = AGING_S if fields is None else fields.duration_s("aging", AGING_S, least=AGING_LEAST_S)
    if fields is not None and aging_s > AGING_MOST_S:
        raise fields.wrong("aging", "That is longer than a year", cure="With '365d' priority alone decides.")
    return aging_s


def parse_queues(root: Fields) -> tuple[QueueLimit, ...]:
    """The limits of the table; none where it is missing. Raises Invalid."""
    fields = root.group("queues", QUEUE_KEYS["queues"])
    if fields is None:
        return ()
    found = tuple(_limit(each) for each in fields.groups("limits", QUEUE_KEYS["queues.limits"]))
    if len(found) > LIMITS_MAX:
        raise fields.wrong("limits", f"There are more than {LIMITS_MAX} limits", cure="One with '*' stands for many.")
    return found


def _limit(fields: Fields) -> QueueLimit:
    least, most = fields.read("priority", parse_priorities) or (PRIORITY_LEAST, PRIORITY_MOST)
    concurrency = fields.integer("concurrency", 0, least=1, most=CONCURRENCY_MAX) if fields.has("concurrency") else None
    rate = fields.read("rate", parse_rate)
    if concurrency is None and rate is None:
        cure = 'Add concurrency = 3, or rate = "10/m".'
        raise fields.wrong("", "The limit limits nothing", cure=cure)
    agent = fields.text("agent")
    if agent not in ("", EACH) and not ID.fullmatch(agent):
        cure = "Name one, or write '*' for each."
        raise fields.wrong("agent", f"{agent[:64]!r} is not the name of an agent", cure=cure)
    return QueueLimit(
        kind=fields.choice("kind", (*KINDS, EACH), "") if fields.has("kind") else "",
        project=fields.text("project", limit=200),
        agent=agent,
        priority_least=least,
        priority_most=most,
        concurrency=concurrency,
        rate=rate,
    )
