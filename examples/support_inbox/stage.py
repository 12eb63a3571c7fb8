"""The stage of the demo: a folder with a copy of the fleet, and the supervisor that keeps its node running.

Knows nothing of what is shown.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from examples.support_inbox.story import Story, midnight_of_the_story
from ostinato.config import STATE_FOLDER
from ostinato.domain.errors import Conflict
from ostinato.domain.values import SECOND
from ostinato.workspace.fleet_file import read_fleet

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PREFIX = "ostinato-demo-"
MARK = "demo.pid"
"""A file that only folders of this demo have: the pid of the demo that uses it."""

BEGINS_HOUR, UNTIL_HOUR, OVER_HOUR = 7, 18.25, 19
STOP_S = 40.0


class Stage:
    """One performance. `folder` is kept when it is over, until the next one."""

    def __init__(self, folder: Path, story: Story) -> None:
        self.folder = folder
        self.fleet = folder / "fleet"
        self.outbox = self.fleet / "outbox"
        self.story = story
        self._supervisor: subprocess.Popen[bytes] | None = None

    @classmethod
    def set_up(cls, folder: Path | None, *, mails: Path, pace_s: float, patience_s: float = 2.0) -> Stage:
        """A new stage: in `folder`, or in a temporary one. Raises Conflict for a folder that is not the demo's."""
        folder = _fresh(folder)
        (folder / MARK).write_text(str(os.getpid()))
        shutil.copytree(HERE / "fleet", folder / "fleet", ignore=shutil.ignore_patterns("__pycache__", STATE_FOLDER))
        (folder / "fleet" / "agents" / "triage" / "inbox").mkdir(exist_ok=True)
        midnight_at = midnight_of_the_story(read_fleet(folder / "fleet").timezone, over_at_hour=OVER_HOUR)
        story = Story(
            mails=str(mails),
            midnight_at=midnight_at,
            begins_at=midnight_at + BEGINS_HOUR * 3_600 * SECOND,
            until_at=midnight_at + round(UNTIL_HOUR * 3_600) * SECOND,
            pace_s=pace_s,
            patience_s=patience_s,
        )
        (folder / "story.json").write_bytes(msgspec.json.encode(story))
        _make_private(folder)
        return cls(folder, story)

    @property
    def log(self) -> Path:
        """What the node says."""
        return self.fleet / STATE_FOLDER / "logs" / "node.log"

    def start(self) -> None:
        """Starts the supervisor, which starts the node."""
        state = self.fleet / STATE_FOLDER
        state.mkdir(mode=0o700, exist_ok=True)
        node = [sys.executable, "-m", "examples.support_inbox.node", str(self.folder)]
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "ostinato.supervisor", str(state), *node],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # the supervisor keeps it all in the log
            start_new_session=True,  # Ctrl-C is the demo's to answer
            preexec_fn=_stop_with_parent,
        )

    def is_up(self) -> bool:
        """True while the supervisor runs."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def stop(self) -> None:
        """Stops node and supervisor in order; twice is fine."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.send_signal(signal.SIGTERM)
            try:
                supervisor.wait(STOP_S)
            except subprocess.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()
        (self.folder / MARK).write_text("0")


def _stop_with_parent() -> None:
    """In the child: the kernel stops the supervisor when the demo is killed. Only Linux offers it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG of linux/prctl.h


def _fresh(folder: Path | None) -> Path:
    """An empty folder; those of earlier demos that are over are removed."""
    if folder is None:
        for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if _is_over(old):
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    if folder.exists() and any(folder.iterdir()):
        if not _is_over(folder):
            raise Conflict(f"{folder} is not empty, and not what an earlier demo left", cure="Name another folder.")
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.resolve()


def _is_over(folder: Path) -> bool:
    """True for a folder of this user that a demo has made and does not use any more."""
    try:
        state = folder.lstat()
        pid = int((folder / MARK).read_text())
    except (OSError, ValueError):
        return False
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        return False
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
    return True


def _make_private(folder: Path) -> None:
    """A clone may be writable for a group; a fleet is its owner's."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
