"""Where a database is and who we are there; nothing of it that is secret is ever shown.

Knows nothing of connections.
"""

from __future__ import annotations

import os
from typing import Any, Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ostinato.domain.errors import Invalid
from ostinato.domain.secret import KNOWN, Secret

SCHEMES: Final = ("postgresql://", "postgres://")
CURE: Final = 'Write url = "postgresql://user@host:5432/database", without a password.'

_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "ostinato",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "target_session_attrs": "read-write",
}
"""A machine that has gone is noticed in ten seconds, not in two hours; of several hosts, the one that takes writes."""

_BY_HOST: Final = ("host", "hostaddr", "port")
"""What may be a list, as libpq understands it: one of each for each host, or one port for all."""


class Address:
    """A URL without its secrets, and the environment variable that holds the password."""

    def __init__(self, url: str, *, password_env: str | None = None) -> None:
        """Raises Invalid for what is no URL of PostgreSQL, and for one that carries a password."""
        if not url.startswith(SCHEMES):
            raise Invalid(f"{url.partition(':')[0][:20]!r} is no database that we know", cure=CURE)
        try:
            parts = conninfo_to_dict(url)
        except ProgrammingError as error:
            raise Invalid("The database's URL cannot be read", cure=CURE) from error
        if parts.get("password"):
            raise Invalid(
                "The database's URL carries a password",
                cure="Take it out: name an environment variable with password_env, or use PGPASSFILE.",
            )
        self._parts = parts
        self._password_env = password_env

    def conninfos(self) -> list[bytes]:
        """What libpq connects with, for each host in turn; the password is read now. Raises Invalid where its variable
        is not set."""
        parts = {**_DEFAULTS, **self._parts}
        if self._password_env is not None:
            password = os.environ.get(self._password_env)
            if not password:
                raise Invalid(
                    f"The environment variable {self._password_env} is not set",
                    cure="It must hold the password of the database, as [store] password_env says.",
                )
            KNOWN.learn(Secret(self._password_env, password))
            parts["password"] = password
        lists = {key: str(parts[key]).split(",") for key in _BY_HOST if parts.get(key)}
        count = max((len(each) for each in lists.values()), default=1)
        return [make_conninfo("", **{**parts, **_of_host(lists, place)}).encode() for place in range(count)]

    def __str__(self) -> str:
        host = self._parts.get("host") or self._parts.get("hostaddr") or "the local server"
        port = f":{self._parts['port']}" if self._parts.get("port") else ""
        return f"PostgreSQL at {host}{port}, database {self._parts.get('dbname') or 'of the user'}"

    __repr__ = __str__


def _of_host(lists: dict[str, list[str]], place: int) -> dict[str, str]:
    return {key: each[place] if place < len(each) else each[-1] for key, each in lists.items()}
