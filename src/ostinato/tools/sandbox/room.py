"""What one command may see, change and use up. Plain values: nothing here touches a disk or a process.

Knows nothing of the means by which the kernel is made to keep it.
"""

from __future__ import annotations

from pathlib import Path

from ostinato.domain.values import Value

MIB = 1_048_576

SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
)
"""All of /etc that a command sees, beside a list of users that names only its own: no keys, no passwords, no hosts."""

SEARCH = ("/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin")
"""Where programs are looked for, behind declared extra folders; never the workspace, which the agent writes."""


class Bounds(Value):
    """What one command may use up. Each ends the command, and its result says which one did."""

    wall_s: float = 600.0
    """Seconds from its beginning: `exec.timeout`, `exec.lasts`."""
    silence_s: float | None = None
    """Seconds without output; None: it may be as silent as it likes."""
    cpu_s: float = 3_600.0
    """Of all its processes together; each alone is held to it by the kernel, too."""
    memory_bytes: int = 2_048 * MIB
    """Resident, of all its processes together; looked at every quarter of a second. Each alone may map so much data."""
    processes: int = 512
    """Processes and threads at once."""
    file_bytes: int = 1_024 * MIB
    """Size of any one file that it writes."""
    scratch_bytes: int = 256 * MIB
    """Room in its own /tmp, and as much again in /dev/shm."""


class Account(Value):
    """The user as whom a command runs; never root."""

    uid: int
    gid: int
    name: str


class Guard(Value):
    """What of a workspace no command may change: each is mounted read-only on itself, and so is its folder, read-write,
    lest a rename of the folder carry it away."""

    folders: tuple[Path, ...] = ()
    """Folders that hold something protected, the workspace aside, outermost first."""
    sealed: tuple[Path, ...] = ()
    """The protected files and folders themselves."""


class Room(Value):
    """What one command may do."""

    workspace: Path
    """Readable and writable, at its own path."""
    guard: Guard = Guard()
    reads: tuple[Path, ...] = ()
    """Further folders that it may read."""
    pinned: dict[str, bytes] = {}
    """Absolute path -> contents that the command finds there, whatever the disk says by then; read-only."""
    bounds: Bounds = Bounds()
    way: Path | None = None
    """The folder of its way to the network (`tools/web/proxy.py`); None: it has no network."""


class Errand(Value):
    """One command, ready to run."""

    argv: tuple[str, ...]
    """The program by its absolute path, then its arguments."""
    cwd: Path
    environment: dict[str, str] = {}
    """All of it: nothing is inherited."""
    stdin: bytes = b""
    terminal: bool = False
    """True: its standard streams are a terminal, which becomes the one that controls it."""
