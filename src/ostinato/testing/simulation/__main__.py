"""`python -m ostinato.testing.simulation`: runs seeds until one breaks a law, or tells one seed's run line by line.

--seed N            one run, with its trace
--from N --seeds M  M runs from N on; the seeds that break a law are named
--bug NAME          with a seeded bug
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

from ostinato.testing.simulation.bugs import BUGS, planted
from ostinato.testing.simulation.laws import judge
from ostinato.testing.simulation.run import Run, simulate
from ostinato.testing.simulation.story import Happening


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 where every law held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m ostinato.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one run, told line by line")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of many seeds")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant a seeded bug")
    asked = parser.parse_args(arguments)
    with planted(asked.bug) if asked.bug else contextlib.nullcontext():
        if asked.seed is not None:
            return _tell(asked.seed)
        return _run_many(range(asked.first, asked.first + asked.seeds))


def _tell(seed: int) -> int:
    run = simulate(seed)
    found = judge(run)
    sys.stdout.write("".join(f"{line}\n" for line in story_of(run)))
    sys.stdout.write(f"trace {run.trace}\n")
    sys.stdout.write("".join(f"BROKEN {each}\n" for each in found) or "every law held\n")
    return 1 if found else 0


def _run_many(seeds: range) -> int:
    broken = 0
    for seed in seeds:
        found = judge(simulate(seed))
        broken += bool(found)
        for each in found:
            sys.stdout.write(f"seed {seed}: {each}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(seeds)} seeds, {broken} of them break a law\n")
    return 1 if broken else 0


def story_of(run: Run) -> list[str]:
    """What was planned, what happened, and what is left, for a person to read."""
    planned = [f"{at_s:10.6f} s  plan    {_short(each)}" for at_s, each in run.story.happenings]
    happened = [str(line) for line in run.lines]
    left = [
        f"{task.name:<5} {task.kind.value:<9} {task.state.value:<9} {task.agent or '-':<6} "
        f"{task.session or '-':<14} {task.title} | {task.reason}"
        for task in run.left.tasks
    ]
    return [*planned, "", *happened, "", *left, ""]


def _short(happening: Happening) -> str:
    text = repr(happening)
    return text if len(text) <= 200 else f"{text[:197]}..."


if __name__ == "__main__":
    sys.exit(main())
