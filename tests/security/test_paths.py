"""No path that an agent names leads out of its folder, and no tool rewrites the agent's own leash.

The corpus and the race are also run against a variant with the usual mistake, a check of the `realpath` before the
opening, and must catch it.
"""

from __future__ import annotations

import ast
import ctypes
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ostinato.domain.errors import OstinatoError
from ostinato.domain.file_rules import FileRules
from ostinato.tools.safe_files import SafeFolder

TOOLS = Path(__file__).resolve().parents[2] / "src" / "ostinato" / "tools"
CANARY = b"canary: this lies outside"
RACE_S = 30.0 if os.environ.get("OSTINATO_CRASH") == "full" else 3.0
EVERYTHING = FileRules(read=(".",), write=(".",))
WAYS = ("openat2", "walk")
LIBRARY = ctypes.CDLL(None, use_errno=True)

PROTECTED = (
    *(f"{name}.md" for name in ("SOUL", "AGENTS", "HEARTBEAT", "TOOLS", "USER", "IDENTITY")),
    "heartbeats/daily.md", ".git/config", ".git/hooks/pre-commit", ".env", ".env.local", ".mcp.json",
    ".ostinato/state.db", "ostinato.toml",
)  # fmt: skip

Operation = Callable[[SafeFolder, str], object]
OPERATIONS: dict[str, Operation] = {
    "read": lambda folder, path: folder.read(path),
    "list": lambda folder, path: folder.list(path, recursive=True),
    "stat": lambda folder, path: folder.stat(path),
    "write": lambda folder, path: folder.write(path, b"overwritten", key="k1"),
    "append": lambda folder, path: folder.append(path, b"appended", key=os.urandom(4).hex()),
    "change": lambda folder, path: folder.change(path, lambda data: data + b"!", key=os.urandom(4).hex()),
    "delete": lambda folder, path: folder.delete(path, key=os.urandom(4).hex()),
}
CHANGING = ("write", "append", "change", "delete")


class NaiveFolder(SafeFolder):
    """The usual mistake, planted: the path is checked, and then opened by its name."""

    def __init__(self, root: Path, rules: FileRules) -> None:
        super().__init__(root, rules)
        self.root = str(root)

    def read(self, path: str, *, most: int = 1_000_000) -> bytes:
        """A file whose `realpath` begins like the root's."""
        if not os.path.realpath(f"{self.root}/{path}").startswith(self.root):
            raise PermissionError(path)
        descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(descriptor, most)
        finally:
            os.close(descriptor)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Both ways in which paths are opened; twice the walk where this kernel or a filter has no openat2."""
    return str(request.param)


def opened(root: Path, way: str, rules: FileRules = EVERYTHING) -> SafeFolder:
    """The folder, by one of the two ways."""
    return SafeFolder(root, rules, walk=way == "walk")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A workspace full of traps, between neighbours that nobody may touch. Returns the workspace."""
    root = tmp_path / "agents" / "triage"
    (root / "notes" / "deep").mkdir(parents=True)
    (root / "notes" / "today.md").write_text("fine")
    for outside in (tmp_path / "outside", tmp_path / "agents" / "triage-two", tmp_path / "agents" / "billing"):
        outside.mkdir(parents=True)
        (outside / "secret.md").write_bytes(CANARY)
        (outside / "empty").mkdir()
    (tmp_path / "agents" / "secret.md").write_bytes(CANARY)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "notes" / "up").symlink_to("../..")
    (root / "notes" / "file").symlink_to(tmp_path / "outside" / "secret.md")
    (root / "notes" / "new").symlink_to(tmp_path / "outside" / "made.md")
    (root / "notes" / "loop").symlink_to("loop")
    (root / "notes" / "proc").symlink_to("/proc/self/cwd")
    (root / "notes" / "pipe").touch()
    (root / "notes" / "pipe").unlink()
    os.mkfifo(root / "notes" / "pipe")
    os.link(tmp_path / "outside" / "secret.md", root / "notes" / "hard")
    return root


def corpus(outside: Path) -> list[str]:
    """At least 1,000 paths: every short row of hostile names, and whole paths that have fooled somebody."""
    names = [
        "..", ".", "", "...", ".. ", "link", "up", "file", "new", "loop", "proc", "pipe", "hard", "notes", "secret.md",
        "triage-two", "%2e%2e", "..%2f", "\u2025", "\uff0e\uff0e", "empty", "made.md",
    ]  # fmt: skip
    rows = itertools.chain.from_iterable(itertools.product(names, repeat=count) for count in (1, 2))
    paths = ["/".join(row) for row in rows]
    paths += [f"notes/{'/'.join(row)}" for row in itertools.product(names, repeat=2)]
    paths += [f"notes/deep/../{'/'.join(row)}" for row in itertools.product(("..", "link", "up", "hard"), repeat=2)]
    paths += [
        f"{'../' * depth}{end}" for depth in range(1, 40) for end in ("secret.md", "etc/passwd", "outside/secret.md")
    ]
    paths += [f"notes/{'up/' * depth}outside/secret.md" for depth in range(1, 8)]
    whole = [
        str(outside / "secret.md"), "/etc/passwd", "//etc/passwd", "~/.ssh/id_rsa", "~root/x", "file:///etc/passwd",
        "notes/today.md/../../../outside/secret.md", "notes\\..\\..\\outside\\secret.md", "..\\..\\outside\\secret.md",
        "notes/\0/etc/passwd", "notes/today.md\0.png", "\0", "notes/\n../x", "\ud800/x", "\udc2e\udc2e/secret.md",
        "../triage-two/secret.md", "notes/../../triage-two/secret.md", "../../agents/billing/secret.md", "x" * 300,
        "a/" * 200 + "x", "é" * 200, "/proc/self/root/etc/passwd", "/dev/stdin", "notes/proc/../../etc/passwd",
        "link/secret.md", "link/empty/../secret.md", "./link/./secret.md", "notes//up//outside//secret.md",
        "notes/hard", "notes/file", "notes/file/", "link/", "notes/pipe", "notes/new", "notes/loop/x", " ", "\t", "",
        "notes/\u202e../x", "-rf", "$(id)", "`id`", "*", "notes/*", "CON", "aux.md", "notes/today.md.", "C:\\x",
    ]  # fmt: skip
    encoded = [path.replace("..", dots) for path in whole for dots in ("%2e%2e", "..;", "....//", "\u2025")]
    return list(dict.fromkeys([*paths, *whole, *encoded]))


def photograph(folder: Path) -> dict[str, bytes | str]:
    """Every name below `folder` with its contents, following no link."""
    found: dict[str, bytes | str] = {}
    for here, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(here, name)
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = path.read_bytes()
            else:
                found[str(path)] = "folder" if path.is_dir() else "other"
    return found


def attempt(operation: Operation, folder: SafeFolder, path: str) -> object:
    """What the operation gave, or the refusal; any other exception is a bug."""
    try:
        return operation(folder, path)
    except OstinatoError as refusal:
        return refusal


def around(root: Path) -> dict[str, bytes | str]:
    """Everything outside of the workspace."""
    mine = f"{root}{os.sep}"
    return {path: what for path, what in photograph(root.parent.parent).items() if not path.startswith(mine)}


@pytest.mark.slow
def test_no_path_of_the_corpus_leads_out(world: Path, way: str) -> None:
    paths = corpus(world.parent.parent / "outside")
    assert len(paths) >= 1_000
    before = around(world)
    traps = {path: what for path, what in photograph(world).items() if Path(path).is_symlink() or what == "other"}
    tries = 0
    with opened(world, way) as folder:
        for name, operation in OPERATIONS.items():
            for path in paths:
                given = attempt(operation, folder, path)
                tries += 1
                if isinstance(given, bytes):
                    assert CANARY not in given, (name, path)
                elif isinstance(given, list):
                    assert not [each for each in given if "secret" in each.path], (name, path)
            assert around(world) == before, f"{name} has reached outside"
    after = photograph(world)
    assert {path: after[path] for path in traps} == traps
    assert (world / "notes" / "hard").read_bytes() == CANARY
    assert tries >= 6_000


def test_the_corpus_catches_a_check_of_the_realpath(world: Path) -> None:
    leaked = []
    with NaiveFolder(world, EVERYTHING) as folder:
        for path in corpus(world.parent.parent / "outside"):
            try:
                if CANARY in folder.read(path):
                    leaked.append(path)
            except (OSError, ValueError):
                continue
            if len(leaked) > 3:
                break
    assert "../triage-two/secret.md" in leaked


def _written(path: str, mode: str, *, remove: bool = False) -> bool:
    """Changes a file by its plain name; True where that has worked."""
    if remove:
        os.unlink(path)
        return True
    with open(path, mode) as file:
        file.write(b"mine")
    return True


UNGUARDED: dict[str, Callable[[str], bool]] = {
    "read": lambda path: CANARY in Path(path).read_bytes(),
    "list": lambda path: bool(os.listdir(path)),
    "stat": lambda path: bool(os.stat(path)),
    "write": lambda path: _written(path, "wb"),
    "append": lambda path: _written(path, "ab"),
    "change": lambda path: _written(path, "r+b"),
    "delete": lambda path: _written(path, "", remove=True),
}
"""The operations as whoever opens files by their names would do them."""


def led_outside(root: Path, path: str, name: str) -> Path | None:
    """Where a path of the corpus leads to in the tests' own world, outside of the workspace, if `name` can do anything
    there; the pipe and the loop lead nowhere."""
    try:
        target = Path(os.path.realpath(os.path.join(root, path)))
        is_near = target.is_relative_to(root.parent.parent) and not target.is_relative_to(root)
        if not is_near or not target.parent.is_dir() or target.is_fifo():
            return None
        fits = target.is_dir() if name == "list" else name == "stat" or not target.is_dir()
        made = name in ("write", "append") or target.exists()
        return target if fits and made and not path.endswith("/") else None
    except (OSError, ValueError):
        return None


@pytest.mark.slow
def test_where_nobody_guards_the_opening_nearly_every_path_that_leads_out_gets_through(
    world: Path, tell: Callable[[str], None]
) -> None:
    """The corpus has teeth: what the guard refuses would have reached a neighbour."""
    tried, came, missed = 0, 0, []
    for name, operation in UNGUARDED.items():
        for path in corpus(world.parent.parent / "outside"):
            target = led_outside(world, path, name)
            if target is None:
                continue
            if target.suffix == ".md":
                target.write_bytes(CANARY)
            tried += 1
            try:
                through = operation(os.path.join(world, path))
            except (OSError, ValueError):
                through = False
            came += through
            missed += [] if through else [(name, path)]
    assert tried >= 300
    assert came > 0.95 * tried, missed[:20]
    tell(f"{came:,} of {tried:,} ways out by {len(UNGUARDED)} operations get through where nobody guards the opening")


def test_the_corpus_of_paths_has_many_techniques() -> None:
    """At least ten kinds of trick, each in at least one path."""
    paths = corpus(Path("/elsewhere"))
    tricks: dict[str, Callable[[str], bool]] = {
        "up": lambda path: path.startswith("../"),
        "down and up": lambda path: "notes/" in path and "/../" in path,
        "a link to a folder": lambda path: path.startswith("link/"),
        "a link to a file": lambda path: path == "notes/file",
        "a hard link": lambda path: path == "notes/hard",
        "a pipe": lambda path: path == "notes/pipe",
        "a magic link": lambda path: "proc" in path,
        "from the root": lambda path: path.startswith("/"),
        "another root": lambda path: path.startswith(("~", "file:", "C:")),
        "percent": lambda path: "%2e" in path,
        "backslashes": lambda path: "\\" in path,
        "a zero byte": lambda path: "\0" in path,
        "letters that look like others": lambda path: "\u2025" in path or "\uff0e" in path,
        "half a character": lambda path: "\ud800" in path,
        "a neighbour whose name begins alike": lambda path: "triage-two" in path,
        "too long": lambda path: len(path) >= 300,
    }
    assert {name for name, holds in tricks.items() if not any(map(holds, paths))} == set()


class Swapper(threading.Thread):
    """Makes a name mean what is ours and what is outside, in turn, as fast as it can. The name is never missing."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(daemon=True)
        self._path, self._target = path, target
        self._link = path.with_name(f"{path.name}-link")
        self._over = threading.Event()
        self.swaps = 0

    def run(self) -> None:
        """Until stopped."""
        swap = self._swap_folder if self._path.is_dir() else self._swap_file
        self._link.symlink_to(self._target)
        while not self._over.is_set():
            swap()
            self.swaps += 1

    def _swap_folder(self) -> None:
        exchange(self._path, self._link)

    def _swap_file(self) -> None:
        os.replace(self._link, self._path)  # ours is a link now
        self._link.write_text("mine")
        os.replace(self._link, self._path)  # and a file again
        self._link.symlink_to(self._target)

    def stop(self) -> None:
        """Stops and waits."""
        self._over.set()
        self.join(10)


def exchange(one: Path, other: Path) -> None:
    """Two names change places in one step (Linux, renameat2)."""
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if LIBRARY.renameat2(here, bytes(one), here, bytes(other), flag):
        raise OSError(ctypes.get_errno(), "renameat2")


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns after a microsecond, not after five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def raced(folder: SafeFolder, path: str, *, seconds: float, until_leak: bool = False) -> tuple[int, int]:
    """Reads and, where it can, writes again and again; returns tries and leaks."""
    tries = leaks = 0
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and not (until_leak and leaks):
        tries += 1
        try:
            leaks += CANARY in folder.read(path)
            if tries % 8 == 0:
                folder.write(path, b"mine", key="race")
                folder.append(path, b"+", key=str(tries))
        except (OstinatoError, OSError):
            continue
    return tries, leaks


@pytest.fixture(params=["folder", "file"])
def swapper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Swapper]:
    """A thread that swaps what `work/notes/secret.md` means."""
    (tmp_path / "work" / "notes").mkdir(parents=True)
    (tmp_path / "work" / "notes" / "secret.md").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.md").write_bytes(CANARY)
    if request.param == "folder":
        thread = Swapper(tmp_path / "work" / "notes", tmp_path / "outside")
    else:
        thread = Swapper(tmp_path / "work" / "notes" / "secret.md", tmp_path / "outside" / "secret.md")
    thread.start()
    yield thread
    thread.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_switches")
def test_a_race_against_links_leaks_nothing(tmp_path: Path, way: str, swapper: Swapper) -> None:
    before = photograph(tmp_path / "outside")
    with opened(tmp_path / "work", way) as folder:
        tries, leaks = raced(folder, "notes/secret.md", seconds=RACE_S / 2)
    swapper.stop()
    assert (leaks, photograph(tmp_path / "outside")) == (0, before)
    assert tries > 100
    assert swapper.swaps > 100


@pytest.mark.slow
@pytest.mark.usefixtures("quick_switches")
def test_the_race_catches_a_check_of_the_realpath(tmp_path: Path, swapper: Swapper) -> None:
    with NaiveFolder(tmp_path / "work", EVERYTHING) as folder:
        tries, leaks = raced(folder, "notes/secret.md", seconds=4 * RACE_S, until_leak=True)
    assert leaks, f"no leak in {tries} tries and {swapper.swaps} swaps"


def spellings(name: str) -> list[str]:
    """One name in the spellings that some file system takes for the same."""
    first, dot, rest = name.partition("/")
    forms = [
        first,
        first.lower(),
        first.upper(),
        first.title(),
        f"{first}.",
        f"{first} ",
        f"{first[:2]}\u200b{first[2:]}",
    ]
    forms += [first.replace(".", "\uff0e"), first.replace("s", "\u017f"), f"\ufeff{first}"]
    folders = ["", "./", ".//", "notes/../", "notes/", "notes/deep/"]
    return [f"{folder}{form}{dot}{rest}" for form in forms for folder in folders]


@pytest.mark.parametrize("name", PROTECTED)
def test_no_tool_writes_an_agents_leash_in_any_spelling(world: Path, name: str) -> None:
    target = world / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("kept")
    before = photograph(world)
    with opened(world, "walk") as folder:
        for path in spellings(name):
            for operation in CHANGING:
                given = attempt(OPERATIONS[operation], folder, path)
                assert isinstance(given, OstinatoError), (operation, path)
    after = {path: what for path, what in photograph(world).items() if "/.ostinato/trash" not in path}
    assert after == {path: what for path, what in before.items() if "/.ostinato/trash" not in path}


@pytest.mark.parametrize("name", [".git/config", ".env", ".env.local", ".mcp.json", ".ostinato/state.db"])
def test_secrets_and_state_are_neither_read_nor_listed(world: Path, name: str) -> None:
    (world / name).parent.mkdir(parents=True, exist_ok=True)
    (world / name).write_bytes(CANARY)
    with opened(world, "walk") as folder:
        for path in spellings(name):
            assert not isinstance(attempt(OPERATIONS["read"], folder, path), bytes)
        listed = [each.path for each in folder.list(recursive=True)]
    assert not [path for path in listed if path.startswith((".git", ".env", ".mcp", ".ostinato"))]


@pytest.mark.parametrize(
    ("rules", "path", "read", "write"),
    [
        (FileRules(), "a.md", True, False),
        (FileRules(read=("notes/",), write=("notes/out/",)), "notes/a.md", True, False),
        (FileRules(read=("notes/",), write=("notes/out/",)), "notes/out/a.md", True, True),
        (FileRules(read=("notes",), write=("notes",)), "notes-two/a.md", False, False),
        (FileRules(read=("./notes/",), write=("notes/a.md",)), "notes/a.md", True, True),
        (FileRules(read=(), write=()), "notes/a.md", False, False),
        (FileRules(read=("notes/",), write=("notes/",)), "a.md", False, False),
    ],
)
def test_declared_prefixes_are_whole_names(
    tmp_path: Path, *, rules: FileRules, path: str, read: bool, write: bool
) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("text")
    with opened(tmp_path, "walk", rules) as folder:
        assert isinstance(attempt(OPERATIONS["read"], folder, path), bytes) is read
        assert (not isinstance(attempt(OPERATIONS["write"], folder, path), OstinatoError)) is write


OPENS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rename", "replace", "touch", "glob"}
OWN_PATHS = {
    "safe_files.py": "is the one door",
    "sandbox": "programs, and fixed names in a workspace",
    "processes": "a process's folder in the state, by its own number",
    "python": "the tools that a person wrote into the fleet",
    "mcp/sdk.py": "the program that the fleet's file names",
    "skills.py": "the fleet's skills; agents read what was accepted",
    "web/proxy.py": "sockets of the runtime's own",
}
"""Rooms that open something, and why no agent says which."""


def opened_by(call: ast.Call) -> str:
    """The function that this call opens, moves or removes a file with; empty for any other. `text.replace(a, b)`,
    `replace(value, field=...)` and the opening of a way to the network are others."""
    name = ast.unparse(call.func)
    short = name.rpartition(".")[2]
    if short not in OPENS or name.endswith("ways.open"):
        return ""
    if short == "replace" and (len(call.args) != 1 or "." not in name or call.keywords):
        return ""
    return name


def test_only_one_module_of_the_tools_opens_files_that_an_agent_names() -> None:
    found = []
    for path in sorted(TOOLS.rglob("*.py")):
        within = path.relative_to(TOOLS).as_posix()
        if within in OWN_PATHS or within.partition("/")[0] in OWN_PATHS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) and any(each.name in ("os", "shutil", "io") for each in node.names):
                found.append(f"{path}:{node.lineno} imports {node.names[0].name}")
            elif isinstance(node, ast.Call) and (name := opened_by(node)):
                found.append(f"{path}:{node.lineno} calls {name}")
    assert not found
    assert [each for each in OWN_PATHS if not (TOOLS / each).exists()] == []


def test_what_opens_a_file_is_told_from_what_does_not() -> None:
    opening = ["open(x)", "Path(x).open()", "os.open(x, 0)", "path.replace(other)", "folder.glob('*')"]
    other = ["'a'.replace('a', 'b')", "replace(value, field=1)", "place.ways.open(agent=a)"]
    calls = [ast.parse(each, mode="eval").body for each in (*opening, *other)]
    assert [bool(opened_by(each)) for each in calls if isinstance(each, ast.Call)] == [True] * 5 + [False] * 3
