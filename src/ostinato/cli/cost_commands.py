"""`ostinato cost`: what was spent, by whom, on what, no-ops included.

Knows nothing of how operations work.
"""

from __future__ import annotations

import csv
import io
from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json, Since, Until
from ostinato.cli.screen import Screen
from ostinato.cli.words import count, money, when
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.gateway import cost_api
from ostinato.gateway.cost_api import CostView

BY = ("agent", "model", "task", "day", "trigger")


def cost(
    *,
    by: Annotated[str, typer.Option("--by", metavar="COLUMN", help=f"One of {', '.join(BY)}.")] = "agent",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1_000, help="How many lines at most.")] = 100,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, for a spreadsheet; sums in dollars.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What was spent in the last seven days, or since a time; wakes that did nothing are counted too.

    Example: ostinato cost --by model --since 30d
    """
    if by not in BY:
        raise Invalid(unknown_name("column", by, BY), place="--by")
    screen = Screen()
    view = Client(fleet).call(cost_api.show, cost_api.WhichCost(by=by, since=since, until=until, limit=limit))  # type: ignore[arg-type]  # checked above
    if as_json:
        screen.json(view)
    elif as_csv:
        for line in _csv(view).splitlines():
            screen.raw("", line)
    else:
        _show(screen, view)


def _show(screen: Screen, view: CostView) -> None:
    note = f" ({view.note})" if view.note else ""
    screen.say(f"since {when(view.since)}{f' until {when(view.until)}' if view.until else ''}{note}")
    rows = [
        (
            each.name,
            money(each.usd, unpriced=each.unpriced_calls),
            str(each.calls),
            str(each.input_tokens),
            str(each.cached_tokens),
            str(each.output_tokens),
            str(each.skipped),
            *((each.title,) if view.by == "task" else ()),
        )
        for each in view.lines
    ]
    if rows:
        heads = (view.by.upper(), "COST", "CALLS", "INPUT", "CACHED", "OUTPUT", "FREE WAKES")
        screen.table((*heads, *(("TITLE",) if view.by == "task" else ())), rows)
    total = money(view.usd, unpriced=view.unpriced_calls)
    unpriced = f", {view.unpriced_calls} of them with an unknown price" if view.unpriced_calls else ""
    free = f"; {count(view.skipped, 'wake')} without any" if view.skipped else ""
    if view.answered:
        screen.say(f"{count(view.answered, 'task')} answered from results of equal ones, {money(view.saved_usd)} saved")
    screen.say(f"in all {total} for {count(view.calls, 'model call')}{unpriced}, {view.tokens} tokens{free}")


COLUMNS = ("usd", "calls", "unpriced_calls", "input_tokens", "cached_tokens", "output_tokens", "skipped")


def _csv(view: CostView) -> str:
    """RFC 4180, but for its line ends; a name that a spreadsheet would take for a formula is given a quote to begin
    with."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow((view.by, *COLUMNS))
    for line in view.lines:
        name = f"'{line.name}" if line.name[:1] in "=+-@\t\r" else line.name
        writer.writerow((name, *("" if (value := getattr(line, each)) is None else value for each in COLUMNS)))
    return written.getvalue().rstrip("\n")


COMMANDS: Commands = {
    "cost": cost,
}
