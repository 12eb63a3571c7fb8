"""An environment of its own for each peer: made once in a cache folder, its versions pinned, nothing of ours inside.

Knows nothing of what is measured in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "huey": ("huey==3.5.4",),
    "dbos": ("dbos==3.4.0", "psycopg[binary]==3.3.9"),
    "pgqueuer": ("pgqueuer==1.6.0", "asyncpg==0.32.0"),
    "langgraph": ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2", "langchain-openai==1.7.3"),
    "agno": ("agno==3.1.10", "sqlalchemy==2.1.9", "openai==3.54.0", "greenlet"),
}
"""Peer -> what is installed for it."""

HERE = Path(__file__).parent
DEADLINE_S = 600.0


class NotInstalled(Exception):
    """A peer's environment could not be made: most often there is no network."""


def cache() -> Path:
    """Where environments are kept: OSTINATO_BENCH_CACHE, else the user's cache folder."""
    chosen = os.environ.get("OSTINATO_BENCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else base / "ostinato-bench"


def python_of(peer: str) -> Path:
    """The peer's own Python; makes its environment where it is missing. Raises NotInstalled."""
    wanted = "\n".join((sys.version, *REQUIREMENTS[peer]))
    folder = cache() / f"{peer}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *REQUIREMENTS[peer]],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        if done.returncode:
            raise NotInstalled(f"{peer}: {done.stderr.strip()[-300:]}")
    (folder / "complete").touch()
    return python


def run(peer: str, **asked: Any) -> dict[str, Any]:
    """Runs `run_<peer>.py` in the peer's environment; what it prints last, a JSON object."""
    done = subprocess.run(
        [str(python_of(peer)), str(HERE / f"run_{peer}.py"), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{peer}: {done.stderr.strip()[-2_000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def syncs(peer: str, traces: Path, **asked: Any) -> int | None:
    """How often the peer's process asks the disk to keep something during such a run; None without strace. A run of its
    own, because tracing slows it."""
    if shutil.which("strace") is None:
        return None
    log = traces / f"{peer}.strace"
    command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", str(log)]
    script = [str(python_of(peer)), str(HERE / f"run_{peer}.py"), json.dumps(asked)]
    done = subprocess.run([*command, *script], capture_output=True, timeout=DEADLINE_S, check=False)
    if done.returncode:
        return None
    return len(re.findall(r"\b(?:fsync|fdatasync)\(", log.read_text()))
