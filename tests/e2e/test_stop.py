"""A fleet at full work is stopped from the command line, and watched from outside: by the log of the model's own
server, and by the machine's list of processes."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FULL, wait_until
from tests.e2e.test_cli import document, done, node
from tests.sandbox.ground import ORDINARY

pytestmark = pytest.mark.slow

TURNS = 50
TREES = 20 if FULL else 6
BRANCHES = 3

FLEET = """
[fleet]
name = "busy"
[models.slow]
provider = "slow"
model = "slow"
base_url = "http://127.0.0.1:{port}/v1"
price = {{ input = 0, output = 0 }}
[engine]
tasks = 100
"""
THINKER = "---\nmodel: slow\nconcurrency: 60\nstop: call the printer's owner\n---\nThink.\n"
RUNNER = "---\nmodel: slow\nconcurrency: 60\n---\nRun.\n"
TOOLS = '---\nallow: [exec.run]\nexec: {commands: [sh], effects: {read: ["sh notes/tree.sh"]}, timeout: 5m}\n---\n'
TREE = """\
for branch in 1 2 3; do
  sh -c 'while :; do echo tick; sleep 0.2; done # {mark}' &
done
wait
"""
CALL = {"id": "c1", "type": "function", "function": {"name": "exec__run", "arguments": json.dumps(
    {"argv": ["sh", "notes/tree.sh"]})}}  # fmt: skip


class SlowModel(socketserver.ThreadingTCPServer):
    """Sends runners to their command at once, and leaves everybody else waiting; writes down who calls and who hangs
    up, and when."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.called_at: list[float] = []
        self.hung_up_at: list[float] = []


class _Call(socketserver.StreamRequestHandler):
    server: SlowModel

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        asked = json.loads(self.rfile.read(length) or b"{}")
        self.server.called_at.append(time.time())
        if any("Run." in str(each["content"]) for each in asked["messages"]):
            self._answer()
        else:
            _wait_hung_up(self.connection)
            self.server.hung_up_at.append(time.time())

    def _answer(self) -> None:
        delta = {"role": "assistant", "tool_calls": [{"index": 0, **CALL}]}
        choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls"}
        body = f"data: {json.dumps({'id': 'r', 'model': 'slow', 'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n"
        self.wfile.write(f"{head}connection: close\r\n\r\n".encode() + body)


def _wait_hung_up(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLRDHUP)
    poll.poll()


@pytest.fixture(name="model")
def _model() -> Iterator[SlowModel]:
    with SlowModel() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(name="folder")
def _folder(model: SlowModel) -> Iterator[Path]:
    """A fleet that belongs to an ordinary user, as commands demand it."""
    made = Path(tempfile.mkdtemp(prefix="ostinato-stop-", dir="/tmp"))
    made.chmod(0o755)
    files = {
        "ostinato.toml": FLEET.format(port=model.server_address[1]),
        "agents/thinker/SOUL.md": "You think.\n",
        "agents/thinker/AGENTS.md": THINKER,
        "agents/runner/SOUL.md": "You run.\n",
        "agents/runner/AGENTS.md": RUNNER,
        "agents/runner/TOOLS.md": TOOLS,
        "agents/runner/notes/tree.sh": TREE.format(mark=made.name),
    }
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    if os.geteuid() == 0:  # the files are the node's to read, the folder is who commands run as
        for path in (made, *made.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def branches(mark: str) -> int:
    """Loops of this fleet's commands that the machine runs now."""
    found = 0
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                found += f"# {mark}".encode() in (each / "cmdline").read_bytes()
            except OSError:
                continue
    return found


def drop(folder: Path, agent: str, count: int) -> None:
    """So many tasks, as files."""
    (folder / "inbox").mkdir(exist_ok=True)
    for number in range(count):
        file = folder / "inbox" / f"{agent} {number}.md"
        file.write_text(f"---\nagent: {agent}\n---\n# {agent} {number}\nAbout {number}.\n")


def test_a_busy_fleet_that_is_stopped_does_nothing_new_and_leaves_nothing_running(
    folder: Path, model: SlowModel
) -> None:
    drop(folder, "runner", TREES)
    drop(folder, "thinker", TURNS)
    with node(folder):
        wait_until(lambda: len(model.called_at) == TURNS + TREES)
        wait_until(lambda: branches(folder.name) == TREES * BRANCHES)
        done(folder, "stop", "--reason", "wrong prices")
        stopped_at, calls = time.time(), len(model.called_at)
        wait_until(lambda: len(model.hung_up_at) == TURNS)
        wait_until(lambda: branches(folder.name) == 0)
        gone_at = time.time()
        if FULL:  # on a machine that does nothing else
            assert max(model.hung_up_at) - stopped_at < 1.0
            assert gone_at - stopped_at < 2.0
    with node(folder):  # it is still stopped after a restart, also for what is added now
        drop(folder, "thinker", 1)
        wait_until(lambda: not list((folder / "inbox").glob("*.md")))
        status = document(folder, "status")
        assert "stopped by ann: wrong prices" in json.dumps(status["needs_you"])
        assert status["tasks"]["running"] == 0
        assert (len(model.called_at), branches(folder.name)) == (calls, 0)
        assert "call the printer's owner" in done(folder, "agents", "kill", "thinker", "--reason", "still wrong")
        done(folder, "start", "--reason", "mended")
        wait_until(lambda: branches(folder.name) == TREES * BRANCHES)  # what only reads runs again
        assert len(model.called_at) == calls, "a killed agent asked a model"
        done(folder, "stop", "T1", "--reason", "this one alone")
        wait_until(lambda: branches(folder.name) == (TREES - 1) * BRANCHES)
        ended = json.loads(done(folder, "stop", "--how", "cancel", "--reason", "enough", "--json"))
        assert (ended["scope"], ended["cancelled"]) == ("fleet", TURNS + TREES + 1)
        wait_until(lambda: branches(folder.name) == 0)
