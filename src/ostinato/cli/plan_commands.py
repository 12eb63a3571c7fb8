"""`ostinato tasks plan`, `edit`, and trees: graphs of tasks that are decided on together.

Knows nothing of how operations work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Fleet, Json, TaskId, file_argument, json_argument, text_argument
from ostinato.cli.screen import Screen
from ostinato.cli.words import count, money
from ostinato.domain.errors import Invalid
from ostinato.gateway import plans_api, tasks_api
from ostinato.gateway.operation import Operation
from ostinato.gateway.plans_api import TreeNode, TreeView
from ostinato.workspace.front_matter import Most, parse_yaml

PLAN_BYTES_MAX = 1_000_000
PLAN = Most("a plan", PLAN_BYTES_MAX, 50_000)
"""What a file of YAML may hold: a hundred values for each of its tasks."""


def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON with `tasks`, each with a `name`.")],
    *,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Sending it twice is then harmless.")] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Propose a graph of tasks. None of them runs before somebody approves it.

    Example: ostinato tasks plan plan.yaml
    """
    screen = Screen()
    made = Client(fleet).call(plans_api.plan, plans_api.MakePlan(plan=_read(file), key=key))
    if as_json:
        screen.json(made)
        return
    draw(screen, made)
    there = [each.task.id for each in made.nodes if each.existed]
    if there:
        screen.say(f"There already, and left as they are, for they are the same work: {', '.join(there)}", style="warn")
    for each in made.nodes:
        if each.task.like and each.task.id not in there:
            screen.say(f"{each.task.id} is much like {', '.join(each.task.like)}: is it wanted twice?", style="warn")
    if made.nodes:
        screen.say(f"Let all of it run: ostinato tasks approve {made.nodes[0].task.id} --tree")


def edit(
    task: TaskId,
    *,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="In a few words.")] = None,
    goal: Annotated[
        str | None, typer.Option("--goal", metavar="TEXT", help="All of it; - reads standard input.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Who does it.")] = None,
    skill: Annotated[list[str] | None, typer.Option("--skill", metavar="SKILL", help="Or: what they can do.")] = None,
    data: Annotated[str | None, typer.Option("--input", metavar="JSON", help="Data for the task.")] = None,
    budget: Annotated[float | None, typer.Option("--budget", metavar="USD", min=0, help="Dollars in all.")] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Change what a draft says before anybody approves it.

    Example: ostinato tasks edit T12 --goal "Only the invoices of March."
    """
    screen = Screen()
    request = plans_api.EditTask(
        task=task,
        title=title,
        goal=None if goal is None else text_argument(goal),
        agent=agent,
        skills=skill,
        input=json_argument(data, option="--input"),
        budget=budget,
    )
    done = Client(fleet).call(plans_api.edit, request)
    screen.answer(done, f"{done.id} ({done.agent or 'nobody'}) is {done.state}: {done.title}", as_json=as_json)


def show_tree(task: str, *, fleet: Path | None, as_json: bool) -> None:
    """A task with all that belongs to it."""
    _say(Client(fleet).call(plans_api.tree, tasks_api.WhichTask(task=task)), as_json=as_json)


def decide_tree(
    operation: Operation[plans_api.DecideTree, TreeView], task: str, *, reason: str, fleet: Path | None, as_json: bool
) -> None:
    """Approves or rejects all drafts of a plan, or ends what has not ended of it."""
    _say(Client(fleet).call(operation, plans_api.DecideTree(task=task, reason=reason)), as_json=as_json)


def draw(screen: Screen, view: TreeView) -> None:
    """The tree, children below their parents."""
    heads = ("TASK", "STATE", "AGENT", "TITLE", "AFTER", "COST")
    screen.table(heads, [_row(each) for each in view.nodes], grow=3)
    states = ", ".join(f"{number} {state}" for state, number in view.states.items())
    screen.say(f"{count(len(view.nodes), 'task')}: {states}; {money(view.usd)}, {view.tokens} tokens")


def _say(view: TreeView, *, as_json: bool) -> None:
    screen = Screen()
    if as_json:
        screen.json(view)
    else:
        draw(screen, view)


def _row(node: TreeNode) -> tuple[str, ...]:
    task = node.task
    title = f"{'  ' * node.level}{'└ ' if node.level else ''}{task.title}"
    return task.id, task.state, task.agent or "-", title, ", ".join(node.after), money(node.usd)


def _read(file: Path) -> dict[str, Any]:
    text = file_argument(file, bytes_max=PLAN_BYTES_MAX)
    try:
        is_json = text.lstrip()[:1] == "{"
        found: Any = msgspec.json.decode(text) if is_json else parse_yaml(text, place=str(file), most=PLAN).plain()
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"This is not JSON: {error}", place=str(file)) from None
    if not isinstance(found, dict):
        raise Invalid("This is no plan", place=str(file), cure="It needs `tasks`, each with a `name`.")
    return found
