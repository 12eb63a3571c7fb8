"""A node that begins anew while somebody looks on: settings are read, nothing that is followed breaks off."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.e2e.test_cli import ENVIRONMENT, PYTHON, document, done, new_fleet, node, ostinato


@contextmanager
def followed(folder: Path, task: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`ostinato tasks tail`, and the file that it writes to."""
    told = folder / "told"
    with told.open("w") as output:
        command = [*PYTHON, "tasks", "tail", task]
        tail = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=output, stderr=output)
    try:
        yield tail, told
    finally:
        tail.kill()
        tail.wait()


@pytest.mark.slow
def test_a_node_that_is_told_to_begin_anew_reads_its_settings_and_keeps_those_who_follow(tmp_path: Path) -> None:
    folder = new_fleet(tmp_path / "fleet")
    with node(folder):
        done(folder, "agents", "pause", "clerk", "--reason", "lunch")
        task = document(folder, "tasks", "add", "Hello", "--agent", "clerk")["id"]
        with followed(folder, task) as (tail, told):
            wait_until(lambda: "→ ostinato agents resume clerk" in told.read_text())
            before = document(folder, "status")["node"]["pid"]
            with (folder / "ostinato.toml").open("a") as settings:
                settings.write('\n[retention]\nevents = "30d"\n')
            (hint,) = [each for each in document(folder, "status")["needs_you"] if "[retention]" in each["text"]]
            assert "it works with the old settings" in hint["text"]
            subprocess.run(hint["command"].split(), check=True)
            wait_until(lambda: document(folder, "status")["node"]["pid"] not in (None, before))
            assert "[retention]" not in ostinato(folder, "status").stdout
            done(folder, "agents", "resume", "clerk")
            assert tail.wait(20) == 0, told.read_text()
            text = told.read_text()
    assert text.count("The node has gone") == 1
    assert text.count("was added") == 1
    assert text.count("→ ostinato agents resume clerk") == 1
