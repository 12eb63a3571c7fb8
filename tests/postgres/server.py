"""A real PostgreSQL server of the tests' own: one for all workers of a run, on a Unix socket, with fsync on.

Its files lie in memory where the machine has room there, so that no test waits for a disk; benchmarks want the disk.
Stands on the binaries of Debian's package `postgresql`. The first worker that needs the server starts it, the last one
stops it; a count in a locked file says which is which. As root the server runs as another user, as it refuses root.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

CURE = "PostgreSQL's server is not installed: make system (Debian's package `postgresql`)"
USER = "ostinato"
MEMORY = Path("/dev/shm")
MEMORY_MIN = 1_000_000_000
"""Bytes free, for a cluster with its log."""
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "80",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
}


def binaries() -> Path | None:
    """Where initdb and pg_ctl are; None: nowhere."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("pg_ctl")
    if found is not None:
        folders.append(Path(found).resolve().parent)
    return next((each for each in folders if (each / "initdb").exists() and (each / "pg_ctl").exists()), None)


class Server:
    """A cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, *, on_disk: bool = False) -> Server:
        """A new, empty cluster, not started."""
        server = cls(_own_folder(on_disk=on_disk))
        server.call("cp", "-a", str(_empty_cluster() / "data"), str(server.folder))
        server.configure({**_SETTINGS, "unix_socket_directories": str(server.folder)})
        return server

    def copy(self) -> Server:
        """A replica of this running server, not started; it follows as soon as it is."""
        replica = Server(_own_folder(on_disk=False))
        data, source = str(replica.folder / "data"), f"host={self.folder} user={USER}"
        replica.call("pg_basebackup", "-D", data, "-d", source, "-c", "fast", "-R", "-X", "stream", "-N")
        replica.configure({"unix_socket_directories": str(replica.folder)})
        return replica

    def promote(self) -> None:
        """A replica becomes a primary: a new timeline begins."""
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-s", "promote")

    def configure(self, settings: dict[str, str]) -> None:
        """Settings that hold from the next start or reload on; the last word counts."""
        file = self.folder / "data" / "postgresql.auto.conf"
        with file.open("a") as lines:
            lines.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def reload(self) -> None:
        """Reads the settings again."""
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-s", "reload")

    def start(self) -> None:
        """Returns when it answers."""
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-s", "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash."""
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-s", "-m", mode, "stop")

    def stop_if_running(self) -> None:
        """As a crash; nothing where it has been stopped."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")

    def remove(self) -> None:
        """The cluster is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """A new, empty database; returns its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """It goes, whoever is connected."""
        name = urlsplit(url).path[1:]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def call(self, program: str, *arguments: str) -> None:
        """One of the server's own programs or of the system's, as the server's user."""
        folder = binaries()
        assert folder is not None, CURE
        command = [str(folder / program) if (folder / program).exists() else program, *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={_other_user()}", "--regid", str(_group()), "--clear-groups", *command]
        done = subprocess.run(
            command, cwd="/", env={"PATH": os.defpath, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, timeout=120,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"


@functools.cache
def _empty_cluster() -> Path:
    """One that is made once in a process and copied from then on, which is ten times faster than making it."""
    folder = _own_folder(on_disk=False)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    data = str(folder / "data")
    Server(folder).call("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
    return folder


def _own_folder(*, on_disk: bool) -> Path:
    """A new folder of the server's user; its path is short, as a socket's may have 107 characters only."""
    in_memory = not on_disk and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_MIN
    folder = Path(tempfile.mkdtemp(prefix="ostinato-pg-", dir=MEMORY if in_memory else "/tmp"))
    if os.geteuid() == 0:
        entry = pwd.getpwnam(_other_user())
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise AssertionError("no user `postgres` or `nobody`: a server cannot run as root")


def _group() -> int:
    return pwd.getpwnam(_other_user()).pw_gid


@contextlib.contextmanager
def shared_server(meeting: Path) -> Iterator[Server]:
    """The server of all workers that name the same folder."""
    note, count = meeting / "postgres-folder", meeting / "postgres-users"
    with _locked(meeting):
        users = int(count.read_text()) if count.exists() else 0
        if users == 0:
            server = Server.make()
            server.start()
            note.write_text(str(server.folder))
        else:
            server = Server(Path(note.read_text()))
        count.write_text(str(users + 1))
    try:
        yield server
    finally:
        while _EMPTYING:
            _EMPTYING.popitem()[1].close()
        with _locked(meeting):
            users = int(count.read_text()) - 1
            count.write_text(str(users))
            if users == 0:
                server.stop()
                server.remove()


@contextlib.contextmanager
def _locked(meeting: Path) -> Iterator[None]:
    with (meeting / "postgres-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_EMPTYING: dict[str, psycopg.Connection] = {}
"""Connections that are kept for the next time."""


def empty(url: str) -> None:
    """Every table of a store is empty again; the tables stay, which is a hundred times faster than making them."""
    connection = _EMPTYING.get(url)
    if connection is None:
        connection = _EMPTYING[url] = psycopg.connect(url, autocommit=True)
    with connection.transaction():
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename != 'ostinato_store'"
        ).fetchall()
        connection.execute("; ".join(f"DELETE FROM {table}" for (table,) in tables))
