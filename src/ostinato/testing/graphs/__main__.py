"""`python -m ostinato.testing.graphs FILE...`: performs graphs in WfFormat as tasks that do nothing, and checks them.

Prints one JSON object for each file. Exits with 1 where a task began before its parents had ended, was performed twice
or never, or is not done; with 2 for a file that cannot be read.

--state DIR     the store's folder, which must be new; else one that goes away
--database URL  an empty PostgreSQL database instead
--log FILE      a line for each beginning and each end of a task, as they happen: `begin ID`, `end ID`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ostinato.app.parts import open_store_of
from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.domain.values import to_json
from ostinato.store.port import Store
from ostinato.testing.graphs.trial import Trial, perform_graph
from ostinato.testing.graphs.wfformat import read_wfformat
from ostinato.workspace.fleet_file import FleetSettings, StoreEntry


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ostinato.testing.graphs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--state", type=Path, metavar="DIR")
    place.add_argument("--database", metavar="URL")
    parser.add_argument("--log", type=Path, metavar="FILE")
    asked = parser.parse_args(arguments)
    if len(asked.files) > 1 and (asked.state or asked.database):
        parser.error("--state and --database take one file")
    code = 0
    with contextlib.ExitStack() as ends:
        log = ends.enter_context(asked.log.open("a", encoding="utf-8", buffering=1)) if asked.log else None
        for file in asked.files:
            try:
                trial = _perform(file, state=asked.state, database=asked.database, log=log)
            except OstinatoError as error:
                sys.stderr.write(f"error: {error}\n")
                code = 2
                continue
            sys.stdout.write(to_json(trial).decode() + "\n")
            code = code or int(not trial.kept)
    return code


def _perform(file: Path, *, state: Path | None, database: str | None, log: TextIO | None) -> Trial:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Invalid(f"It cannot be read: {error.strerror}", place=str(file)) from None
    graph = read_wfformat(raw, place=str(file))

    def say(what: str, task: str) -> None:
        if log is not None:
            log.write(f"{what} {task}\n")

    async def work(folder: Path) -> Trial:
        store = _open(database, folder)
        try:
            return await perform_graph(store, graph, say=say)
        finally:
            await store.close()

    with tempfile.TemporaryDirectory(prefix="ostinato-graph-") as made:
        return asyncio.run(work(state or Path(made) / "state"))


def _open(database: str | None, folder: Path) -> Store:
    return open_store_of(FleetSettings(name="graphs", store=StoreEntry(url=database)), folder)


if __name__ == "__main__":
    sys.exit(main())
