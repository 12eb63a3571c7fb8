"""The fleet under siege: its folder, its one running node, and an honest caller who looks after both.

Knows nothing of hostile input, but for the script files that the fleet's file must name before the node starts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from ostinato.cli.client import UnixConnection
from ostinato.gateway.keyring import TOKEN_VARIABLE
from tests.conftest import wait_until
from tests.security.hostile.case import Case, Content, Surface
from tests.security.hostile.front_matter_form import document
from tests.security.hostile.http_form import TOKEN

NODE = (sys.executable, "-m", "ostinato.node")
WAIT_S = 60.0

GOOD_SCRIPT = """default:
  text: "All is well."
"""
SCRIPT_FOLDER = "models/hostile"
ENDED = frozenset({"done", "failed", "cancelled"})


class Stand:
    """A fleet in `folder` and its node."""

    def __init__(self, folder: Path, scripts: Sequence[str], *, node: Sequence[str] = NODE) -> None:
        self.folder = folder
        self.log = folder.parent / "node.log"
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None
        _write_fleet(folder, scripts)

    def __enter__(self) -> Stand:
        with self.log.open("wb") as log:
            command = [*self._node, str(self.folder)]
            environment = {**os.environ, TOKEN_VARIABLE: TOKEN}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        wait_until(self._is_ready)
        assert self.add_task("The first", agent="clerk")["id"] == "T1"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def state_dir(self) -> Path:
        """Where the socket is."""
        return self.folder / ".ostinato"

    @property
    def pid(self) -> int:
        """The node's."""
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        """True where the node has not ended."""
        assert self._process is not None
        return self._process.poll() is None

    def _is_ready(self) -> bool:
        assert self.is_alive(), self.log.read_text(errors="replace")[-2_000:]
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def call(self, method: str, target: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """An honest request: status and document."""
        connection = UnixConnection(self.state_dir)
        try:
            data = None if body is None else msgspec.json.encode(body)
            headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
            connection.request(method, target, body=data, headers=headers)
            reply = connection.getresponse()
            return reply.status, msgspec.json.decode(reply.read())
        finally:
            connection.close()

    def add_task(self, title: str, **fields: object) -> Any:
        """A task that is accepted."""
        status, found = self.call("POST", "/api/v1/tasks", {"title": title, **fields})
        assert status == 200, found
        return found

    def show_task(self, task: str) -> Any:
        """A task with all that happened to it."""
        status, found = self.call("GET", f"/api/v1/tasks/{task}")
        assert status == 200, found
        return found

    def wait_ended(self, task: str, *, states: Collection[str] = ENDED) -> Any:
        """The task once it is in one of these states, or as it is where that takes too long."""
        try:
            return wait_until(
                lambda: (found := self.show_task(task))["task"]["state"] in states and found, timeout_s=WAIT_S
            )
        except pytest.fail.Exception:
            return self.show_task(task)

    def show_agent(self, agent: str) -> Any:
        """An agent as the node sees its files."""
        status, found = self.call("GET", f"/api/v1/agents/{quote(agent)}")
        assert status == 200, found
        return found

    def surprises(self) -> list[str]:
        """Lines of the node's log that speak of errors nobody thought of."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line[:2_000] for line in lines if "Traceback" in line or '"level":"critical"' in line]


def script_name(case: Case) -> str:
    """The name of the model that a hostile script is for."""
    return f"h-{case.family.replace(' ', '-')}-{case.number}"


def _write_fleet(folder: Path, scripts: Sequence[str]) -> None:
    (folder / SCRIPT_FOLDER).mkdir(parents=True)
    (folder / "inbox").mkdir()
    (folder / "models" / "good.yaml").write_text(GOOD_SCRIPT)
    models = "".join(
        f'[models.{name}]\nprovider = "scripted"\nscript = "{SCRIPT_FOLDER}/{name}.yaml"\nin_process = true\n'
        for name in scripts
    )
    (folder / "ostinato.toml").write_text(
        '[fleet]\nname = "besieged"\nmodel = "good"\n'
        '[models.good]\nprovider = "scripted"\nscript = "models/good.yaml"\n'
        f'{models}[inbox]\nagent = "clerk"\n'
        "[breakers]\nagent = {failures = 10_000}\n"  # hostile scripts fail one after the other, and all are tried
    )
    for agent in ("clerk", "spare", "target"):
        (folder / "agents" / agent / "inbox").mkdir(parents=True)
        (folder / "agents" / agent / "SOUL.md").write_text(f"You are the {agent}.\n")
    (folder / "agents" / "target" / "AGENTS.md").write_text(document("AGENTS.md"))


def scripts_of(cases: Sequence[Case]) -> list[str]:
    """Names of the models that these cases need."""
    return [script_name(case) for case in cases if case.surface is Surface.SCRIPT and isinstance(case.sent, Content)]


def fsencoded(folder: Path, name: str) -> bytes:
    """The path of a file whose name may be no text."""
    return os.fsencode(folder) + b"/" + name.encode("utf-8", "surrogateescape")
