"""The operation to ask before an agent is given more to do: what it was denied, what it did for the first time, what
nobody knows the outcome of, what cost more than the rest, and what it woke for in vain.

Reads journals of the newest tasks, a bounded number, and says where there were more. Knows nothing of HTTP or screens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal

from ostinato.domain.ledger import Spending
from ostinato.domain.question import QuestionKind, QuestionState
from ostinato.domain.step import Decision, Judged, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import Instant, Source, Value
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso, parse_moment
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.sentences import one_line, quoted
from ostinato.gateway.tasks_api import Word
from ostinato.store.port import QuestionFilter, Reads, Skip, TaskFilter

LOOKED_AT_MAX = 200
"""Tasks of one agent whose journals are read, and as many before the window, to know what is new."""

AGENTS_MAX = 20
"""Agents of one review, where none is named: those that spent most."""

OUTLIER = 5.0
"""A task that cost so many times the agent's usual is one to look at."""

FEW = 5
"""Fewer tasks have no usual cost."""

NAMED_MAX = 3
"""Tasks that one sentence names."""

_SETTLED = (QuestionState.ANSWERED, QuestionState.ALLOWED, QuestionState.DENIED)
"""A person has said what became of it."""


class ReviewAgents(Ask):
    """One agent, or those that spent most; over which time."""

    agent: Word | None = None
    since: Word = "7d"


class Remark(View):
    """One thing to look at. `level`: `bad` (settle it first), `look`, `good`."""

    level: Literal["bad", "look", "good"]
    about: Literal["unknown", "denied", "new", "cost", "skipped", "failed"]
    text: str
    command: str


class Review(View):
    """One agent. `complete` is false where it did more than was read. `usd` is what calls of a known price cost: with
    `unpriced_calls` it was at least that, and null where no price is known."""

    agent: str
    tasks: int
    complete: bool
    calls: int
    usd: float | None
    unpriced_calls: int
    skipped: int
    remarks: list[Remark]
    summary: str


class ReviewList(View):
    """Reviews, the agent that spent most first; `left_out` agents were not looked at."""

    since: str
    reviews: list[Review]
    left_out: int


@operation("agents.review", "GET /api/v1/review")
async def review(context: Context, request: ReviewAgents) -> ReviewList:
    """What to look at before an agent is given more: denials, first uses of tools, unknowns, costs, skips."""
    since_at = parse_moment(request.since, now=context.now)
    if request.agent is not None:
        known = [(await context.card(request.agent)).id]
    else:
        known = [each.id for each in await context.cards()]

    def read(tx: Reads) -> ReviewList:
        spent = {each.name: each for each in tx.spending("agent", since_at=since_at, limit=10_000)}
        ordered = sorted(
            known, key=lambda agent: (-spent[agent].usd_micros, -spent[agent].calls) if agent in spent else (0, 0)
        )
        found = []
        for agent in ordered[:AGENTS_MAX]:
            seen = _seen(tx, agent, since_at=since_at)
            remarks = sorted(_remarks(seen), key=lambda each: ("bad", "look", "good").index(each.level))
            cost = spent.get(agent)
            found.append(
                Review(
                    agent=agent,
                    tasks=len(seen.tasks),
                    complete=seen.complete,
                    calls=cost.calls if cost else 0,
                    usd=_usd(cost) if cost else 0.0,
                    unpriced_calls=cost.unpriced_calls if cost else 0,
                    skipped=sum(each.count for each in seen.skips),
                    remarks=remarks,
                    summary=_summary(agent, remarks, seen),
                )
            )
        return ReviewList(since=iso(since_at), reviews=found, left_out=max(0, len(known) - AGENTS_MAX))

    return await context.store.read(read)


def _usd(cost: Spending) -> float | None:
    return None if cost.calls and cost.unpriced_calls == cost.calls else cost.usd_micros / 1_000_000


class Seen(Value):
    """What an agent did in the window, as far as it was read."""

    agent: str
    tasks: tuple[Task, ...]
    complete: bool
    denied: tuple[tuple[str, str], ...]
    """Task and reason of each refusal."""
    tools: dict[str, str]
    """Tool -> the task that used it last."""
    before: frozenset[str]
    """Tools that it used before the window."""
    has_past: bool
    unknown: tuple[str, ...]
    """Tasks with a deed whose outcome nobody knows, and nobody has settled."""
    asked: bool
    """Whether a person has been asked about one of them."""
    skips: tuple[Skip, ...]


def _seen(tx: Reads, agent: str, *, since_at: Instant) -> Seen:
    kinds = frozenset({TaskKind.GOAL, TaskKind.TURN})
    latest = tx.tasks(TaskFilter(agent=agent, kinds=kinds), limit=2 * LOOKED_AT_MAX)
    found = [each for each in latest if each.attempts]
    window = [each for each in found if each.updated_at >= since_at][:LOOKED_AT_MAX]
    older = [each for each in found if each.updated_at < since_at][:LOOKED_AT_MAX]
    denied: list[tuple[str, str]] = []
    unknown: list[str] = []
    tools: dict[str, str] = {}
    for name, entry in ((task.name, step.entry) for task in window for step in tx.steps(task.id)):
        match entry:
            case Judged(decision=Decision.DENY) as verdict:
                denied.append((name, f"{verdict.tool}: {one_line(verdict.reason)}"))
            case ToolIntent(tool=tool):
                tools.setdefault(tool, name)
            case ToolOutcome(status=ResultStatus.UNKNOWN):
                unknown.append(name)
            case _:
                pass
    questions = tx.questions(QuestionFilter(state=None, agent=agent), limit=LOOKED_AT_MAX)
    doubts = [each for each in questions if each.kind is QuestionKind.UNKNOWN]
    settled = {f"T{each.task}" for each in doubts if each.state in _SETTLED}
    asked = [f"T{each.task}" for each in doubts if each.state is QuestionState.PENDING]
    unknown = [each for each in unknown if each not in settled] + asked
    refused = (
        each for each in questions if each.state is QuestionState.DENIED and each.kind is not QuestionKind.UNKNOWN
    )
    denied += [
        (f"T{each.task}", f"by a person: {one_line(each.text)}") for each in refused if each.created_at >= since_at
    ]
    used = (step.entry.tool for task in older for step in tx.steps(task.id) if isinstance(step.entry, ToolIntent))
    return Seen(
        agent=agent,
        tasks=tuple(window),
        complete=len(latest) < 2 * LOOKED_AT_MAX and len(window) < LOOKED_AT_MAX,
        denied=tuple(denied),
        tools=tools,
        before=frozenset(used),
        has_past=bool(older),
        unknown=tuple(dict.fromkeys(unknown)),
        asked=bool(asked),
        skips=tuple(tx.skips(agent=agent, since_at=since_at, limit=500)),
    )


def _remarks(seen: Seen) -> Iterator[Remark]:
    yield from _about_unknown(seen)
    yield from _about_denied(seen)
    yield from _about_new(seen)
    yield from _about_cost(seen)
    yield from _about_failed(seen)
    yield from _about_skips(seen)


def _about_unknown(seen: Seen) -> Iterator[Remark]:
    if seen.unknown:
        text = f"of {len(seen.unknown)} {_tasks(seen.unknown)} nobody knows whether a deed happened: settle it first"
        command = "ostinato approvals list --kind unknown" if seen.asked else f"ostinato tasks show {seen.unknown[0]}"
        yield Remark(level="bad", about="unknown", text=text, command=command)


def _about_denied(seen: Seen) -> Iterator[Remark]:
    if not seen.denied:
        return
    why, count = Counter(reason for _, reason in seen.denied).most_common(1)[0]
    last = next(task for task, reason in seen.denied if reason == why)
    text = f"it was refused {_times(len(seen.denied))}; most often ({count}) {why}"
    yield Remark(level="look", about="denied", text=text, command=f"ostinato tasks show {last}")


def _about_new(seen: Seen) -> Iterator[Remark]:
    fresh = sorted(set(seen.tools) - seen.before)
    if fresh and seen.has_past:
        text = f"it used for the first time: {', '.join(fresh[:10])}"
        command = f"ostinato tasks show {seen.tools[fresh[0]]}"
        yield Remark(level="look", about="new", text=text, command=command)


def _about_cost(seen: Seen) -> Iterator[Remark]:
    costs = [each.usd_micros for each in seen.tasks if each.usd_micros > 0]
    if len(costs) < FEW:
        return
    usual = median(costs)
    dear = sorted((each for each in seen.tasks if each.usd_micros > OUTLIER * usual), key=lambda each: -each.usd_micros)
    if dear:
        worst = dear[0]
        text = (
            f"{len(dear)} of {len(costs)} tasks cost over {OUTLIER:g} times the usual ${usual / 1e6:.4f}; "
            f"the dearest, {worst.name} {quoted(worst.title, chars_max=40)}, ${worst.usd_micros / 1e6:.4f}"
        )
        yield Remark(level="look", about="cost", text=text, command=f"ostinato tasks show {worst.name}")


def _about_failed(seen: Seen) -> Iterator[Remark]:
    failed = [each for each in seen.tasks if each.state is TaskState.FAILED]
    if failed:
        open_ones = [each.name for each in failed if not each.dismissed]
        text = f"{len(failed)} of {len(seen.tasks)} tasks failed, {len(open_ones)} of them not dealt with"
        level: Literal["bad", "look"] = "bad" if open_ones else "look"
        yield Remark(level=level, about="failed", text=text, command=f"ostinato tasks why {failed[0].name}")


def _about_skips(seen: Seen) -> Iterator[Remark]:
    woken = sum(each.spec.trigger is Source.HEARTBEAT for each in seen.tasks)
    by_reason: Counter[str] = Counter()
    for each in seen.skips:
        by_reason[each.reason] += each.count
    for reason, count in by_reason.most_common(NAMED_MAX):
        command = f"ostinato agents show {seen.agent}"
        if reason.startswith("nothing to do"):
            text = f"it slept on {_times(count)} because of its check, at no cost; it woke {_times(woken)}"
            yield Remark(level="good", about="skipped", text=text, command=command)
        elif reason.startswith("still busy"):
            text = f"a wake came {_times(count)} while it was still busy: `every` is shorter than its work takes"
            yield Remark(level="look", about="skipped", text=text, command=command)
        else:
            text = f"a wake was skipped {_times(count)}: {one_line(reason)}"
            yield Remark(level="look", about="skipped", text=text, command=command)


def _summary(agent: str, remarks: Sequence[Remark], seen: Seen) -> str:
    bad = sum(each.level == "bad" for each in remarks)
    look = sum(each.level == "look" for each in remarks)
    if not seen.tasks and not seen.skips:
        return f"{agent} has done nothing in this time: there is nothing to judge by"
    if bad:
        return (
            f"{agent} should not be given more yet: {bad + look} {'thing' if bad + look == 1 else 'things'} to settle"
        )
    if look:
        return f"{agent} can be given more once you have looked at {'one thing' if look == 1 else f'{look} things'}"
    return f"nothing speaks against giving {agent} more"


def _tasks(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_MAX]) + (", ..." if len(names) > NAMED_MAX else "")
    return f"{'task' if len(names) == 1 else 'tasks'} ({shown})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
