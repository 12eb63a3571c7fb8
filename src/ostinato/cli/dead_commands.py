"""`ostinato dead ...`: failed tasks that nobody has dealt with yet.

Knows nothing of how operations work.
"""

from __future__ import annotations

from ostinato.cli.client import Client
from ostinato.cli.options import Before, Commands, Fleet, Json, Limit, OfAgent, Reason, TaskId
from ostinato.cli.screen import Screen
from ostinato.cli.words import count, money, when
from ostinato.gateway import dead_api


def list_dead(
    *, agent: OfAgent = None, before: Before = None, limit: Limit = 50, fleet: Fleet = None, as_json: Json = False
) -> None:
    """Dead letters, newest first.

    Example: ostinato dead list
    """
    screen = Screen()
    found = Client(fleet).call(dead_api.list_dead, dead_api.WhichDead(agent=agent, before=before, limit=limit))
    if as_json:
        screen.json(found)
        return
    if not found.dead:
        screen.say("There are none.")
        return
    rows = [
        (each.task.id, each.task.agent or "-", each.task.title, each.error, when(each.task.updated_at))
        for each in found.dead
    ]
    screen.table(("TASK", "AGENT", "TITLE", "ERROR", "FAILED"), rows, grow=3)
    alike = len({each.fingerprint for each in found.dead})
    screen.say(f"{count(found.total, 'dead letter')}, {alike} different on this page")
    screen.say("Look closer: ostinato tasks why TASK; then replay or dismiss")
    if found.next:
        screen.say(f"older ones: ostinato dead list --before {found.next}")


def show(task: TaskId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """How a task failed, and what can be done.

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
            ("cost", f"{money(row.usd)}, {row.tokens} tokens"),
            ("goal", view.goal),
        ]
    )
    screen.say()
    screen.say(f"→ ostinato tasks why {row.id}       where it came from")
    if row.dead:
        screen.say(f"→ ostinato tasks retry {row.id}     go on from the last step")
        screen.say(f"→ ostinato dead replay {row.id}     begin anew, told of what was done")
        screen.say(f'→ ostinato dead dismiss {row.id} --reason "..."')


def replay(task: TaskId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """Try a failed task anew; its new journal is told what the old one did.

    Example: ostinato dead replay T12
    """
    screen = Screen()
    row = Client(fleet).call(dead_api.replay, dead_api.WhichLetter(task=task, reason=reason))
    if as_json:
        screen.json(row)
    else:
        screen.say(f"{row.id} is {row.state}: ostinato tasks tail {row.id}")


def dismiss(task: TaskId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """Leave a failed task as it is: somebody has dealt with it.

    Example: ostinato dead dismiss T12 --reason "answered by hand"
    """
    screen = Screen()
    row = Client(fleet).call(dead_api.dismiss, dead_api.WhichLetter(task=task, reason=reason))
    if as_json:
        screen.json(row)
    else:
        screen.say(f"{row.id} is no dead letter any more")


HELP = "Dead letters: failed tasks that nobody has dealt with."

COMMANDS: Commands = {
    "list": list_dead,
    "show": show,
    "replay": replay,
    "dismiss": dismiss,
}
