"""A whole node as people run it: `ostinato up` with its supervisor, measured from outside.

Start until healthy, memory when idle, what a heartbeat with nothing to do costs, and how soon work goes on when the
node is killed with -9.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.places import real_directory
from benchmarks.result import Result, at_most, quantile

OSTINATO = (sys.executable, "-m", "ostinato")
AGENTS = 12
SCRIPT = """
rules:
  - when: {asked: wait}
    delay: 30s
    text: done
default: {text: ok}
"""
FLEET = """
[fleet]
name = "bench"
model = "script"

[models.script]
provider = "openai"
model = "script"
base_url = "http://127.0.0.1:%s/v1"
api_key_env = "BENCH_NO_KEY"
"""
HEARTBEAT = '---\nevery: 1s\ncheck: {when: "inbox.files > 0"}\n---\nLook.\n'
ENVIRONMENT = {**os.environ, "BENCH_NO_KEY": "none"}
DEADLINE_S = 30.0


def until(holds: Callable[[], object], *, pause_s: float = 0.002, deadline_s: float = DEADLINE_S) -> float:
    """Seconds until `holds()` is true."""
    began = time.perf_counter()
    while not holds():
        if time.perf_counter() - began > deadline_s:
            raise TimeoutError(f"did not come true in {deadline_s} s: {holds}")
        time.sleep(pause_s)
    return time.perf_counter() - began


class _Connection(http.client.HTTPConnection):
    """HTTP over the fleet's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        """To the socket in the fleet's state directory."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Fleet:
    """A fleet of idle agents, its script served by a process of its own with a log of all requests."""

    def __init__(
        self, directory: Path, *, agents: int = AGENTS, heartbeat: str = HEARTBEAT, script: str = SCRIPT
    ) -> None:
        self.directory = directory
        self.log = directory / "model.log"
        self.log.touch()
        (directory / "model.yaml").write_text(script)
        for number in range(agents):
            folder = directory / "agents" / f"agent-{number}"
            folder.mkdir(parents=True)
            (folder / "SOUL.md").write_text(f"You look after thing {number}.\n")
            (folder / "AGENTS.md").write_text(f"---\nskills: [common, skill-{number % 50}]\n---\nDo what is asked.\n")
            (folder / "TOOLS.md").write_text("---\nallow: [files.read, message.send]\n---\nUse them with care.\n")
            (folder / "HEARTBEAT.md").write_text(heartbeat)

    @contextlib.contextmanager
    def model(self) -> Iterator[None]:
        """Serves the script and names it in the fleet's file."""
        port = self.directory / "port"
        command = [sys.executable, "-m", "ostinato.models.scripted", str(self.directory / "model.yaml")]
        process = subprocess.Popen(
            [*command, "--port-file", str(port), "--log", str(self.log)], stdout=subprocess.DEVNULL
        )
        try:
            until(port.exists)
            (self.directory / "ostinato.toml").write_text(FLEET % port.read_text().strip())
            yield
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        """`ostinato up`, ended in order."""
        process = subprocess.Popen(
            [*OSTINATO, "up", "--fleet", str(self.directory)],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a local API call; status 0 where nobody answers."""
        connection = _Connection(self.directory / ".ostinato" / "ostinato.sock")
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def healthy(self) -> bool:
        """True once the node answers that it is ready."""
        return self.get("/readyz")[0] == 200

    def command(self, *words: str) -> dict[str, object]:
        """One command with `--json`; its document."""
        done = subprocess.run(
            [*OSTINATO, *words, "--json", "--fleet", str(self.directory)],
            env=ENVIRONMENT,
            capture_output=True,
            check=True,
        )
        document: dict[str, object] = json.loads(done.stdout)
        return document


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


def rss_of(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmRSS"))


def start_s() -> Sequence[Result]:
    """`node.start_s`: from the command to a node that says it is ready."""
    times = []
    with real_directory() as directory:
        fleet = Fleet(directory)
        with fleet.model():
            for _ in range(5):
                with fleet.up():
                    times.append(until(fleet.healthy))
    return (at_most("node.start_s", quantile(times, 0.5), "s", floor=1.0, note="median of 5"),)


def rss_mb() -> Sequence[Result]:
    """`node.rss_mb`: supervisor and node with 12 agents, after some seconds of heartbeats; and what those asked."""
    with real_directory() as directory:
        fleet = Fleet(directory)
        with fleet.model(), fleet.up() as process:
            until(fleet.healthy)
            time.sleep(12.0)  # at least ten heartbeats of each agent
            memory = sum(rss_of(pid) for pid in (process.pid, *children(process.pid)))
            calls = len(fleet.log.read_text().splitlines())
            skips = skips_of(fleet)
    note = f"{skips} heartbeats skipped meanwhile"
    if skips < AGENTS * 8:
        raise AssertionError(f"only {skips} heartbeats came due: nothing was measured")
    return (
        at_most("node.rss_mb", memory, "MB", floor=100.0, note=f"{AGENTS} agents, supervisor included"),
        at_most("heartbeat.idle_model_calls", float(calls), "calls", floor=0.0, note=note),
    )


def skips_of(fleet: Fleet) -> int:
    """Wakes that did nothing, as the fleet itself counts them."""
    status, body = fleet.get("/api/v1/cost")
    assert status == 200, body
    return int(json.loads(body)["skipped"])


def takeover_s() -> Sequence[Result]:
    """`takeover_s`: from kill -9 of a node in the middle of a model call until the next node asks the model again."""
    times = []
    with real_directory() as directory:
        fleet = Fleet(directory)
        with fleet.model(), fleet.up() as process:
            until(fleet.healthy)
            for number in range(5):  # a task of its own each: one that sees three nodes die is set aside as poison
                added = fleet.command("tasks", "add", "wait for it", "--agent", f"agent-{number}")
                before = _until_more(fleet, 2 * number)
                (node,) = children(process.pid)
                os.kill(node, signal.SIGKILL)
                times.append(until(lambda: requests_of(fleet) > before))  # noqa: B023 - called before it changes
                until(fleet.healthy)
                fleet.command("tasks", "cancel", str(added["id"]), "--reason", "measured")
    return (at_most("takeover_s", quantile(times, 0.5), "s", floor=1.0, note=f"5 kills, slowest {max(times):.2f} s"),)


def _until_more(fleet: Fleet, count: int) -> int:
    until(lambda: requests_of(fleet) > count)
    return requests_of(fleet)


def requests_of(fleet: Fleet) -> int:
    """How often the model has been asked."""
    return len(fleet.log.read_text().splitlines())
