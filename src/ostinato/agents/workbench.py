"""The folder in which a program works for an agent, as Git sees it: a worktree of its own, and what has changed there.

Git runs where the agent's commands run, in a sandbox of the agent's folder: what it reads there, an agent has written.
Knows nothing of tasks.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ostinato.domain.errors import Conflict
from ostinato.tools.sandbox.command import Finished, run_command
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.protected import prepare
from ostinato.tools.sandbox.room import Bounds, Errand, Room
from ostinato.tools.sandbox.surroundings import environment

WORKTREES = "worktrees"
GIT_S = 60.0
_GIT = "/usr/bin/git"
_PLAIN = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")


class Workbench:
    """One agent's folder."""

    def __init__(self, folder: Path, *, fleet: Path, agent: str) -> None:
        self._folder = folder
        self._fleet = fleet
        self._agent = agent

    async def worktree(self, name: str) -> str:
        """A worktree of this name, from the last commit; where there is one it is gone on with. Its path in the folder.
        Raises Conflict where the folder has no repository with a commit."""
        path = f"{WORKTREES}/{name}"
        if await asyncio.to_thread((self._folder / path / ".git").exists):
            return path
        finished = await self._git("worktree", "add", "--detach", path)
        if finished.code != 0:
            said = finished.output.head.decode(errors="replace").strip()[-300:]
            raise Conflict(f"There is no worktree for {name}: {said}", cure="Make the agent's folder a Git repository.")
        return path

    async def base(self, path: str) -> str:
        """The commit that is checked out there; empty where there is none."""
        if not await self._has_git(path):
            return ""
        finished = await self._git("rev-parse", "--verify", "-q", "HEAD", path=path)
        return finished.output.head.decode().strip() if finished.code == 0 else ""

    async def diff(self, path: str, *, base: str) -> str:
        """What has changed since that commit, also in files that are new; empty where nobody can tell."""
        if not base or not await self._has_git(path):
            return ""
        await self._git("add", "--intent-to-add", "--all", ".", path=path)
        finished = await self._git("diff", "--no-color", "--no-ext-diff", "--no-textconv", base, "--", ".", path=path)
        kept = finished.output
        return (kept.head + kept.tail).decode(errors="replace") if finished.code == 0 else ""

    async def _has_git(self, path: str) -> bool:
        place = self._folder / path / ".git"
        return await asyncio.to_thread(lambda: place.is_file() or (place / "HEAD").exists())

    async def _git(self, *words: str, path: str = ".") -> Finished:
        backend, account = (await preflight(self._fleet)).required()
        watch = await asyncio.to_thread(prepare, self._folder)
        room = Room(workspace=self._folder, guard=watch.guard, bounds=Bounds(wall_s=GIT_S))
        errand = Errand(
            argv=(_GIT, *_PLAIN, *words),
            cwd=self._folder / path,
            environment=environment(agent=self._agent, folders=(), secrets={}),
        )
        return await run_command(backend, room, errand, account=account, watch=watch)
