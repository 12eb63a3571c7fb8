"""As whom commands run: the owner of the fleet's folder, and never root.

Root inside a room is still root to half of the kernel: measured, it could write `/proc/sys/kernel/core_pattern` and
would have had the host. Knows nothing of rooms.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from ostinato.domain.errors import Denied
from ostinato.tools.sandbox.room import Account


def account_of(fleet: Path, *, running_as: int | None = None) -> Account:
    """The fleet's owner. Raises Denied, with the cure, where that is root or somebody whom this process cannot become.

    `running_as`: the user of this process, as a number; None: ask.
    """
    found = os.stat(fleet)
    if found.st_uid == 0:
        raise Denied(
            f"{fleet} belongs to root, and commands never run as root",
            cure=f"Give the fleet a user of its own: useradd --system ostinato && chown -R ostinato: {fleet}",
        )
    name = _name_of(found.st_uid)
    running_as = os.geteuid() if running_as is None else running_as
    if running_as not in (0, found.st_uid):
        raise Denied(
            f"{fleet} belongs to {name}, and this process runs as {_name_of(running_as)}",
            cure=f"Run the node as {name}, or give it the folder: chown -R {_name_of(running_as)}: {fleet}",
        )
    return Account(uid=found.st_uid, gid=_group_of(found.st_uid, otherwise=found.st_gid), name=name)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group_of(uid: int, *, otherwise: int) -> int:
    """The user's own group; root's group is never lent, whoever owns the folder."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return otherwise or uid
