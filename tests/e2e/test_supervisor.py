"""The supervisor with real processes: a node that dies lives again, a node that is told to stop stops, nothing is left.

The node here is a few lines of shell or Python; the supervisor knows no more of a real one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ostinato import supervisor
from ostinato.domain.event import EventName
from ostinato.store.port import EventFilter
from ostinato.store.sqlite import open_store
from tests.conftest import FULL, wait_until
from tests.tidy.rule import ROOT

LIVES = "echo $$ >> {folder}/pids; exec sleep 100"
"""A node that notes its pid and then does nothing for ever."""

WAITS = "trap '{deed}' {signal}; echo $$ >> {folder}/pids; while :; do sleep 0.02; done"
"""A node that does something on a signal."""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ostinato.supervisor", str(tmp_path), "sh", "-c", script]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for pid in pids(tmp_path):
        wait_until(lambda pid=pid: not is_alive(pid))


def pids(folder: Path) -> list[int]:
    """Pids of the nodes so far."""
    file = folder / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    """False also for one that has died and is not yet waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def node_of(folder: Path, number: int = 1) -> int:
    """Pid of the node's life with this number, once it has begun."""
    return wait_until(lambda: pids(folder)[number - 1 :])[0]


def log(folder: Path) -> str:
    """What the log says."""
    return (folder / "logs" / "node.log").read_text()


@pytest.mark.slow
def test_a_node_that_is_killed_lives_again_within_a_second(tmp_path: Path, start: Start) -> None:
    start(LIVES.format(folder=tmp_path))
    for life in (1, 2, 3):
        pid = node_of(tmp_path, life)
        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        node_of(tmp_path, life + 1)
        assert time.monotonic() - killed_s < 1.0 or not FULL  # on a machine that does nothing else
    assert log(tmp_path).count("was killed by SIGKILL") == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_the_node_drain_and_ends_with_0(tmp_path: Path, start: Start, number: int) -> None:
    process = start(WAITS.format(folder=tmp_path, signal="TERM", deed="echo drained; exit 0"))
    node = node_of(tmp_path)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert said == "drained\n"
    assert not is_alive(node)


@pytest.mark.slow
def test_a_node_that_does_not_stop_is_killed_in_the_end(tmp_path: Path) -> None:
    command = ["sh", "-c", WAITS.format(folder=tmp_path, signal="TERM", deed=":")]
    code = f"from ostinato.supervisor import supervise; exit(supervise({command}, state={str(tmp_path)!r}, stop_s=0.3))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    node = node_of(tmp_path)
    process.terminate()
    assert process.wait(120) == 1
    assert not is_alive(node)


@pytest.mark.slow
def test_a_hangup_reaches_the_node_and_ends_nothing(tmp_path: Path, start: Start) -> None:
    process = start(WAITS.format(folder=tmp_path, signal="HUP", deed=f"touch {tmp_path}/again"))
    node = node_of(tmp_path)
    process.send_signal(signal.SIGHUP)
    wait_until((tmp_path / "again").exists)
    assert is_alive(node)
    assert pids(tmp_path) == [node]


@pytest.mark.slow
def test_a_stop_in_which_a_hangup_is_heard_too_is_still_one_in_order(tmp_path: Path, start: Start) -> None:
    process = start(WAITS.format(folder=tmp_path, signal="TERM", deed=f"exit {supervisor.AGAIN_CODE}"))
    node_of(tmp_path)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.slow
def test_hangups_that_come_while_a_node_begins_never_end_the_fleet(tmp_path: Path, start: Start) -> None:
    process = start(LIVES.format(folder=tmp_path))
    for life in range(1, supervisor.CRASHES_MAX + 3):
        node_of(tmp_path, life)
        process.send_signal(signal.SIGHUP)
    node_of(tmp_path, supervisor.CRASHES_MAX + 3)
    assert "was killed" not in log(tmp_path)


@pytest.mark.slow
def test_a_terminal_that_nobody_reads_stops_neither_the_node_nor_its_end(tmp_path: Path, start: Start) -> None:
    says = f"import sys; sys.stderr.write(('x' * 99 + chr(10)) * 4_000); open('{tmp_path}/said', 'w')"
    process = start(f'echo $$ >> {tmp_path}/pids; {sys.executable} -c "{says}"; exec sleep 100')
    wait_until((tmp_path / "said").exists)
    process.terminate()
    assert process.wait(120) == 0
    assert len(log(tmp_path)) == 400_000


def test_what_was_left_out_on_a_terminal_is_said_once_somebody_reads_again() -> None:
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as reader, open(write, "wb", buffering=0):
        echo = supervisor.Echo(write, wait_s=0.0)
        for _ in range(3):
            echo.write(b"x" * 49_999 + b"\n")
        assert os.get_blocking(write)
        reader.read(1_000_000)
        echo.write(b"last\n")
        assert reader.read(1_000).decode() == "\n... about 2 lines are left out here; the log has them\nlast\n"


@pytest.mark.slow
def test_a_node_dies_with_its_supervisor(tmp_path: Path, start: Start) -> None:
    process = start(LIVES.format(folder=tmp_path))
    node = node_of(tmp_path)
    process.kill()
    wait_until(lambda: not is_alive(node))


@pytest.mark.slow
def test_what_a_dead_node_leaves_in_its_group_goes_with_it(tmp_path: Path, start: Start) -> None:
    process = start(f"sleep 100 & echo $! >> {tmp_path}/strays; echo $$ >> {tmp_path}/pids; wait")
    for life in (1, 2):
        node = node_of(tmp_path, life)
        stray = int((tmp_path / "strays").read_text().split()[-1])
        os.kill(node if life == 1 else process.pid, signal.SIGKILL if life == 1 else signal.SIGTERM)
        wait_until(lambda stray=stray: not is_alive(stray))


@pytest.mark.slow
def test_a_node_that_crashes_at_every_start_is_given_up_with_its_last_error(tmp_path: Path, start: Start) -> None:
    process = start(f"echo $$ >> {tmp_path}/pids; echo 'the port 8080 is taken' >&2; exit 1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(pids(tmp_path)) == supervisor.CRASHES_MAX
    last = errors.strip().splitlines()[-1]
    assert "given up" in last
    assert "Last error: the port 8080 is taken" in last
    assert str(tmp_path / "logs" / "node.log") in last


@pytest.mark.slow
@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_node_that_says_that_it_is_no_use_is_not_started_again(tmp_path: Path, start: Start, code: int) -> None:
    process = start(f"echo $$ >> {tmp_path}/pids; echo 'unknown key' >&2; exit {code}")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert errors == "unknown key\n"
    assert len(pids(tmp_path)) == 1


@pytest.mark.slow
def test_a_node_that_ends_in_order_ends_its_supervisor(tmp_path: Path, start: Start) -> None:
    process = start(f"echo $$ >> {tmp_path}/pids; exit 0")
    assert process.wait(120) == 0
    assert len(pids(tmp_path)) == 1


@pytest.mark.slow
def test_a_command_that_does_not_exist_is_wrong_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ostinato.supervisor", str(tmp_path), "no-such-node"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "no-such-node cannot be started: No such file or directory\n"


@pytest.mark.slow
def test_what_the_node_says_is_kept_and_shown_with_its_last_words(tmp_path: Path, start: Start) -> None:
    process = start("i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; printf 'no end of line' >&2")
    _, errors = process.communicate(timeout=120)
    expected = "".join(f"line {number}\n" for number in range(2_000)) + "no end of line\n"
    assert errors == expected
    assert log(tmp_path) == expected
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_real_node_that_is_killed_again_and_again_loses_nothing_and_ends_nothing_twice(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    state, count = tmp_path / "state", 400
    state.mkdir(mode=0o700)
    node = [sys.executable, "-m", "tests.engine.process", str(state), str(count)]
    command = [sys.executable, "-m", "ostinato.supervisor", str(state), *node]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        performed = state / "performed"
        takeovers_s, lines = [], 0
        for _ in range(5):
            # Not at its very start each time: the same tasks would be there at every death, and be set aside as poison.
            pid, lines = wait_until(lambda before=lines: (now := at_work(performed)) and now[1] > before + 20 and now)
            os.kill(pid, signal.SIGKILL)
            killed_s = time.monotonic()
            wait_until(lambda pid=pid, lines=lines: (now := at_work(performed)) and now[0] != pid and now[1] > lines)
            takeovers_s.append(time.monotonic() - killed_s)
        assert process.wait(120) == 0
    tell(f"takeovers after {', '.join(f'{each:.1f}' for each in takeovers_s)} s")  # the benchmarks have a limit for it
    asyncio.run(judge(state, count))


def at_work(performed: Path) -> tuple[int, int] | None:
    """Pid of the node that began the latest attempt, and the number of attempts so far."""
    lines = performed.read_text().splitlines() if performed.exists() else []
    return (int(lines[-1].split()[0]), len(lines)) if lines else None


async def judge(state: Path, count: int) -> None:
    """By the store and by the log outside of it: each task ended once; each attempt that began has a claim."""
    store = open_store(state)
    done = EventFilter(names=frozenset({EventName.TASK_DONE}))
    events = await store.read(lambda reads: reads.events(done, limit=2 * count))
    assert sorted(event.task or 0 for event in events) == list(range(1, count + 1))
    begun = [line.split() for line in (state / "performed").read_text().splitlines()]
    assert len({(task, token) for _, task, token in begun}) == len(begun)
    for task in range(1, count + 1):
        attempts = await store.read(lambda reads, task=task: reads.attempts(task))
        assert [each.outcome for each in attempts] == ["lost"] * (len(attempts) - 1) + ["done"]
    nodes = await store.read(lambda reads: reads.nodes())
    assert [each.clean for each in nodes] == [True] + [False] * 5
    await store.close()


def test_a_log_is_put_aside_at_its_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    kept = supervisor.Log(tmp_path, bytes_max=100, kept=2)
    for number in range(40):
        kept.write(f"{number:09}\n".encode())
    kept.close()
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["node.log", "node.log.1", "node.log.2"]
    assert all(path.stat().st_size <= 100 for path in (tmp_path / "logs").iterdir())
    assert log(tmp_path).splitlines()[-1] == "000000039"


def test_a_log_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    kept = supervisor.Log(tmp_path)
    kept.write(b"lost\n")
    kept.close()


@pytest.mark.slow
def test_a_supervisor_stays_small(tmp_path: Path, start: Start) -> None:
    process = start(LIVES.format(folder=tmp_path))
    node_of(tmp_path)
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident_kb < 14_000  # 11 MB measured, of which 9 are the interpreter's
