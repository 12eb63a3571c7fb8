"""A program of another make does a goal, while the node that looks after it is stopped and started again.

    python -m examples.coding_agent.demo

Everything is on this machine, no model is asked, and the fleet is a copy that goes away. Exits with 1 unless the result
arrived once, with its diff and its cost.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ostinato.app import FleetApp
from ostinato.cli.client import Client
from ostinato.gateway import processes_api, tasks_api
from ostinato.gateway.log_lines import LogLines

HERE = Path(__file__).parent / "fleet"
WAIT_S = 60.0
LOOK_S = 0.05
ORDINARY = 12_345
"""As whom the program runs where this runs as root, for whom commands never do."""


def main() -> int:
    """Plays the story in a copy of the fleet."""
    with tempfile.TemporaryDirectory(prefix="ostinato-workshop-", dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        shutil.copytree(HERE, folder / "fleet")
        os.environ["XDG_CONFIG_HOME"] = str(folder / "keyring")
        _commit(folder / "fleet")
        return asyncio.run(play(folder / "fleet"))


async def play(fleet: Path) -> int:
    """From the goal to its result, over a restart."""
    client, app = Client(fleet), _node(fleet)
    await app.start()
    try:
        task = (await _call(client, tasks_api.add, tasks_api.AddTask(title="Be polite", agent="coder"))).id
        for _ in range(round(WAIT_S / LOOK_S)):  # what another program says is no event of ours
            if await _processes(client):
                break
            await asyncio.sleep(LOOK_S)
        print(f"{task} is given to a program, which works by itself")
        await app.stop()
        print("the node is stopped; the program goes on")
        app = _node(fleet)
        await app.start()
        assert app.node is not None
        async with asyncio.timeout(WAIT_S):
            await app.node.completions.wait(int(task[1:]))
        shown = (await _call(client, tasks_api.show, tasks_api.WhichTask(task=task))).task
        rows = await _processes(client)
        assert app.store is not None
        found = await app.store.read(lambda tx: tx.task(int(task[1:])))
    finally:
        await app.stop()
    data = (found.result.data if found.result else None) or {}
    print(f"{task} is {shown.state}: {found.result.text if found.result else ''}")
    print(
        "\n".join(
            line for line in data.get("diff", "").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
        )
    )
    print(f"it says that it cost ${found.usd_micros / 1_000_000:.4f}; started {len(rows)} time")
    return 0 if shown.state == "done" and "+Good morning" in data.get("diff", "") and found.usd_micros == 4_200 else 1


def _node(fleet: Path) -> FleetApp:
    return FleetApp(fleet, log=LogLines(io.StringIO()))


async def _call(client: Client, route: Any, request: Any) -> Any:
    return await asyncio.to_thread(client.call, route, request)


async def _processes(client: Client) -> list[Any]:
    found = await _call(client, processes_api.list_processes, processes_api.WhichProcesses(all=True))
    return [each for each in found.processes if each.bytes]


def _commit(fleet: Path) -> None:
    """Makes the agent's folder a repository, and the fleet an ordinary user's."""
    as_owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_owner = {"user": ORDINARY, "group": ORDINARY, "extra_groups": []}
        for path in (fleet, *fleet.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)
    who = {f"GIT_{role}_{what}": "workshop@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", **who}
    for words in (("init", "-q"), ("add", "coder.py", "greeting.txt"), ("commit", "-qm", "First")):
        subprocess.run(["git", *words], cwd=fleet / "agents/coder", env=environment, check=True, **as_owner)


if __name__ == "__main__":
    sys.exit(main())
