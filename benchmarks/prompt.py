"""What a bare turn sends before anybody has said anything: the files of a new fleet's agents, the rules, the tools."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.places import real_directory
from benchmarks.result import Result, at_most, quantile
from ostinato.agents.leash import LeashMaker
from ostinato.domain.values import to_json
from ostinato.tools.standard import standard_toolbox
from ostinato.workspace.init import init_fleet
from ostinato.workspace.registry import Workspaces


def prompt_bytes() -> Sequence[Result]:
    """`prompt.bytes`: the largest fixed prompt among the agents of a fleet fresh from its template."""
    with real_directory() as directory:
        fleet = directory / "fleet"
        init_fleet(fleet)
        workspaces = Workspaces(fleet)
        maker = LeashMaker(workspaces=workspaces, toolbox=standard_toolbox(), fleet="fleet", colleagues=lambda: ())
        sizes = {}
        for agent in workspaces.ids():
            fixed = maker.fixed(workspaces.current(agent))
            sizes[agent] = sum(len(part.text.encode()) for part in fixed.parts) + len(to_json(fixed.specs))
    agent, size = max(sizes.items(), key=lambda each: each[1])
    return (at_most("prompt.bytes", float(size), "bytes", floor=8_000.0, note=f"agent {agent}, tools included"),)


def version_s() -> Sequence[Result]:
    """`cli.version_s`: the whole process of `ostinato --version`."""
    command = [str(Path(sys.executable).with_name("ostinato")), "--version"]
    times = []
    for _ in range(11):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return (at_most("cli.version_s", quantile(times, 0.5), "s", floor=0.15, note="median of 11"),)
