"""`ostinato dead ...`: failed tasks that nobody has dealt with yet.

Knows nothing of how operations work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ostinato.cli.client import Client
from ostinato.cli.options import (
    Before,
    Commands,
    Fleet,
    Json,
    Limit,
    OfAgent,
    Reason,
    TaskId,
    file_argument,
    text_argument,
)
from ostinato.cli.screen import Screen
from ostinato.cli.task_screen import failure_pairs, show_attempts
from ostinato.cli.words import count, money, when
from ostinato.domain.errors import Invalid
from ostinato.gateway import dead_api
from ostinato.workspace.front_matter import parse_yaml

EDIT_BYTES_MAX = 1_000_000

Group = Annotated[str, typer.Option("--group", metavar="GROUP", help="All that failed alike; dead list names them.")]
Where = Annotated[
    str, typer.Option("--where", metavar="QUERY", help="Those that a query means: agent:billing age:>2d error:timeout.")
]
OneTask = Annotated[str | None, typer.Argument(metavar="[TASK]", help="T12, or just 12.")]


def list_dead(
    *,
    group: Group = "",
    where: Where = "",
    each: Annotated[bool, typer.Option("--each", help="One by one instead of by groups.")] = False,
    agent: OfAgent = None,
    before: Before = None,
    limit: Limit = 50,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Dead letters: what failed alike together, or one by one.

    Example: ostinato dead list
    """
    screen = Screen()
    request = dead_api.WhichDead(agent=agent, group=group, where=where, before=before, limit=limit)
    found = Client(fleet).call(dead_api.list_dead, request)
    if as_json:
        screen.json(found)
    elif each or group or where or before:
        _show_letters(screen, found)
    else:
        _show_groups(screen, found)


def _show_groups(screen: Screen, found: dead_api.DeadList) -> None:
    if not found.groups:
        screen.say("There are none.")
        return
    rows = [
        (each.fingerprint, str(each.count), each.agent or "-", each.error, when(each.first_at), when(each.last_at),
         each.example)
        for each in found.groups
    ]  # fmt: skip
    screen.table(("GROUP", "COUNT", "AGENT", "ERROR", "FIRST", "LAST", "EXAMPLE"), rows, grow=3)
    screen.say(f"{count(found.total, 'dead letter')}, {len(found.groups)} different")
    screen.say("Look closer: ostinato dead list --group GROUP; then replay or dismiss")


def _show_letters(screen: Screen, found: dead_api.DeadList) -> None:
    if not found.dead:
        screen.say("There are none here.")
    else:
        rows = [
            (each.task.id, each.task.agent or "-", each.task.title, each.error, when(each.task.updated_at),
             each.fingerprint)
            for each in found.dead
        ]  # fmt: skip
        screen.table(("TASK", "AGENT", "TITLE", "ERROR", "FAILED", "GROUP"), rows, grow=3)
        screen.say("Look closer: ostinato dead show TASK; then replay or dismiss")
    if found.next:
        screen.say(f"older ones: --before {found.next}")


def show(task: TaskId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """How a task failed, all that is kept of it, and what can be done.

    Example: ostinato dead show T12
    """
    screen = Screen()
    view = Client(fleet).call(dead_api.show, dead_api.WhichLetter(task=task))
    if as_json:
        screen.json(view)
        return
    row = view.task
    screen.say(f"{row.id} {row.title}", style="strong")
    screen.pairs(
        [
            ("state", "dead letter" if row.dead else f"{row.state}, no dead letter"),
            ("agent", row.agent or "nobody"),
            ("failed", when(view.failed_at)),
            ("attempts", str(view.attempts)),
            ("error", f"{view.error}{f' ({view.error_class})' if view.error_class else ''}"),
            *failure_pairs(view.failures),
            ("group", f"{view.fingerprint}, {count(view.alike, 'letter')}" if view.alike else view.fingerprint),
            ("cost", f"{money(row.usd)}, {row.tokens} tokens"),
            ("asked by", view.requester),
            ("because of", " > ".join(view.causes)),
            ("goal", view.goal),
            ("input", msgspec.json.encode(view.input).decode() if view.input else ""),
            ("done for good", ", ".join(view.beyond_recall)),
        ]
    )
    show_attempts(screen, view.tries, view.steps, failures=view.failures)
    screen.say()
    screen.say(f"→ ostinato tasks why {row.id}       where it came from")
    if row.dead:
        screen.say(f"→ ostinato tasks retry {row.id}     go on from the last step")
        screen.say(f"→ ostinato dead replay {row.id}     begin anew, told of what was done")
        screen.say(f'→ ostinato dead dismiss {row.id} --reason "..."')


def replay(
    task: OneTask = None,
    *,
    group: Group = "",
    where: Where = "",
    edit: Annotated[
        Path | None, typer.Option("--edit", metavar="FILE", help="YAML or JSON with `goal`, `input` or both.")
    ] = None,
    goal: Annotated[str | None, typer.Option("--goal", metavar="TEXT", help="Another goal; - reads input.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key of the input; may be repeated.")
    ] = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="5/m", help="How many in how long at most.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Also what has done, or may have, what cannot be undone.")] = False,
    safe: Annotated[bool, typer.Option("--safe", help="Leave those out that have.")] = False,
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Try a failed task anew, told of what it did; or a group or query of them, as a task that can be cancelled.

    Example: ostinato dead replay T12
    """
    screen, client = Screen(), Client(fleet)
    many = bool(group or where)
    _check_one_way(task, many=many)
    edited = _edit(edit)
    words: dict[str, Any] = {
        "goal": text_argument(goal) if goal is not None else edited.get("goal"),
        "input": edited.get("input"),
        "keys": dict(map(_pair, set_ or ())),
        "reason": reason,
    }
    if not many:
        for option, given in (("--rate", rate), ("--safe", safe)):
            if given:
                raise Invalid("This is for many", place=option, cure="Name --group or --where, or leave it out.")
        row = client.call(dead_api.replay, dead_api.ReplayLetter(task=task or "", sure=yes, **words))
        screen.answer(row, f"{row.id} is {row.state}: ostinato tasks tail {row.id}", as_json=as_json)
        return
    risky = "replay" if yes else "leave" if safe else "ask"
    asked = msgspec.convert(
        {"group": group, "where": where, "rate": rate, "risky": risky, **words}, dead_api.ReplayMany
    )
    row = client.call(dead_api.replay_many, asked)
    told = f"{row.id} replays them: ostinato tasks tail {row.id}; stop it: ostinato tasks cancel {row.id}"
    screen.answer(row, told, as_json=as_json)


def dismiss(
    task: OneTask = None,
    *,
    group: Group = "",
    where: Where = "",
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Leave a failed task as it is, or a group or query of them: somebody has dealt with it.

    Example: ostinato dead dismiss T12 --reason "answered by hand"
    """
    screen, client = Screen(), Client(fleet)
    _check_one_way(task, many=bool(group or where))
    if task is not None:
        row = client.call(dead_api.dismiss, dead_api.WhichLetter(task=task, reason=reason))
        screen.answer(row, f"{row.id} is no dead letter any more", as_json=as_json)
        return
    if not reason.strip():
        raise Invalid("Why are they dismissed?", place="--reason", cure='Say it: --reason "answered by hand"')
    done = client.call(dead_api.dismiss_many, dead_api.DismissMany(group=group, where=where, reason=reason))
    screen.answer(done, f"{count(done.count, 'dead letter')} fewer", as_json=as_json)


def _check_one_way(task: str | None, *, many: bool) -> None:
    if (task is not None) == many:
        raise Invalid("Name one task, or many by --group or --where", cure="See them: ostinato dead list")


def _pair(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`; a value that is JSON is taken as that, any other as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise Invalid(f"{text[:60]!r} is not KEY=VALUE", place="--set", cure="For example --set country=CH")
    try:
        return key.strip(), msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return key.strip(), value


def _edit(file: Path | None) -> dict[str, Any]:
    """What a file says of goal and input."""
    if file is None:
        return {}
    found: Any = parse_yaml(file_argument(file, bytes_max=EDIT_BYTES_MAX), place=str(file)).plain()
    if not isinstance(found, dict) or not found or set(found) - {"goal", "input"}:
        raise Invalid("This is no edit", place=str(file), cure="It can have `goal`, a text, and `input`, an object.")
    if not isinstance(found.get("goal", ""), str) or not isinstance(found.get("input", {}), dict):
        raise Invalid("`goal` is a text, `input` an object", place=str(file), cure="Write 'input: {country: CH}'.")
    return found


HELP = "Dead letters: failed tasks that nobody has dealt with."

COMMANDS: Commands = {
    "list": list_dead,
    "show": show,
    "replay": replay,
    "dismiss": dismiss,
}
