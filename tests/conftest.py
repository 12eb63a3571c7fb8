"""The rules of the house for every test: nothing hangs, nothing is left running, nothing is skipped unseen.

Also lends the two helpers that most tests need: `run` for coroutines and `wait_until` for what other processes do.
Both are fixtures and plain functions (`from tests.conftest import run`).
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests import board, commands
from tests.figures import TOLD, register

T = TypeVar("T")

FULL = os.environ.get("OSTINATO_CRASH") == "full"
"""The long form, which explores. The ordinary one does the same in every run."""

RUN_TIMEOUT_S = 120.0
WAIT_TIMEOUT_S = 60.0
"""Both far above what any test needs on a machine that does much else: they end what hangs, and measure nothing."""

MEMORY, MEMORY_BYTES = Path("/dev/shm"), 2 * 1024**3
"""A file system without a disk, and what it must have free: five times what a whole run has written."""

SLOW_AFTER_S = 0.25
"""A test that takes longer carries the mark `slow`."""

_MARK = "OSTINATO_TEST_PROCESS"
_UNMARKED_SLOW: list[tuple[float, str]] = []

# Where the environment says so, each of the hundreds of processes here would compile the whole project for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Examples take as long as a busy machine makes them; a failure prints how to repeat it. Ordinary runs derive them from
# the tests' own text, so that nothing is red today that was green yesterday: docs/explanation/decisions/032.
_HOUSE = settings(
    deadline=None,
    database=None,
    print_blob=True,
    derandomize=not FULL,
    max_examples=400 if FULL else 30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("house", _HOUSE)
settings.register_profile("explore", _HOUSE, derandomize=False)
settings.load_profile(os.environ.get("OSTINATO_EXAMPLES", "house"))  # tests.mutation has its own
if not FULL:  # else the numbers and words in whatever modules other tests have imported before are tried as well
    providers._get_local_constants = providers.Constants


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end: to look through it again and again would be a sixth of each worker's start,
    and the most of every later look."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def run(work: Coroutine[Any, Any, T], *, timeout_s: float = RUN_TIMEOUT_S) -> T:
    """Run a coroutine to its end in a loop of its own; fails after `timeout_s` and where tasks are left behind."""

    async def bounded() -> T:
        async with asyncio.timeout(timeout_s):
            result = await work
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:  # what is just ending may end
            _, left = await asyncio.wait(left, timeout=0.5)
        assert not left, f"left running: {[task.get_coro() for task in left]}"
        return result

    return asyncio.run(bounded())


def wait_until(holds: Callable[[], T], *, timeout_s: float = WAIT_TIMEOUT_S) -> T:
    """Wait for what another process does: returns the first true value of `holds()`, fails after `timeout_s`.

    This is the one place in the tests that sleeps. Inside one process, wait for an event instead.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true in {timeout_s} s: {holds}")
        time.sleep(0.01)
    return value


@pytest.fixture(name="run", scope="session")
def _run() -> Callable[..., Any]:
    return run


@pytest.fixture(name="wait_until", scope="session")
def _wait_until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def tell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something that is shown at the end, whatever comes of the test, and that the docs may quote."""
    return lambda words: record_property(TOLD, f"{request.path.parent.name}: {words}")


Count = Callable[[Mapping[str, int]], None]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Keeps counts for the docs; those of one test's parts are summed."""
    return lambda counts: record_property("counted", dict(counts))


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """A test ends the processes that it starts."""
    before = _children()
    yield
    left = {pid: command for pid in _children() - before - commands.pids() if (command := _command(pid))}
    assert not left, f"processes left running: {left}"


def pytest_configure(config: pytest.Config) -> None:
    """The tokens of the tests' fleets go into a folder that goes with the tests, not into the keyring of a person; what
    the tests write goes into memory, where there is room: most of a run was waiting for a disk to sync."""
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_room(MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
    keyring = tempfile.TemporaryDirectory(prefix="ostinato-keyring-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
    config.add_cleanup(keyring.cleanup)
    os.environ["XDG_CONFIG_HOME"] = keyring.name
    register(config)
    if FULL:
        board.register(config)


@pytest.fixture(autouse=True, scope="session")
def _nothing_outlives_the_tests() -> Iterator[None]:
    """The environment is marked, so that at the end a process can be told that has outlived its parents."""
    mark = uuid.uuid4().hex
    os.environ[_MARK] = mark
    yield
    commands.end()
    deadline = time.monotonic() + 2.0
    while (left := _marked(f"{_MARK}={mark}".encode())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"processes have outlived the tests: {left}"


def _has_room(folder: Path) -> bool:
    """True for a folder that takes all that a run leaves, and whose files can be run."""
    if not os.access(folder, os.W_OK):
        return False
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize >= MEMORY_BYTES and not there.f_flag & os.ST_NOEXEC


def _children() -> set[int]:
    """Pids of this process's direct children; none where the kernel does not tell (it does on Linux)."""
    found: set[int] = set()
    for each in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in each.read_text().split())
        except OSError:  # the thread has just ended
            continue
    return found


def _marked(mark: bytes) -> dict[int, str]:
    """Processes with `mark` in their environment, with their command lines."""
    found: dict[int, str] = {}
    for each in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = mark in each.read_bytes()
        except OSError:  # ended meanwhile, or another user's
            continue
        if marked and (command := _command(int(each.parent.name))):
            found[int(each.parent.name)] = command
    return found


def _command(pid: int) -> str:
    """Command line of a process; empty for one that has gone, or that Python itself keeps (multiprocessing)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
    return "" if "multiprocessing.resource_tracker" in command else command or "(ended, not waited for)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """In CI a skip is an error."""
    report: pytest.TestReport = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """A module that skips itself counts as a skipped test."""
    report: pytest.CollectReport = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which is an error in CI: {reason}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was slow without saying so."""
    if report.when == "call" and report.duration > SLOW_AFTER_S and "slow" not in report.keywords:
        _UNMARKED_SLOW.append((report.duration, report.nodeid))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows what tests told, and names what was slow without the mark; no failure, as a busy machine makes all slow."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, words in report.user_properties:
            if name == TOLD and report.when == "call":
                terminalreporter.write_line(words)
    for seconds, name in sorted(_UNMARKED_SLOW, reverse=True)[:10]:
        terminalreporter.write_line(f"slow, but not marked slow: {seconds:.2f} s {name}")
