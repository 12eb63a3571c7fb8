"""`python -m benchmarks [NAME...] [--json] [--write-docs]`: runs the named benchmarks, or all, and prints a table, or
JSON lines. A name such as `peers` stands for all whose names begin with it. `--write-docs` puts the figures into the
docs.

Exits with 1 where a floor is missed, with 2 for a name that there is not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from benchmarks import (
    backlog,
    commands,
    crowd,
    engine,
    graphs,
    million,
    node,
    orchestra,
    page,
    postgres,
    prompt,
    tree,
    turn,
)
from benchmarks.peers import compare
from benchmarks.result import Bench, Result

BENCHES: dict[str, Bench] = {
    "cli.version_s": prompt.version_s,
    "prompt.bytes": prompt.prompt_bytes,
    "engine.start_ms": engine.start_ms,
    "engine.tasks_per_s": engine.tasks_per_s,
    "postgres.tasks_per_s": postgres.tasks_per_s,
    "turn.ms": turn.turn_ms,
    "turn.per_s": turn.turn_per_s,
    "message.ms": turn.message_ms,
    "routing.decisions_per_s": orchestra.decisions_per_s,
    "spawn.ms": orchestra.spawn_ms,
    "graph.tasks_per_s": graphs.tasks_per_s,
    "preempt.ms": graphs.preempt_ms,
    "node.start_s": node.start_s,
    "node.rss_mb": node.rss_mb,
    "heartbeat.idle_model_calls": node.rss_mb,
    "takeover_s": node.takeover_s,
    "takeover_s.tree": tree.takeover_s,
    "command.ms": commands.command_ms,
    "engine.backlog": backlog.backlog,
    "node.idle_cpu.12": crowd.few,
    "node.idle_cpu.10000": crowd.many,
    "list_ms": million.million,
    "list_ms.postgres": million.on_postgres,
    "peers.tasks": compare.tasks,
    "peers.turns": compare.turns,
}
"""Name -> what measures it; two names may share one run."""


def _chosen(names: list[str]) -> list[Bench]:
    wanted = [known for name in names or [""] for known in BENCHES if known == name or known.startswith(_room(name))]
    return list(dict.fromkeys(BENCHES[name] for name in wanted))


def _room(name: str) -> str:
    """What the names of a group begin with: `peers` stands for all peers, nothing for everything."""
    return f"{name}." if name else ""


def _results(benches: list[Bench]) -> Iterator[Result]:
    for bench in benches:
        yield from bench()


def _row(result: Result) -> str:
    bound = "" if result.bound is None else f"{result.bound:,.2f}"
    verdict = {True: "ok", False: "MISSED", None: ""}[result.ok]
    figures = f"{result.name:<28} {result.value:>12,.2f} {result.unit:<9} {result.floor:<34} {bound:>10}"
    return f"{figures}  {verdict:<7}{result.note}"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/reference/benchmarks.md")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if not _chosen([name])]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHES)}")
    if not asked.json:
        print(f"{'name':<28} {'value':>12} {'unit':<9} {'floor':<34} {'bound':>10}")
    found = []
    for result in _results(_chosen(asked.names)):
        print(result.as_json() if asked.json else _row(result), flush=True)
        found.append(result)
        if asked.write_docs:
            page.write(found)
    return 1 if any(each.ok is False for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
