"""The store in a PostgreSQL database: for fleets of several nodes, on several machines.

Open it with `open_postgres`. Needs the extra `postgres` (psycopg); nothing outside of this room imports it.
"""

from __future__ import annotations

from ostinato.store.postgres.store import PostgresStore, open_postgres

__all__ = ["PostgresStore", "open_postgres"]
