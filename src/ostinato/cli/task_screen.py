"""One task on a screen: what it is, why here, what was done, what it cost, what came of it.

Knows nothing of how the figures come about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ostinato.cli.screen import Screen
from ostinato.cli.words import count, length, money, when
from ostinato.gateway.deciding import BudgetView
from ostinato.gateway.setback_view import FailuresView, SetbackView
from ostinato.gateway.tasks_api import TaskView
from ostinato.gateway.views import AttemptView, QuestionView, StepView

DIGEST_CHARS = 12
INPUT_CHARS = 400
"""Of a task's data; some are long documents."""


def show_task(screen: Screen, view: TaskView) -> None:
    """The whole task."""
    task = view.task
    state = "failed, a dead letter" if task.dead else task.state
    screen.say(f"{task.id} {task.title}", style="strong")
    why = f": {task.reason}" if task.reason else ""
    waits = f", waits for {task.waits_for}" if task.waits_for else ""
    cost = money(task.usd, unpriced=view.unpriced_calls)
    screen.pairs(
        [
            ("state", f"{state}{waits}{why}"),
            ("agent", task.agent or "nobody"),
            ("why here", "\n".join(view.why_here)),
            ("answered from", f"{view.answered_from}'s result" if view.answered_from else ""),
            ("much like", ", ".join(view.like)),
            ("kind", task.kind if task.kind != "goal" else ""),
            ("project", task.project),
            ("priority", str(task.priority) if task.priority else ""),
            ("needs", ", ".join(view.skills)),
            ("after", ", ".join(view.after)),
            ("before", ", ".join(view.before)),
            ("parent", task.parent or ""),
            ("children", ", ".join(view.children)),
            ("added", when(task.created_at)),
            ("not before", when(task.not_before_at) if task.not_before_at else ""),
            ("deadline", when(view.deadline_at) if view.deadline_at else ""),
            ("review", _review(view)),
            *failure_pairs(view.failures),
            ("ended", when(task.finished_at) if task.finished_at else ""),
            ("budget", _budget(view.budget)),
            ("cost", f"{cost}, {task.tokens} tokens, {count(view.model_calls, 'model call')}"),
            ("session", task.session or ""),
            ("came with", "\n".join(f"{each.name} ({each.digest[:DIGEST_CHARS]})" for each in view.files)),
            ("ran with", _files(view)),
            ("goal", view.goal),
            ("input", _input(view)),
        ]
    )
    show_attempts(screen, view.attempts, view.steps, failures=view.failures)
    _questions(screen, view)
    _result(screen, view)
    if view.possible:
        screen.say("\npossible now", style="faint")
        for each in view.possible:
            screen.say(f"  → {each}")


def _budget(budget: BudgetView | None) -> str:
    """What is used of it."""
    if budget is None:
        return ""
    sums = [f"{money(budget.used_usd)} of {money(budget.usd)}"] if budget.usd is not None else []
    sums += [f"{budget.used_tokens} of {budget.tokens} tokens"] if budget.tokens is not None else []
    return f"{', '.join(sums)}, with all that it sets off"


def _input(view: TaskView) -> str:
    """In a line, shortened: `--json` has all of it."""
    if not view.input:
        return ""
    text = json.dumps(view.input, ensure_ascii=False)
    return text if len(text) <= INPUT_CHARS else f"{text[:INPUT_CHARS]}… ({len(text)} characters, all with --json)"


def failure_pairs(failures: FailuresView | None) -> list[tuple[str, str]]:
    """How much of each budget is used up, who has given up, and what comes next."""
    if failures is None:
        return []
    used = ", ".join(f"{name} {words}" for name, words in failures.budgets.items())
    return [("failures", used), ("gave up", ", ".join(failures.gave_up)), ("next", failures.next)]


def _review(view: TaskView) -> str:
    """Who reviews, how far it has come, and each verdict with its notes."""
    review = view.review
    if review is None:
        return ""
    head = f"by {review.by}, round {review.round} of {review.rounds}" if review.round else f"by {review.by}"
    head += f", waits for {review.waits_for}" if review.waits_for else ""
    lines = [head, *([f"because {review.why}"] if review.why else [])]
    for each in review.verdicts:
        said = f": {each.notes}" if each.notes else ""
        task = f" in {each.task}" if each.task else ""
        lines.append(f"{when(each.at)} {'accepted' if each.accepted else 'rejected'} by {each.by}{task}{said}")
    return "\n".join(lines)


def _files(view: TaskView) -> str:
    return ", ".join(f"{name} {digest[:DIGEST_CHARS]}" for name, digest in view.prompt_files.items())


def show_attempts(
    screen: Screen, attempts: Sequence[AttemptView], steps: Sequence[StepView], *, failures: FailuresView | None
) -> None:
    """Each attempt with its steps below it, and the class of its failure."""
    left = list(steps)
    classes = {each.attempt: each for each in failures.setbacks} if failures else {}
    for number, attempt in enumerate(attempts, 1):
        screen.say(f"\nattempt {number}: {_attempt(attempt, classes.get(attempt.token))}", style="strong")
        mine = [each for each in left if each.attempt == attempt.token]
        _steps(screen, mine)
        left = [each for each in left if each.attempt != attempt.token]
    if left:
        screen.say("\nbeside the attempts", style="strong")
        _steps(screen, left)


def _attempt(attempt: AttemptView, setback: SetbackView | None) -> str:
    ran = f"ran {length(attempt.ran_s)}" if attempt.ran_s is not None else "runs"
    parts = [when(attempt.started_at), f"queued {length(attempt.queued_s)}", ran, attempt.outcome or "not ended"]
    if setback is not None:
        kind = f", {setback.kind}" if setback.kind not in ("", setback.failure) else ""
        parts[-1] += f" ({setback.failure}{kind}{f'; {setback.agent}' if setback.agent else ''})"
    return ", ".join(parts) + (f": {attempt.error}" if attempt.error else "")


def _steps(screen: Screen, steps: list[StepView]) -> None:
    for step in steps:
        figures = [length(step.ran_s)] if step.ran_s is not None else []
        figures += [f"{step.tokens} tokens, {money(step.usd)}"] if step.tokens is not None else []
        shown = f"  [{', '.join(figures)}]" if figures else ""
        clock = when(step.at)[11:19]
        screen.say(f"  {step.seq:>3}  {clock}  {step.text}{shown}")


def _questions(screen: Screen, view: TaskView) -> None:
    for each in view.questions:
        screen.say(f"\n{each.id} {each.kind}: {each.summary}", style="strong")
        screen.pairs([("state", _settled(each)), ("reason", each.reason)], indent=2)


def _settled(question: QuestionView) -> str:
    if question.decided_at is None:
        return f"{question.state}, until {when(question.expires_at)}" if question.expires_at else question.state
    said = f": {question.answer}" if question.answer else ""
    return f"{question.state} by {question.decided_by or 'nobody'}, {when(question.decided_at)}{said}"


def _result(screen: Screen, view: TaskView) -> None:
    if view.result:
        screen.say("\nresult", style="strong")
        screen.say(view.result)
    if view.error:
        kind = f" ({view.error_class})" if view.error_class else ""
        screen.say(f"\nfailed{kind}", style="bad")
        screen.say(view.error)
        if view.task.dead:
            screen.say(f"\n→ ostinato tasks why {view.task.id}")
