"""Lends a server, a database of a test's own, one that is emptied between tests, and a day behind a proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ostinato.store.postgres import open_postgres
from tests.conftest import FULL, run
from tests.postgres.day import live_a_day
from tests.postgres.errand import Outside
from tests.postgres.proxy import Plan, Proxy, never
from tests.postgres.server import CURE, Server, binaries, empty, shared_server

collect_ignore = [] if FULL else ["test_every_cut.py", "test_siege.py"]

Day = Callable[[Plan], list[str]]
"""Lives the scripted day with these cuts; returns what is wrong with it afterwards."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of this run."""
    if binaries() is None:
        pytest.skip(CURE)
    base = tmp_path_factory.getbasetemp()
    # Workers of one run have folders beside each other.
    meeting = base.parent if base.name.startswith("popen-") else base
    with shared_server(meeting) as shared:
        yield shared


@pytest.fixture(scope="session")
def kept_database(server: Server) -> str:
    """One database of this worker."""
    return server.make_database()


@pytest.fixture
def database(kept_database: str) -> str:
    """The URL of a database in which nothing is."""
    empty(kept_database)
    return kept_database


@pytest.fixture
def own_database(server: Server) -> Iterator[str]:
    """The URL of a database of this test alone, without any tables."""
    url = server.make_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the server."""
    made = Proxy(server.folder)
    yield made
    made.close()


@pytest.fixture
def day(proxy: Proxy, database: str, tmp_path: Path) -> Day:
    """The scripted day, in an empty database each time."""
    run(open_postgres(database).close())  # making the tables is more than a cut may disturb each time

    def live(plan: Plan) -> list[str]:
        empty(database)
        log = tmp_path / "outside"
        log.unlink(missing_ok=True)
        outside = Outside(log)
        proxy.seen.clear()
        proxy.plan = plan
        try:
            return run(live_a_day(proxy.url(urlsplit(database).path[1:]), outside), timeout_s=90.0)
        finally:
            proxy.plan = never
            outside.close()

    return live
