"""A process and its shim: what it owns, what it obeys, what it writes down, and what dies with it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.domain.errors import Conflict
from ostinato.tools.processes.handle import ABOUT, Handle, Standing
from ostinato.tools.processes.shim import BEGAN, SEGMENT_BYTES
from ostinato.tools.processes.start import Terminal, start
from ostinato.tools.sandbox.room import Bounds
from tests.conftest import wait_until
from tests.processes.bench import Bench, bench, end_of, said, until

pytestmark = pytest.mark.slow

PYTHON = ("/usr/bin/python3", "-u", "-c")
TALK = """
import os, signal, sys
print(os.isatty(0), os.get_terminal_size())
open("/dev/tty", "w").write("the terminal answers\\n")
def interrupted(*_):
    print("interrupted", os.get_terminal_size())
    sys.exit(7)
signal.signal(signal.SIGINT, interrupted)
print("hello", input("name? "))
signal.pause()
"""
LEAVE = """
import os, time
if os.fork() == 0:
    if not {confined}:
        os.setsid()
    if os.fork() == 0:
        os.execv("/usr/bin/sleep", ["sleep", "{mark}"])
    os._exit(0)
os.wait()
print("left")
time.sleep(600)
"""


@pytest.fixture(scope="module")
def one() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.fixture(scope="module")
def confined() -> Iterator[Bench]:
    with bench("landlock") as made:
        yield made


@pytest.fixture(autouse=True)
def _all_ended(one: Bench, confined: Bench) -> Iterator[None]:
    yield
    one.end_all()
    confined.end_all()


@pytest.fixture(params=["one", "confined"])
def each(request: pytest.FixtureRequest, one: Bench, confined: Bench) -> Bench:
    return one if request.param == "one" else confined


def sleepers(mark: str) -> list[str]:
    """Processes anywhere on this machine that sleep just so long."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_text() == f"sleep\0{mark}\0":
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def shim_of(handle: Handle) -> int:
    return int(json.loads((handle.folder / BEGAN).read_text())["pid"])


def test_an_end_is_written_down_with_its_code_and_all_that_was_said(each: Bench) -> None:
    handle = each.begin(*PYTHON, "print('said'); raise SystemExit(3)")
    ended = end_of(handle)
    assert (ended.ended, ended.returncode, ended.bytes) == ("exit", 3, 5)
    assert said(handle) == "said\n"
    assert ended.ended_at > ended.began_at > 0


def test_a_folder_has_one_process_however_many_try_to_start_it(one: Bench) -> None:
    handle = one.handle()
    wanted = one.wanted(*PYTHON, "open('tries', 'a').write('x')")
    begun: list[bool] = []
    tries = [threading.Thread(target=lambda: begun.append(start(handle, wanted))) for _ in range(4)]
    for thread in tries:
        thread.start()
    for thread in tries:
        thread.join()
    end_of(handle)
    assert not start(handle, wanted)
    assert sorted(begun) == [False, False, False, True]
    assert (one.here.workspace / "tries").read_text() == "x"


def test_a_terminal_is_one_with_keys_sizes_and_interrupts(each: Bench) -> None:
    handle = each.begin(*PYTHON, TALK, terminal=Terminal(rows=30, columns=90))
    until(handle, lambda text: "name? " in text)
    handle.write(b"ann\r")
    text = until(handle, lambda text: "hello ann" in text)
    assert "True os.terminal_size(columns=90, lines=30)" in text
    assert "the terminal answers" in text
    handle.ask("resize", rows=40, columns=100)
    handle.write(b"\x03")
    assert end_of(handle).returncode == 7
    assert "interrupted os.terminal_size(columns=100, lines=40)" in said(handle)


def test_a_pipe_is_written_to_until_it_is_closed(one: Bench) -> None:
    handle = one.begin("/usr/bin/cat", stdin="first\n", input=True)
    until(handle, lambda text: text == "first\n")
    handle.write(b"second\n")
    until(handle, lambda text: text == "first\nsecond\n")
    handle.write(b"third", end=True)
    assert end_of(handle).returncode == 0
    assert said(handle) == "first\nsecond\nthird"
    with pytest.raises(Conflict, match="does not run"):
        handle.write(b"late")


def test_input_that_nobody_reads_is_refused_in_the_end(one: Bench) -> None:
    handle = one.begin("/usr/bin/sleep", "60", input=True)
    handle.write(b"x" * 500_000)
    handle.write(b"x" * 500_000)
    with pytest.raises(Conflict, match="too much input waits"):
        handle.write(b"x" * 500_000)
    assert handle.kill("enough")


def test_without_the_token_of_this_process_a_shim_does_nothing(one: Bench) -> None:
    handle = one.begin("/usr/bin/sleep", "60")
    stranger = Handle(handle.folder)
    about = (handle.folder / ABOUT).read_text()
    (handle.folder / ABOUT).write_text(about.replace(handle.about().token, "guessed"))
    with pytest.raises(Conflict, match="not the token"):
        stranger.ask("kill", why="by a stranger")
    assert handle.look()[0] is Standing.RUNS
    (handle.folder / ABOUT).write_text(about)
    assert handle.kill("by its own")
    assert end_of(handle).why == "by its own"
    assert (handle.folder / ABOUT).stat().st_mode & 0o777 == 0o600


def test_a_kill_ends_whatever_was_left_behind(each: Bench) -> None:
    mark = str(200_000 + int.from_bytes(os.urandom(3)))
    handle = each.begin(*PYTHON, LEAVE.format(mark=mark, confined=not each.way.has_rooms))
    until(handle, lambda text: text == "left\n")
    wait_until(lambda: len(sleepers(mark)) == 1)
    assert handle.kill("enough")
    assert end_of(handle).ended == "killed"
    assert sleepers(mark) == []
    assert not handle.kill("again")


def test_a_process_dies_with_its_shim_and_nobody_says_how(one: Bench) -> None:
    mark = str(200_000 + int.from_bytes(os.urandom(3)))
    handle = one.begin(*PYTHON, LEAVE.format(mark=mark, confined=False))
    until(handle, lambda text: text == "left\n")
    os.kill(shim_of(handle), signal.SIGKILL)
    wait_until(lambda: handle.look()[0] is Standing.LOST and not sleepers(mark))
    assert said(handle) == "left\n"


def test_a_shim_that_does_not_answer_is_ended_with_its_process(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.tools.processes.handle.ANSWER_S", 0.2)
    handle = one.begin("/usr/bin/sleep", "60")
    os.kill(shim_of(handle), signal.SIGSTOP)
    assert handle.kill("it hangs")
    wait_until(lambda: handle.look()[0] is Standing.LOST)


def test_a_machine_that_goes_down_in_order_is_told_of(one: Bench) -> None:
    handle = one.begin("/usr/bin/sleep", "60")
    os.kill(shim_of(handle), signal.SIGTERM)
    assert (end_of(handle).ended, end_of(handle).why) == ("killed", "the machine ended its keeper")


@pytest.mark.parametrize(
    ("code", "bounds", "ended"),
    [
        ("import time; time.sleep(60)", Bounds(wall_s=0.3), "wall"),
        ("import time; time.sleep(60)", Bounds(wall_s=60.0, silence_s=0.3), "silence"),
        ("while True: pass", Bounds(wall_s=60.0, cpu_s=0.5), "cpu"),
        (
            "import os, time\nfor _ in range(3):\n if os.fork() == 0: x = bytes(range(256)) * 200_000; time.sleep(60)"
            "\ntime.sleep(60)",
            Bounds(wall_s=60.0, memory_bytes=120_000_000),
            "memory",
        ),
    ],
)
def test_a_bound_ends_it_and_the_record_says_which(one: Bench, code: str, bounds: Bounds, ended: str) -> None:
    assert end_of(one.begin(*PYTHON, code, bounds=bounds)).ended == ended


def test_a_protected_file_that_is_replaced_ends_it(one: Bench) -> None:
    handle = one.begin("/usr/bin/sleep", "60")
    new = one.here.workspace / "SOUL.new"
    new.write_text("changed by an editor\n")
    new.rename(one.here.workspace / "SOUL.md")
    assert end_of(handle).ended == "replaced"


def test_of_much_output_the_beginning_and_the_end_are_kept(one: Bench) -> None:
    lines = 200_000
    handle = one.begin(*PYTHON, f"for n in range({lines}): print(f'{{n:09}}')")
    ended = end_of(handle)
    kept = handle.kept()
    assert kept.total_bytes == ended.bytes == lines * 10
    assert kept.head.startswith(b"000000000\n000000001\n")
    assert kept.tail.endswith(b"000199998\n000199999\n")
    assert len(kept.head) == SEGMENT_BYTES
    assert SEGMENT_BYTES <= len(kept.tail) <= 2 * SEGMENT_BYTES
    start, data = kept.read(lines * 10 - 20, 10)
    assert (start, data) == (lines * 10 - 20, b"000199998\n")
    assert sum(each.stat().st_size for each in handle.folder.glob("out.*")) <= 3 * SEGMENT_BYTES


def test_a_secret_reaches_no_file_however_it_is_said(one: Bench) -> None:
    secret = "hush/hush+never"
    code = (
        "import base64, os, sys, time, urllib.parse\ns = os.environ['S']\n"
        "coded = base64.b64encode(s.encode()).decode(), '|', urllib.parse.quote(s, safe='')\n"
        "for part in (s[:5], s[5:], '|', *coded, '\\n'):\n sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.05)"
    )
    handle = one.begin(*PYTHON, code, environment={"S": secret}, secrets={"S": secret})
    end_of(handle)
    assert said(handle).strip() == "|".join("*" * size for size in (15, 20, 19))
    on_disk = b"".join(each.read_bytes() for each in handle.folder.iterdir() if each.is_file())
    assert b"hush" not in on_disk


def test_a_command_that_cannot_begin_is_told_apart_from_one_that_failed(one: Bench) -> None:
    handle = one.begin("/usr/bin/no-such-program")
    ended = end_of(handle)
    assert ended.ended == "exit"
    assert ended.returncode != 0
    assert "no-such-program" in said(handle)
