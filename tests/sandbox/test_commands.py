"""Real commands in real rooms: how they end, what they may use up, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import Denied
from ostinato.tools.sandbox.command import Ended, Finished, run_command
from ostinato.tools.sandbox.protected import prepare
from ostinato.tools.sandbox.room import MIB, Account, Bounds, Errand, Room
from ostinato.tools.sandbox.spill import KEPT_BYTES
from ostinato.tools.sandbox.surroundings import PLAIN
from tests.conftest import run, wait_until
from tests.sandbox.ground import World, backend, world

pytestmark = pytest.mark.slow

WAYS = ("bubblewrap", "landlock")


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def go(here: World) -> Callable[..., Finished]:
    """Runs one command to its end."""

    def start(*argv: str, way: str = "bubblewrap", stdin: bytes = b"", **bounds: Any) -> Finished:
        return run(command(here, argv, way=way, stdin=stdin, bounds=Bounds(**bounds)))

    return start


async def command(
    here: World, argv: tuple[str, ...], *, way: str = "bubblewrap", stdin: bytes = b"", bounds: Bounds | None = None
) -> Finished:
    watch = prepare(here.workspace)
    room = Room(workspace=here.workspace, guard=watch.guard, bounds=bounds or Bounds(wall_s=20))
    errand = Errand(argv=argv, cwd=here.workspace, environment=PLAIN, stdin=stdin)
    return await run_command(backend(way), room, errand, account=here.account, watch=watch)


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


@pytest.mark.parametrize("way", WAYS)
def test_a_command_says_what_it_says_and_ends_as_it_ends(go: Callable[..., Finished], way: str) -> None:
    done = go(*shell("cat; echo error >&2; exit 3"), stdin=b"given\n", way=way)
    assert (done.ended, done.code, done.output.head, done.problem) == (Ended.EXIT, 3, b"given\nerror\n", "")
    assert done.changed == done.put_aside == ()


@pytest.mark.parametrize("way", WAYS)
def test_its_arguments_arrive_as_they_are(go: Callable[..., Finished], way: str) -> None:
    words = ["", " ", "$HOME", "'", '"', "\\", "\n", "*", ";", "--", "\u202e", "é", "-rf", "a" * 100_000]
    done = go("/usr/bin/python3", "-c", "import sys; print(sys.argv[1:])", *words, way=way)
    assert done.output.head.decode().strip() == str(words)


def test_a_killed_command_says_by_what(go: Callable[..., Finished]) -> None:
    assert go(*shell("kill -9 $$")).code == 128 + signal.SIGKILL


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, 12_345), (12_345, 0)])
def test_nothing_is_started_as_root_or_in_roots_group(here: World, uid: int, gid: int) -> None:
    errand = Errand(argv=("/bin/true",), cwd=here.workspace, environment=PLAIN)
    somebody = Account(uid=uid, gid=gid, name="root")
    with pytest.raises(Denied, match="never run as root"):
        run(run_command(backend("bubblewrap"), Room(workspace=here.workspace), errand, account=somebody))


def test_a_room_that_cannot_be_made_has_run_nothing(here: World) -> None:
    watch = prepare(here.workspace)
    room = Room(workspace=here.workspace, guard=watch.guard, reads=(Path("/no/such/folder"),))
    errand = Errand(argv=("/bin/true",), cwd=here.workspace, environment=PLAIN)
    done = run(run_command(backend("bubblewrap"), room, errand, account=here.account, watch=watch))
    assert (done.ended, done.code) == (Ended.REFUSED, None)
    assert "/no/such/folder" in done.problem


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("text", "bounds", "ended"),
    [
        ("sleep 60", {"wall_s": 0.2}, Ended.WALL),
        ("echo a; sleep 60", {"silence_s": 0.2}, Ended.SILENCE),
        ("yes > /dev/null & yes > /dev/null & wait", {"cpu_s": 0.2}, Ended.CPU),
        ("python3 -c 'a = bytearray(200 << 20); input()' < /dev/zero", {"memory_bytes": 100 * MIB}, None),
    ],
)
def test_a_bound_ends_it(
    go: Callable[..., Finished], way: str, *, text: str, bounds: dict[str, Any], ended: Ended | None
) -> None:
    done = go(*shell(text), way=way, **{"wall_s": 20.0, **bounds})
    if ended is None:
        assert b"MemoryError" in done.output.head
    else:
        assert (done.ended, done.code) == (ended, None)


def test_memory_is_added_up_over_its_processes(go: Callable[..., Finished]) -> None:
    one = "python3 -c 'import time; a = bytearray(60 << 20); time.sleep(60)'"
    done = go(*shell(" & ".join([one] * 4) + "; wait"), memory_bytes=150 * MIB, wall_s=20.0)
    assert done.ended is Ended.MEMORY


def test_a_fork_bomb_stays_small(go: Callable[..., Finished]) -> None:
    done = go(*shell("for i in $(seq 200); do sleep 5 & done; echo all"), processes=20, wall_s=20.0)
    assert b"Cannot fork" in done.output.head
    assert b"all" not in done.output.head


def test_files_stop_growing(go: Callable[..., Finished], here: World) -> None:
    go(*shell("head -c 3000000 /dev/zero > notes/big"), file_bytes=MIB)
    assert (here.workspace / "notes/big").stat().st_size == MIB
    done = go(*shell("head -c 30000000 /dev/zero > /tmp/big || head -c 30000000 /dev/zero > /dev/shm/big"),
              scratch_bytes=MIB)  # fmt: skip
    assert done.code != 0


LENDING = """
import os, stat
os.chdir("notes")
def tried(make, *arguments):
    try:
        made = make(*arguments)
    except PermissionError:
        return "refused"
    if isinstance(made, int):
        os.close(made)
    return "made"
os.mkdir("folder")
plain = os.open("plain", os.O_CREAT | os.O_WRONLY, 0o755)
print(*(tried(os.open, f"f{mode:o}", os.O_CREAT | os.O_WRONLY, mode) for mode in (0o4755, 0o2755, 0o6000)))
print(tried(os.open, ".", os.O_TMPFILE | os.O_WRONLY, 0o4755), tried(os.mknod, "node", stat.S_IFREG | 0o4755))
print(tried(os.chmod, "plain", 0o4755), tried(os.fchmod, plain, 0o6755), tried(os.chmod, "folder", 0o2755))
"""


@pytest.mark.parametrize("way", WAYS)
def test_no_file_that_lends_its_owners_rights_is_left_behind(
    go: Callable[..., Finished], here: World, way: str
) -> None:
    done = go("/usr/bin/python3", "-c", LENDING, way=way)
    assert done.output.head.split() == [b"refused"] * 8, done.output.head
    for path in (here.workspace / "notes").rglob("*"):
        assert not path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID), path
    shutil.rmtree(here.workspace / "notes/folder")
    assert go(*shell("cp /bin/true notes/copy && chmod 0755 notes/copy && notes/copy")).code == 0


def test_output_without_end_is_kept_in_part(go: Callable[..., Finished]) -> None:
    done = go(*shell("yes | head -c 20000000; echo; echo last words"))
    assert done.output.total_bytes == 20_000_000 + len("\nlast words\n")
    assert len(done.output.head) + len(done.output.tail) == KEPT_BYTES
    assert done.output.head.startswith(b"y\ny\n")
    assert done.output.tail.endswith(b"last words\n")


@pytest.mark.parametrize("way", WAYS)
def test_whoever_stops_waiting_leaves_nothing_behind(here: World, way: str) -> None:
    async def cancelled() -> None:
        text = f"touch notes/started-{way}; (sleep {here.mark} &) ; sleep {here.mark}"
        task = asyncio.create_task(command(here, shell(text), way=way))
        await asyncio.to_thread(wait_until, (here.workspace / f"notes/started-{way}").exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    if way == "landlock":
        (here.workspace / "notes/started-landlock").unlink(missing_ok=True)
    run(cancelled())
    wait_until(lambda: not sleeping(here.mark), timeout_s=2.0)


NODE = """
import asyncio, sys
from pathlib import Path
from tests.sandbox.ground import backend
from ostinato.tools.sandbox.command import run_command
from ostinato.tools.sandbox.room import Account, Errand, Room
workspace, uid, mark = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
errand = Errand(argv=("/bin/sh", "-c", f"(sleep {mark} &) ; touch notes/up; sleep {mark}"), cwd=workspace,
                environment={"PATH": "/usr/bin:/bin"})
account = Account(uid=uid, gid=uid, name="somebody")
asyncio.run(run_command(backend("bubblewrap"), Room(workspace=workspace), errand, account=account))
"""


def test_a_command_dies_with_its_node(here: World) -> None:
    repository = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-c", NODE, str(here.workspace), str(here.account.uid), here.mark]
    node = subprocess.Popen(
        words, cwd=repository, env=os.environ | {"PYTHONPATH": f"{repository}:{os.environ.get('PYTHONPATH', '')}"}
    )
    try:
        wait_until(lambda: (here.workspace / "notes/up").exists())
        wait_until(lambda: len(sleeping(here.mark)) == 2)
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()
    wait_until(lambda: not sleeping(here.mark), timeout_s=2.0)


def sleeping(mark: str) -> list[str]:
    """Processes anywhere that sleep for so many seconds."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", mark.encode()]:
            found.append(each.parent.name)
    return found


def test_a_protected_file_that_is_replaced_meanwhile_ends_the_command(here: World) -> None:
    """A rename over a mounted file takes the mount away, in every room: a person's editor does that."""

    async def replaced() -> Finished:
        text = "touch notes/looking; while :; do echo evil >> SOUL.md; sleep 0.01; done 2> /dev/null"
        task = asyncio.create_task(command(here, shell(text)))
        await asyncio.to_thread(wait_until, (here.workspace / "notes/looking").exists)
        new = here.workspace / "SOUL.new"
        new.write_text("I am somebody else.\n")
        new.rename(here.workspace / "SOUL.md")
        return await task

    done = run(replaced())
    assert done.ended is Ended.REPLACED
    assert done.changed == ("SOUL.md",)
