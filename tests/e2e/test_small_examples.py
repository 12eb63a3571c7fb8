"""The small examples tell their stories to the end: queues, routing by skill and cost, a founder's request."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from examples.founders_request import demo as founders_request
from examples.simple_queue import demo as simple_queue
from examples.skill_routing import demo as skill_routing
from examples.stage import play
from examples.task_queue import demo as task_queue

TOLD = {
    simple_queue: "T6 is blocked: waits for T3, which is failed",
    skill_routing: "an accountant comes: T8 is done, by accountant",
    task_queue: "8 tasks, none twice; the program has changed 2 things",
    founders_request: "  assistant: Reminder Call the bank today.",
}


@pytest.mark.slow
@pytest.mark.parametrize("demo", TOLD, ids=lambda demo: demo.__name__.split(".")[1])
def test_the_example_ends_as_it_says(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "put back afterwards")
    assert play(Path(str(demo.__file__)), demo.story, commands=demo is task_queue) == 0
    assert TOLD[demo] in capsys.readouterr().out
