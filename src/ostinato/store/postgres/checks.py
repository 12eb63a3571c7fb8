"""Looks at the database, and at what stands behind it.

Do the counters say what is there? Do commits wait for the copies that would take over? The pages themselves are the
server's matter (data checksums). Knows nothing of what the tables mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ostinato.store.examination import Remark
from ostinato.store.postgres.database import PostgresDatabase
from ostinato.store.postgres.wire import Statement
from ostinato.store.verbs.database import Row

_COUNTED: Final = Statement(
    "check totals",
    "SELECT state, count(*), coalesce((SELECT count FROM totals WHERE name = 'tasks.' || state), 0) "
    "FROM tasks GROUP BY state ORDER BY state",
)


_COPIES: Final = Statement(
    "check copies",
    "SELECT coalesce(nullif(application_name, ''), 'a copy'), state, sync_state FROM pg_stat_replication ORDER BY 1",
)
_WAITING: Final = Statement(
    "check waiting",
    "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit')",
)
_WAITED_FOR: Final = ("sync", "quorum")

_WAIT: Final = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; SELECT pg_reload_conf();"
_SEE: Final = "GRANT pg_monitor TO the fleet's user of the database."
_COMMIT: Final = "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();"


def copies(database: PostgresDatabase) -> Remark:
    """Whether a copy that takes over has everything that was acknowledged."""
    database.wire.put(_COPIES)
    database.wire.put(_WAITING)
    found, setting = (answer.rows for answer in database.sync()[-2:])
    ((names, commit),) = setting
    level, text, cure = _judged(found, names, commit)
    return Remark(name="copies", level=level, text=text, cure=cure)


def _judged(found: Sequence[Row], names: str, commit: str) -> tuple[Literal["ok", "warn", "bad"], str, str]:
    who = ", ".join(name for name, _state, _sync in found)
    waited = [name for name, _state, sync in found if sync in _WAITED_FOR]
    if names and not found:
        return "bad", f"commits wait for {names!r}, and no copy follows: nothing can be written", "Start the copy."
    if not found:
        return "ok", "none: what this server has is all there is", ""
    if any(state is None for _name, state, _sync in found):
        return "warn", f"{len(found)} follow, and how cannot be seen", _SEE
    if commit in ("off", "local"):
        return "bad", f"commits do not wait for {who}: synchronous_commit is {commit}", _COMMIT
    if not waited:
        return "warn", f"commits do not wait for {who}: a failover may lose what was acknowledged", _WAIT
    if commit == "remote_write":
        return "warn", f"{', '.join(waited)} may not have written down what was acknowledged", _COMMIT
    return "ok", f"{', '.join(waited)} has everything before it is acknowledged", ""


def check(database: PostgresDatabase) -> str:
    """Reads every task and compares the counters with what is there."""
    database.wire.put(_COUNTED)
    wrong = [f"{counted} tasks are {state}, the counter says {said}"
             for state, counted, said in database.sync()[-1].rows if counted != said]  # fmt: skip
    return "; ".join(wrong) or "ok"
