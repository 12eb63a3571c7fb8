"""What a room costs: `exec.run` of a program that does nothing, from call to result, beside the bare program."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from benchmarks.result import Result, at_most, quantile
from ostinato.domain.policy import Policy
from ostinato.tools.commands import CommandPlace
from ostinato.tools.port import CommandRules, OutsideTool, ToolContext
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import perform, report_of

CALLS = 100
ORDINARY = 12_345
"""As whom commands run where this runs as root, for whom they never do."""


def command_ms() -> Sequence[Result]:
    """`command.ms`: the median of one call after the other."""
    folder = Path(tempfile.mkdtemp(prefix="ostinato-bench-", dir="/tmp"))
    try:
        workspace = folder / "agents/a"
        workspace.mkdir(parents=True)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, ORDINARY, ORDINARY)
        times, way = asyncio.run(_calls(folder, workspace))
    finally:
        shutil.rmtree(folder)
    bare = quantile([_bare_s() for _ in range(CALLS)], 0.5) * 1_000
    note = f"{way}; p95 {quantile(times, 0.95) * 1_000:.1f} ms; bound: the program alone"
    return (at_most("command.ms", quantile(times, 0.5) * 1_000, "ms", floor=25.0, bound=bare, note=note),)


async def _calls(folder: Path, workspace: Path) -> tuple[list[float], str]:
    tool = standard_toolbox(CommandPlace(fleet=folder, state_dir=folder / "state")).get("exec.run")
    assert isinstance(tool, OutsideTool)
    backend, _ = (await preflight(folder)).required()
    arguments = {"argv": ["true"]}
    context = ToolContext(
        task=1,
        call_id="1.0",
        key="0" * 32,
        agent="a",
        session="main",
        workspace=workspace,
        now=0,
        policy=Policy(agent="a", tools=("exec.run",)),
        commands=CommandRules(commands=("true",)),
    )
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        report = report_of(tool, arguments, context)
        result = await perform(tool, replace(context, bound=report.bound), arguments)
        times.append(time.perf_counter() - began)
        assert result.text.startswith("exit 0"), result.text
    return times, backend.name


def _bare_s() -> float:
    began = time.perf_counter()
    subprocess.run(["/usr/bin/true"], check=True)
    return time.perf_counter() - began
