"""A look through the whole database: do the counters say what is there?

The pages themselves are the server's matter (data checksums). Knows nothing of what the tables mean.
"""

from __future__ import annotations

from typing import Final

from ostinato.store.postgres.database import PostgresDatabase
from ostinato.store.postgres.wire import Statement

_COUNTED: Final = Statement(
    "check totals",
    "SELECT state, count(*), coalesce((SELECT count FROM totals WHERE name = 'tasks.' || state), 0) "
    "FROM tasks GROUP BY state ORDER BY state",
)


def check(database: PostgresDatabase) -> str:
    """Reads every task and compares the counters with what is there."""
    database.wire.put(_COUNTED)
    wrong = [f"{counted} tasks are {state}, the counter says {said}"
             for state, counted, said in database.sync()[-1].rows if counted != said]  # fmt: skip
    return "; ".join(wrong) or "ok"
