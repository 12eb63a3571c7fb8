"""Lends a server, a database of a test's own, and one that is emptied between tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres.server import CURE, Server, binaries, empty, shared_server


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
