"""A fleet on its site: its files, its nodes in whatever version, and what people do from outside.

Nodes run under the real supervisor, in processes of their own. Knows nothing of what a test wants to see.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ostinato
from ostinato.cli.client import Client
from ostinato.gateway import agents_api, fleet_api, tasks_api
from ostinato.store.sqlite.migrations import migrations
from tests.conftest import wait_until

PACKAGE = Path(ostinato.__file__).parent
ROOT = Path(__file__).parents[2]

NEXT_VERSION = "99.0.0"
NEXT_SCHEMA = max(migrations()) + 1


class Site:
    """One fleet, its files and its node."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.client = Client(folder)
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / ".ostinato"

    @property
    def log(self) -> str:
        """What node and supervisor have said."""
        file = self.state / "logs/node.log"
        return file.read_text() if file.exists() else ""

    def write(self, **files: str) -> None:
        """Writes files; `agents__a__SOUL_md` is agents/a/SOUL.md."""
        for name, text in files.items():
            path = self.folder / re.sub(r"_(md|toml)$", r".\1", name.replace("__", "/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def write_models(self, *, model: str) -> None:
        """The fleet's file: one server, and what its model is called there."""
        self.write(
            ostinato_toml=f'[fleet]\nname = "site"\nmodel = "main"\n\n[models.main]\nprovider = "own"\n'
            f'model = "{model}"\nbase_url = "{self.url}"\nstream = false\n'
        )

    # --- nodes ---

    def start(self, *, package: Path | None = None) -> None:
        """Starts a node under its supervisor, and returns once it answers. `package` is the folder that holds the
        version to run; today's unless given."""
        self._node = self._spawn(package)
        wait_until(lambda: self._node.poll() is not None or self.client.node_runs())  # type: ignore[union-attr]  # just made
        assert self._node.poll() is None, self.log

    def refused(self, *, package: Path | None = None) -> tuple[int, str]:
        """Exit code and last words of a node that does not want to run."""
        process = self._spawn(package)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors.decode()

    def _spawn(self, package: Path | None) -> subprocess.Popen[bytes]:
        node = [sys.executable, "-m", "ostinato.node", str(self.folder)]
        self.state.mkdir(mode=0o700, exist_ok=True)
        environment = dict(os.environ)
        if package is not None:
            environment["PYTHONPATH"] = str(package)
        return subprocess.Popen(
            [sys.executable, "-m", "ostinato.supervisor", str(self.state), *node],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.folder,
        )

    def hang_up(self) -> None:
        """Asks the node to begin anew."""
        assert self._node is not None
        self._node.send_signal(signal.SIGHUP)

    def drain(self) -> None:
        """Tells the node to stop, and returns once it begins nothing new; what is under way may come to its next step.
        `ended` waits for it."""
        assert self._node is not None
        self._node.send_signal(signal.SIGTERM)
        wait_until(lambda: not self.client.node_runs())  # it closes its door behind that

    def ended(self) -> None:
        """Returns once a node that was told to stop has stopped, in order."""
        assert self._node is not None
        self._node.communicate(timeout=120)
        assert self._node.returncode == 0, self.log
        self._node = None

    def kill(self) -> None:
        """SIGKILL for node and supervisor: as if the machine had stopped."""
        assert self._node is not None
        self._node.kill()
        self._node.communicate(timeout=120)
        self._node = None
        wait_until(lambda: not self.client.node_runs())

    def close(self) -> None:
        """Leaves nothing running."""
        if self._node is not None:
            self._node.kill()
            self._node.communicate()
            self._node = None

    # --- people ---

    def goal(self, agent: str, text: str) -> str:
        """Adds a task; its name."""
        return self.client.call(tasks_api.add, tasks_api.AddTask(title=text, goal=text, agent=agent)).id

    def until(self, task: str, state: str = "done") -> tasks_api.TaskView:
        """The task, once it is in this state."""

        def look() -> tasks_api.TaskView | None:
            view = self.client.call(tasks_api.show, tasks_api.WhichTask(task=task))
            return view if view.task.state == state else None

        found = wait_until(look)
        assert found is not None
        return found

    def hold(self, agent: str, *, kill: bool) -> None:
        """Pauses or kills an agent."""
        leash = agents_api.LeashAgent(agent=agent, reason="a person said so")
        self.client.call(agents_api.kill if kill else agents_api.pause, leash)

    def resume(self, agent: str) -> None:
        """Lets it go on."""
        self.client.call(agents_api.resume, agents_api.LeashAgent(agent=agent, reason="all is well"))

    def backup(self, target: Path) -> None:
        """A copy of the state while the node runs."""
        self.client.call(fleet_api.backup, fleet_api.BackupFleet(file=str(target)))


@contextlib.contextmanager
def site(folder: Path, url: str) -> Iterator[Site]:
    """A fleet of one agent, not running yet."""
    made = Site(folder, url)
    made.write_models(model="m-1")
    made.write(
        agents__helper__SOUL_md="You are SOUL-ONE.",
        agents__helper__AGENTS_md="---\nskills: [help]\n---\nPROTOCOL-ONE.",
        agents__helper__TOOLS_md='---\nallow: [files.read, files.write]\nfiles: {read: ["."], write: [out/]}\n---\n',
    )
    try:
        yield made
    finally:
        made.close()


def next_version(folder: Path) -> Path:
    """A copy of the package as a later release: another number, one migration more, and a column that it uses."""
    copy = folder / "next"
    # Times of files are kept, so that compiled modules are still good.
    shutil.copytree(PACKAGE, copy / "ostinato", ignore=shutil.ignore_patterns("templates.bak"))
    init = copy / "ostinato/__init__.py"
    text, count = re.subn(r'__version__ = "[^"]+"', f'__version__ = "{NEXT_VERSION}"', init.read_text())
    assert count == 1
    init.write_text(text)
    name = f"{NEXT_SCHEMA:03d}_later.sql"
    (copy / "ostinato/store/sqlite/migrations" / name).write_text(
        "-- What a later release may want.\n\n"
        "CREATE TABLE later (id INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;\n"
        "ALTER TABLE tasks ADD COLUMN later TEXT;\n"
    )
    return copy
