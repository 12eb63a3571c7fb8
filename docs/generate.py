"""Writes the generated parts of the reference anew: whatever the code knows better than a person's memory.

A page says `<!-- generated: NAME -->` ... `<!-- end -->`; `BLOCKS` says how NAME is written. `make docs` runs this, and
`tests/test_docs.py` fails where a page is out of date.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Callable
from pathlib import Path

from docs import leash
from docs.leash import table
from docs.promises import figures, promises
from ostinato.cli.reference import reference as commands
from ostinato.domain.task import TRANSITIONS, TaskKind, TaskState, WaitKind
from ostinato.gateway.reference import operations, structs
from ostinato.tools.describe import reference

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def names(members: type[enum.StrEnum]) -> str:
    """The members of an enum in one line."""
    return ", ".join(f"`{each.value}`" for each in members)


def moves() -> str:
    """The table of states as a diagram and as a table, both from the one table in the code."""
    arrows = [f"    {state.value} --> {after.value}: {event.value}" for (state, event), after in TRANSITIONS.items()]
    begin = [f"    [*] --> {state.value}" for state in (TaskState.DRAFT, TaskState.BLOCKED, TaskState.READY)]
    diagram = "\n".join(["```mermaid", "stateDiagram-v2", *begin, *arrows, "```"])
    rows = (
        (f"`{state.value}`", ", ".join(f"{e.value} → `{to.value}`" for (s, e), to in TRANSITIONS.items() if s is state))
        for state in TaskState
    )
    return f"{diagram}\n\n" + table(("In", "can"), ((state, can or "nothing: it has ended") for state, can in rows))


BLOCKS: dict[str, Callable[[], str]] = {
    "kinds": lambda: names(TaskKind),
    "moves": moves,
    "waits": lambda: names(WaitKind),
    "cli": commands,
    "operations": operations,
    "answers": structs,
    "tools": reference,
    "promises": promises,
    "figures": figures,
    **leash.PARTS,
}


def fresh(page: str) -> str:
    """`page` with its generated parts as they should be now; raises KeyError for a part that nobody writes."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", page)


def main() -> None:
    """Bring every page up to date and say which have changed."""
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (now := fresh(page)) != page:
            path.write_text(now, encoding="utf-8")
            sys.stdout.write(f"written: {path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
