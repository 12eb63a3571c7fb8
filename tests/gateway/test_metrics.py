"""Figures: what is counted is told, in a form that Prometheus reads, and there are never more series than a few."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.app import build, call_here
from ostinato.cli.client import Client, UnixConnection
from ostinato.domain.breaker import Breaker
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import NewTask, TaskKind
from ostinato.gateway import metrics_api, tasks_api
from ostinato.gateway.metrics import SERIES_MAX, Meter, exposition, reason_class, store_families
from ostinato.gateway.operation import Nothing
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from tests.conftest import run
from tests.gateway.ground import make_fleet

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\["\\n])*)"')
UNITS = ("_seconds", "_bytes", "_total", "_fds", "_info", "_tasks", "_open", "_letters", "_depth", "_usd", "_state")


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of an exposition, read strictly: each below the type of its family, none twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    family, kind = "", ""
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            continue
        if line.startswith("# HELP "):
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        assert sample[1] in {f"{family}{ending}" for ending in endings}, line
        key = (sample[1], frozenset(LABEL.findall(sample[2] or "")))
        assert key not in found, line
        found[key] = float(sample[3].replace("+Inf", "inf"))
    return found


def value(text: str, name: str, **labels: str) -> float:
    return read(text)[name, frozenset(labels.items())]


@pytest.mark.slow
@given(st.lists(st.tuples(st.text(max_size=20), st.floats(0, 1e6)), max_size=20))
def test_whatever_is_counted_and_timed_is_told_in_full(calls: list[tuple[str, float]]) -> None:
    meter = Meter()
    for model, seconds in calls:
        meter.count("ostinato_model_calls_total", model=model, outcome="ok")
        meter.observe("ostinato_model_call_seconds", seconds, model=model)
    samples = read(exposition(meter.families(), version='1"\\\n'))
    counted = sum(v for (name, _), v in samples.items() if name == "ostinato_model_calls_total")
    assert counted == len(calls)
    for (name, labels), found in samples.items():
        if name == "ostinato_model_call_seconds_count":
            buckets = {
                float(dict(each)["le"].replace("+Inf", "inf")): v
                for (other, each), v in samples.items()
                if other == "ostinato_model_call_seconds_bucket" and labels <= each
            }
            ordered = [buckets[bound] for bound in sorted(buckets)]
            assert ordered == sorted(ordered)
            assert buckets[math.inf] == found


def test_a_crowd_of_labels_becomes_other() -> None:
    meter = Meter()
    for number in range(10 * SERIES_MAX):
        meter.count("ostinato_model_calls_total", model=f"m{number}", outcome="ok")
    samples = [v for (name, _), v in read(exposition(meter.families(), version="1")).items() if "model_calls" in name]
    assert len(samples) == SERIES_MAX + 1
    assert sum(samples) == 10 * SERIES_MAX


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("nothing to do: inbox.files > 0", "nothing to do"),
        ("still busy with T12", "busy"),
        ("agent:clerk is paused", "paused"),
        ("missed: no node ran", "missed"),
    ],
)
def test_a_reason_is_told_without_names(reason: str, label: str) -> None:
    assert reason_class(reason) == label


def test_events_are_counted_by_name() -> None:
    meter = Meter()
    meter.hear([Event(id=1, at=0, name=EventName.TASK_CLAIMED), Event(id=2, at=0, name=EventName.TASK_CLAIMED)])
    assert value(exposition(meter.families(), version="1"), "ostinato_events_total", event="task.claimed") == 2


@pytest.mark.slow
def test_a_thousand_agents_are_not_a_thousand_series_unless_asked_for() -> None:
    async def story() -> tuple[str, str]:
        store, clock = open_store(None), ManualClock()
        new = [NewTask(kind=TaskKind.GOAL, title="t", agent=f"agent-{n}") for n in range(1_000)]
        await store.run(lambda tx: [tx.add_task(each, now=clock.now()) for each in new])
        clock.advance(60.0)
        few, many = [
            await store.read(lambda reads, agents=agents: list(store_families(reads, now=clock.now(), agents=agents)))
            for agents in (False, True)
        ]
        await store.close()
        return exposition(few, version="1"), exposition(many, version="1")

    few, many = run(story())
    assert len(read(few)) < 50
    assert value(few, "ostinato_queue_depth") == 1_000
    assert "ostinato_queue_oldest_age_seconds" not in few  # a queue too long to be looked through for it
    assert value(many, "ostinato_agent_tasks", agent="agent-7", state="ready") == 1


def test_breakers_of_a_crowd_hide_none_of_a_model() -> None:
    async def story() -> tuple[str, str]:
        store, clock = open_store(None), ManualClock()
        crowd = (f"{kind}:{kind}-{n}" for kind in ("agent", "host", "tool") for n in range(SERIES_MAX + 50))
        names = [*crowd, "model:small", "channel:mail"]
        for start in range(0, len(names), 50):
            some = names[start : start + 50]
            await store.run(lambda tx, some=some: [tx.put_breaker(n, Breaker(name=n), now=clock.now()) for n in some])
        few, many = [
            await store.read(lambda reads, agents=agents: list(store_families(reads, now=clock.now(), agents=agents)))
            for agents in (False, True)
        ]
        await store.close()
        return exposition(few, version="1"), exposition(many, version="1")

    for text in run(story()):
        told = {dict(labels)["breaker"] for name, labels in read(text) if name == "ostinato_breaker_state"}
        assert {"model:small", "channel:mail"} <= told
        assert len(told) == SERIES_MAX
        assert not any(each.startswith("agent:") for each in told)


@pytest.mark.slow
def test_a_node_tells_of_its_turns_models_and_commits_and_the_store_alone_of_the_rest(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet")
    task = call_here(folder, tasks_api.add, tasks_api.AddTask(title="Hello", agent="clerk"))

    def scrape() -> bytes:
        connection = UnixConnection(folder / ".ostinato")
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        data = reply.read()
        connection.close()
        return data

    async def go() -> tuple[str, str]:
        app = build(folder)
        await app.start()
        assert app.node is not None
        try:
            await app.node.completions.wait(int(task.id[1:]))
            plain = (await asyncio.to_thread(scrape)).decode()
            asked = await asyncio.to_thread(lambda: Client(folder).call(metrics_api.metrics, Nothing()))
            return plain, asked.text
        finally:
            await app.stop()

    plain, asked = run(go())
    names = {name for name, _ in read(plain)}
    assert names == {name for name, _ in read(asked)}
    assert all(re.sub(r"_(bucket|sum|count)$", "", name).endswith(UNITS) for name in names), names
    assert value(plain, "ostinato_attempts_total", kind="goal", outcome="done") == 1
    assert value(plain, "ostinato_attempts_total", kind="turn", outcome="done") == 0, "there before the first of them"
    assert value(plain, "ostinato_model_cost_usd_total", model="scripted") >= 0
    assert value(plain, "ostinato_tasks", kind="goal", state="done") == 1
    assert value(plain, "ostinato_model_calls_total", model="scripted", outcome="ok") >= 1
    assert value(plain, "ostinato_model_call_seconds_count", model="scripted") >= 1
    assert value(plain, "ostinato_model_tokens_total", model="scripted", type="output") > 0
    assert value(plain, "ostinato_store_commit_seconds_count") >= 4
    assert value(plain, "process_resident_memory_bytes") > 10_000_000
    without = call_here(folder, metrics_api.metrics, Nothing()).text
    assert value(without, "ostinato_tasks", kind="goal", state="done") == 1
    assert "ostinato_attempts_total" not in without
