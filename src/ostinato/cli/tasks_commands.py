"""`ostinato tasks ...`: the units of work.

Knows nothing of how operations work.
"""

from __future__ import annotations

import shlex
import time
from typing import Annotated

import msgspec
import typer

from ostinato.cli.client import Client
from ostinato.cli.options import (
    Before,
    Commands,
    Fleet,
    Json,
    JsonLines,
    Limit,
    OfAgent,
    Reason,
    TaskId,
    json_argument,
    retry_argument,
    rungs_argument,
    text_argument,
)
from ostinato.cli.plan_commands import decide_tree, edit, plan, show_tree
from ostinato.cli.screen import Screen
from ostinato.cli.task_screen import show_task
from ostinato.cli.words import money, when
from ostinato.gateway import events_api, plans_api, task_story_api, tasks_api
from ostinato.gateway.operation import Operation
from ostinato.gateway.sentences import quoted
from ostinato.gateway.views import TaskList, TaskRow

WATCH_S = 0.5
"""Between two drawings of a list that is watched: faster than anybody reads."""


Budget = Annotated[
    float | None, typer.Option("--budget", metavar="USD", min=0, help="Dollars it may spend with all that it sets off.")
]
RoutedBy = Annotated[
    str | None, typer.Option("--policy", metavar="POLICY", help="Who is best: cheapest, fastest, best, ...")
]
Tree = Annotated[bool, typer.Option("--tree", help="With all that belongs to it: its plan, or what it depends on.")]
DelegationKey = Annotated[
    str | None, typer.Option("--delegation", metavar="KEY", help="The same work: not done twice at a time.")
]
Review = Annotated[
    str | None,
    typer.Option(
        "--review", metavar="WHO", help="Who must accept the result: agent:NAME, person, command:pytest -q, when:CEL."
    ),
]
Skills = Annotated[list[str] | None, typer.Option("--skill", metavar="SKILL", help="Or: what they must be good at.")]
Priority = Annotated[
    int, typer.Option("--priority", metavar="N", min=-100, max=100, help="-100 to 100; higher is sooner.")
]
Deliver = Annotated[
    str | None, typer.Option("--deliver", metavar="WHERE", help="operator, agent:NAME, session:KEY, file:PATH.")
]
RetryBy = Annotated[
    str | None, typer.Option("--retry", metavar="RULES", help="attempts=5,base=10s,rate_limited.attempts=9")
]
Fallback = Annotated[
    str | None, typer.Option("--fallback", metavar="AGENT", help="Who takes over once its agent has given up.")
]
Escalate = Annotated[
    list[str] | None, typer.Option("--escalate", metavar="WHO:TIME", help="Whom to ask if it fails: alice:2h.")
]
TypeOfWork = Annotated[
    str, typer.Option("--type", metavar="WORD", help="What kind of work; routing compares agents by it.")
]
AfterTasks = Annotated[
    list[str] | None, typer.Option("--after", metavar="TASK", help="Once this is done; T12:failure, T12:always.")
]


def add(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What is to be done, in a few words.")],
    *,
    goal: Annotated[str, typer.Option("--goal", metavar="TEXT", help="All of it; - reads standard input.")] = "",
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Who does it.")] = None,
    skill: Skills = None,
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="What it belongs to.")] = "",
    kind_of_work: TypeOfWork = "",
    priority: Priority = 0,
    after: AfterTasks = None,
    any_of: Annotated[bool, typer.Option("--any", help="Any one of --after is enough.")] = False,
    not_before: Annotated[str | None, typer.Option("--not-before", metavar="TIME", help="2h, or a time.")] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", metavar="TIME", help="2h, or a time.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="15m", help="Longest attempt.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="A tier or model.")] = None,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="1h", help="An equal task's result of that time will do.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run, whatever is known already.")] = False,
    budget: Budget = None,
    data: Annotated[str | None, typer.Option("--input", metavar="JSON", help="Data for the task.")] = None,
    deliver: Deliver = None,
    policy: RoutedBy = None,
    retry: RetryBy = None,
    fallback: Fallback = None,
    escalate: Escalate = None,
    delegation: DelegationKey = None,
    review: Review = None,
    draft: Annotated[bool, typer.Option("--draft", help="It runs only once approved.")] = False,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Adding it twice is then harmless.")] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Add a task. It is durable when this returns.

    Example: ostinato tasks add "Summarize the week" --agent clerk --not-before 2h
    """
    client = Client(fleet)
    request = tasks_api.AddTask(
        title=text_argument(title),
        goal=text_argument(goal) if goal else "",
        skills=skill or [],
        input=json_argument(data, option="--input") or {},
        after=after or [],
        retry=retry_argument(retry) if retry else {},
        escalate=None if escalate is None else rungs_argument(escalate),
        agent=agent, project=project, type=kind_of_work, priority=priority, any=any_of, not_before=not_before,
        deadline=deadline, timeout=timeout, model=model, cache=cache, fresh=fresh, deliver=deliver, budget=budget,
        policy=policy, fallback=fallback, delegation=delegation, review=review, draft=draft, key=key,
    )  # fmt: skip
    _say_added(client, client.call(tasks_api.add, request), depends=bool(after), as_json=as_json)


def _say_added(client: Client, task: tasks_api.AddedTask, *, depends: bool, as_json: bool) -> None:
    screen = Screen()
    if as_json:
        screen.json(task)
    else:
        _say_what_next(screen, task, runs=client.node_runs(), depends=depends)


def _say_what_next(screen: Screen, task: tasks_api.AddedTask, *, runs: bool, depends: bool) -> None:
    owner = f" for {task.agent}" if task.agent else ""
    if task.existed:
        screen.say(f"Nothing was added: {task.id} {quoted(task.title)} was there already", style="warn")
    screen.say(f"{task.id} is {task.state}{owner}{f': {task.reason}' if task.reason else ''}")
    if task.like:
        screen.say(f"It is much like {', '.join(task.like)}: is it wanted twice?", style="warn")
    if task.state == "draft":
        screen.say(f"Let it run: ostinato tasks approve {task.id}")
    elif task.state == "blocked" and not depends:
        screen.say(f"Give it to somebody: ostinato tasks move {task.id} --agent AGENT")
    elif task.state in ("cancelled", "done", "failed"):
        screen.say(f"See it: ostinato tasks show {task.id}")
    elif not runs:
        screen.say("No node is running; it will be done once one is: ostinato up", style="warn")
    else:
        screen.say(f"See how it goes: ostinato tasks tail {task.id}")


def list_tasks(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]...", help="status:failed skill:billing cost:>1 age:>2d, or words of the title."
        ),
    ] = None,
    *,
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help="Such as running; may be repeated.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help="Such as turn; may be repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also turns, deliveries and wake-ups.")] = False,
    agent: OfAgent = None,
    project: Annotated[str | None, typer.Option("--project", metavar="NAME", help="Only of this project.")] = None,
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="Only with this text.")] = "",
    before: Before = None,
    limit: Limit = 50,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew whenever something moves.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Tasks, newest first: goals, unless more is asked for.

    Example: ostinato tasks list status:waiting,review agent:billing age:>2h
    """
    screen, client = Screen(), Client(fleet)
    request = tasks_api.WhichTasks(
        state=_each(state),
        kind=_each(kind),
        all=everything,
        agent=agent,
        project=project,
        text=text,
        query=" ".join(map(_term, query or ())),
        before=before,
        limit=limit,
    )
    if watch:
        _watch(screen, client, request, as_json=as_json)
    else:
        _show_list(screen, _full_page(client, request), request, as_json=as_json)


def _each(given: list[str] | None) -> list[str]:
    """Several in one option are parted by commas, as in a query."""
    return [name for each in given or () for name in each.split(",") if name]


def _term(word: str) -> str:
    """A word of the command line as a term; several in one argument are as many terms."""
    return word if " " in word else shlex.quote(word)


def _again(request: tasks_api.WhichTasks) -> str:
    """The same list on the command line."""
    words = [part for name in ("state", "kind") for each in getattr(request, name) for part in (f"--{name}", each)]
    words += ["--all"] if request.all else []
    for name in ("agent", "project", "text"):
        words += [f"--{name}", getattr(request, name)] if getattr(request, name) else []
    terms = shlex.split(request.query)
    behind = ["--", *terms] if any(each[:1] == "-" for each in terms) else terms
    return shlex.join(
        ["ostinato", "tasks", "list", *words, *(["--before", request.before] if request.before else []), *behind]
    )


def _watch(screen: Screen, client: Client, request: tasks_api.WhichTasks, *, as_json: bool) -> None:
    """The list, and again after whatever moved a task; the stream says None when all that happened has been told."""
    moved = True
    for event in client.stream(events_api.follow, events_api.WhichEvents(name=["task"])):
        moved = moved or event is not None
        if event is None and moved:
            screen.clear()
            _show_list(screen, _full_page(client, request), request, as_json=as_json)
            screen.flush()
            moved = False
            time.sleep(WATCH_S)


def _show_list(screen: Screen, found: TaskList, request: tasks_api.WhichTasks, *, as_json: bool) -> None:
    if as_json:
        screen.json(found)
        return
    if not found.tasks:
        is_all = _again(request) in ("ostinato tasks list", "ostinato tasks list --all")
        screen.say(
            "There are none. Add one: ostinato tasks add TITLE --agent AGENT"
            if is_all
            else "No task is like that. All there are: ostinato tasks list --all"
        )
        return
    heads = ("TASK", "STATE", "AGENT", "TITLE", "WAITS FOR", "COST", "CHANGED")
    screen.table(heads, [_row(each) for each in found.tasks], grow=3)
    if found.next:
        screen.say(f"older ones: {_again(msgspec.structs.replace(request, before=found.next))}")


def _full_page(client: Client, request: tasks_api.WhichTasks) -> TaskList:
    """One page, however far back it lies: each call looks at a bounded number of tasks, so that nobody waits for it."""
    found = client.call(tasks_api.list_tasks, request)
    tasks = list(found.tasks)
    while found.next and len(tasks) < request.limit:
        rest = msgspec.structs.replace(request, before=found.next, limit=request.limit - len(tasks))
        found = client.call(tasks_api.list_tasks, rest)
        tasks += found.tasks
    return msgspec.structs.replace(found, tasks=tasks)


def show(task: TaskId, *, tree: Tree = False, fleet: Fleet = None, as_json: Json = False) -> None:
    """One task: why this agent, each attempt and step with time, tokens and cost, questions, files, result.

    Example: ostinato tasks show T12
    """
    if tree:
        show_tree(task, fleet=fleet, as_json=as_json)
        return
    screen = Screen()
    view = Client(fleet).call(tasks_api.show, tasks_api.WhichTask(task=task))
    if as_json:
        screen.json(view)
    else:
        show_task(screen, view)


def approve(
    task: TaskId, *, tree: Tree = False, reason: Reason = "", fleet: Fleet = None, as_json: Json = False
) -> None:
    """Let a draft run, accept a result that waits for it, or go on without what a task needed and ended badly.

    Example: ostinato tasks approve T12
    """
    if tree:
        decide_tree(plans_api.approve_tree, task, reason=reason, fleet=fleet, as_json=as_json)
        return
    _decide(Client(fleet), tasks_api.approve, _asked(task, reason), as_json=as_json)


def reject(
    task: TaskId, *, tree: Tree = False, reason: Reason = "", fleet: Fleet = None, as_json: Json = False
) -> None:
    """Refuse a draft, or return a result; the reason is what the agent reads.

    Example: ostinato tasks reject T12 --reason "the second paragraph is wrong"
    """
    if tree:
        decide_tree(plans_api.reject_tree, task, reason=reason, fleet=fleet, as_json=as_json)
        return
    _decide(Client(fleet), tasks_api.reject, _asked(task, reason), as_json=as_json)


def cancel(
    task: TaskId, *, tree: Tree = False, reason: Reason = "", fleet: Fleet = None, as_json: Json = False
) -> None:
    """End a task that has not ended; a running attempt stops at once.

    Example: ostinato tasks cancel T12 --reason "done by hand"
    """
    if tree:
        decide_tree(plans_api.cancel_tree, task, reason=reason, fleet=fleet, as_json=as_json)
        return
    _decide(Client(fleet), tasks_api.cancel, _asked(task, reason), as_json=as_json)


def retry(
    task: TaskId,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="With a new journal, told of what the old one did.")] = False,
    more: Annotated[bool, typer.Option("--more", help="Grant a parked task its limit once more.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fresh: what cannot be undone may recur.")] = False,
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Let a failed task go on from its last step; or begin anew; or let one that met a limit go on.

    Example: ostinato tasks retry T12
    """
    screen = Screen()
    request = tasks_api.RetryTask(task=task, reason=reason, fresh=fresh, more=more, sure=yes)
    _say_state(screen, Client(fleet).call(tasks_api.retry, request), as_json=as_json)


def move(
    task: TaskId,
    *,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="N", min=-100, max=100, help="-100 to 100.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Who does it.")] = None,
    project: Annotated[str | None, typer.Option("--project", metavar="NAME", help="What it belongs to.")] = None,
    not_before: Annotated[str | None, typer.Option("--not-before", metavar="TIME", help="2h, or a time.")] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Change priority, agent, project or time of a task.

    Example: ostinato tasks move T12 --priority 50
    """
    request = tasks_api.MoveTask(task=task, priority=priority, agent=agent, project=project, not_before=not_before)
    _say_state(Screen(), Client(fleet).call(tasks_api.move, request), as_json=as_json)


def comment(
    task: TaskId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="- reads standard input.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Leave a remark; the agent reads it with its next step.

    Example: ostinato tasks comment T12 "The customer has called again."
    """
    screen = Screen()
    request = tasks_api.CommentTask(task=task, text=text_argument(text))
    done = Client(fleet).call(tasks_api.comment, request)
    screen.answer(done, f"noted in {done.id}", as_json=as_json)


def explain(task: TaskId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """Why this agent has the task, and why it is in its state.

    Example: ostinato tasks explain T12
    """
    screen = Screen()
    view = Client(fleet).call(task_story_api.explain, tasks_api.WhichTask(task=task))
    if as_json:
        screen.json(view)
        return
    screen.say(f"{view.task}: {view.agent or 'nobody'}, {view.state}", style="strong")
    for line in view.lines:
        screen.say(f"  {line}")


def why(task: TaskId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """Walk back from a failure to the step and agent that caused it.

    Example: ostinato tasks why T12
    """
    screen = Screen()
    view = Client(fleet).call(task_story_api.why, tasks_api.WhichTask(task=task))
    if as_json:
        screen.json(view)
        return
    for line in view.lines:
        screen.say(f"{when(line.at)}  {line.text}")


def tail(task: TaskId, *, fleet: Fleet = None, as_json: JsonLines = False) -> None:
    """Follow a task step by step until it has ended. Exits with 1 if it failed.

    Example: ostinato tasks tail T12
    """
    screen = Screen()

    def wait() -> None:
        if not as_json:
            screen.say("The node has gone; this goes on once one runs again. Ctrl-C ends it.", style="warn")
            screen.flush()

    for item in Client(fleet).follow(task_story_api.tail, tasks_api.WhichTask(task=task), key=_tail_key, gone=wait):
        if as_json:
            screen.json_line(item)
        else:
            screen.say(f"{when(item.at)}  {item.text}", style="strong" if item.ended else "")
            if item.command:
                screen.say(f"  → {item.command}")
            screen.flush()
        if item.ended:
            raise typer.Exit(int(item.state != "done"))


def _tail_key(item: task_story_api.TailItem) -> object:
    """The same for an item that is told again after the node was started anew. The end ends it."""
    if item.step is not None:
        return "step", item.step.at, item.step.seq
    return ("event", item.event.id) if item.event is not None else ("text", item.at, item.text, item.ended)


def _asked(task: str, reason: str) -> tasks_api.DecideTask:
    return tasks_api.DecideTask(task=task, reason=reason)


def _decide(
    client: Client,
    operation: Operation[tasks_api.DecideTask, TaskRow],
    request: tasks_api.DecideTask,
    *,
    as_json: bool,
) -> None:
    _say_state(Screen(), client.call(operation, request), as_json=as_json)


def _say_state(screen: Screen, task: TaskRow, *, as_json: bool) -> None:
    if as_json:
        screen.json(task)
        return
    owner = f" ({task.agent})" if task.agent else ""
    screen.say(f"{task.id}{owner} is {task.state}{f': {task.reason}' if task.reason else ''}")
    if task.state in ("draft", "blocked") and task.agent is None:
        screen.say(f"Give it to somebody: ostinato tasks move {task.id} --agent AGENT")


def _row(task: TaskRow) -> tuple[str, ...]:
    waits = task.waits_for or (task.reason if task.state in ("blocked", "failed") else "")
    state = "dead" if task.dead else task.state
    return task.id, state, task.agent or "-", task.title, waits, money(task.usd), when(task.updated_at)


HELP = "Tasks: the units of work."

COMMANDS: Commands = {
    "add": add,
    "plan": plan,
    "edit": edit,
    "list": list_tasks,
    "show": show,
    "approve": approve,
    "reject": reject,
    "retry": retry,
    "cancel": cancel,
    "move": move,
    "comment": comment,
    "explain": explain,
    "why": why,
    "tail": tail,
}
