"""Traces: made from the journal, sent to a real collector over HTTP, and silent about what was said."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from ostinato.app import build, call_here
from ostinato.app.attendants import Attendants
from ostinato.app.parts import Ground
from ostinato.domain.chat import StopReason, ToolCall, Usage
from ostinato.domain.errors import Invalid
from ostinato.domain.ledger import Charge
from ostinato.domain.step import Effect, Entry, ModelAnswer, ModelIntent, ResultStatus, Step, ToolIntent, ToolOutcome
from ostinato.domain.task import Done, NewTask, Outcome, Retry, Task, TaskKind, TaskResult, TaskSpec
from ostinato.gateway import tasks_api
from ostinato.gateway.otel import OtelExporter
from ostinato.gateway.spans import Span, Told, attempt_span, trace_of
from ostinato.gateway.tracer import Tracer
from ostinato.store.port import Attempt, Claim, ClaimRequest, EventFilter
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from ostinato.workspace.fleet_file import read_fleet
from tests.conftest import WAIT_TIMEOUT_S, run
from tests.gateway.ground import make_fleet

SECRET = "the launch code is 0000"
KNOWN = {value for name, value in vars(gen_ai_attributes).items() if name.isupper() and isinstance(value, str)}
"""Every attribute and value of the conventions that the library knows."""


class Collector:
    """What was sent, decoded."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, Any]] = []
        self.url = ""


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""

    def of(value: Any) -> Any:
        kind = value.WhichOneof("value")
        found = getattr(value, kind)
        return [of(each) for each in found.values] if kind == "array_value" else found

    return {each.key: of(each.value) for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine, which decodes OTLP strictly."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            assert self.headers["content-type"] == "application/x-protobuf"
            collector.bodies.append(body)
            if self.path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.resources.append(plain(resource.resource.attributes))
                    collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
            elif self.path == "/v1/metrics":
                for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    collector.metrics += [metric for scope in measured.scope_metrics for metric in scope.metrics]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_a_turn_is_one_trace_of_its_calls_by_the_conventions_and_without_contents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_fleet(tmp_path / "fleet")
    with collecting() as collector:
        with (folder / "ostinato.toml").open("a") as settings:
            settings.write(f'\n[otel]\nendpoint = "{collector.url}"\n')
        task = call_here(folder, tasks_api.add, tasks_api.AddTask(title="Hello", goal=SECRET, agent="clerk"))

        async def go() -> None:
            app = build(folder)
            await app.start()
            assert app.node is not None
            try:
                await app.node.completions.wait(int(task.id[1:]))
            finally:
                await app.stop()

        run(go())
    by_name = {each.name: each for each in collector.spans}
    root = by_name["invoke_agent clerk"]
    facts = plain(root.attributes)
    assert (facts["gen_ai.agent.name"], facts["ostinato.task"], facts["ostinato.outcome"]) == ("clerk", "T1", "done")
    assert root.parent_span_id == b""
    chats = [each for each in collector.spans if each.name.startswith("chat ")]
    tools = [each for each in collector.spans if each.name.startswith("execute_tool ")]
    assert (len(chats), [each.name for each in tools]) == (2, ["execute_tool memory.note"])
    for each in (*chats, *tools):
        assert (each.trace_id, each.parent_span_id) == (root.trace_id, root.span_id)
        assert root.start_time_unix_nano - 1_000_000_000 <= each.start_time_unix_nano <= each.end_time_unix_nano
        names = {name for name in plain(each.attributes) if name.startswith("gen_ai.")}
        assert names <= KNOWN, names - KNOWN
    assert plain(chats[0].attributes)["gen_ai.usage.input_tokens"] > 0
    assert collector.resources[0]["service.name"] == "ostinato"
    assert {each.name for each in collector.metrics} == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
    }
    assert not [body for body in collector.bodies if SECRET.encode() in body]
    assert [each.getMessage() for each in caplog.records if each.name.startswith("opentelemetry")] == []


@pytest.mark.slow
def test_a_collector_that_is_not_there_keeps_nobody_waiting(tmp_path: Path) -> None:
    exporter = OtelExporter("http://127.0.0.1:9", fleet="f", version="1", close_s=0.2)
    exporter.emit(Span(name="x", kind="internal", began_at=1, ended_at=2, attributes={}), "f:T1")
    began_s = time.monotonic()
    exporter.close()
    assert time.monotonic() - began_s < WAIT_TIMEOUT_S


def test_where_nobody_asked_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    app = build(make_fleet(tmp_path / "fleet"))
    assert app.settings.otel_endpoint == ""
    before = set(sys.modules)
    ground = Ground(
        fleet=app.fleet, settings=app.settings, store=open_store(None), workspaces=app.workspaces, clock=app.clock
    )
    attendants = Attendants(ground, router=app.router, notify=app.log.notice, ends=AsyncExitStack())
    attendants.begin_tracing(lambda: None)
    assert not [each for each in set(sys.modules) - before if "opentelemetry" in each]


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://x", "http://key@host", "http://host/?key=1"])
def test_an_endpoint_that_is_none_is_refused_with_its_place(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "ostinato.toml").write_text(f'[otel]\nendpoint = "{endpoint}"\n')
    with pytest.raises(Invalid, match="not the URL of a collector") as refusal:
        read_fleet(tmp_path)
    assert refusal.value.place == "ostinato.toml:2, key 'otel.endpoint'"


# --- the journal as spans ---


@cache
def some_task() -> Task:
    """A task as the store makes it."""
    return run(_one_task())


async def _one_task(**spec: Any) -> Task:
    store = open_store(None)
    new = NewTask(kind=TaskKind.GOAL, title="work", agent="clerk", spec=TaskSpec(**spec))
    task = await store.run(lambda tx: tx.add_task(new, now=ManualClock().now()))
    await store.close()
    return task


def spans_of(*entries: Entry, outcome: str = "done", contents: bool = False) -> Span:
    """One attempt, a step a second."""
    task = some_task()
    attempt = Attempt(
        task=task.id,
        token=1,
        node=1,
        started_at=0,
        ended_at=1_000_000 * (len(entries) + 1),
        outcome=outcome,
        error=SECRET if outcome == "fail" else "",
        ready_at=0,
    )
    steps = [
        Step(task=task.id, journal=1, seq=n, at=1_000_000 * n, attempt=1, entry=each)
        for n, each in enumerate(entries, 1)
    ]
    charge = Charge(
        task=task.id, agent="clerk", session="s", trigger="operator", call=1, provider="openai", model="m", status=200
    )
    told = Told(fleet="f", contents=contents)
    return attempt_span(task, attempt, steps=steps, charges=[charge], told=told)


ANSWER = ModelAnswer(
    call=1,
    model="m-1",
    text=SECRET,
    calls=(ToolCall(id="1.0", name="files.read", arguments={"path": SECRET}),),
    stop=StopReason.TOOLS,
    usage=Usage(input_tokens=10, cached_tokens=4, output_tokens=2),
    duration_ms=250.0,
)
INTENT = ToolIntent(call_id="1.0", tool="files.read", effect=Effect.READ, arguments={"path": SECRET}, key="k")
OUTCOME = ToolOutcome(call_id="1.0", tool="files.read", status=ResultStatus.ERROR, text=SECRET, duration_ms=5.0)


def test_calls_have_their_own_times_and_errors() -> None:
    span = spans_of(ModelIntent(call=1, model="m"), ANSWER, INTENT, OUTCOME)
    chat, tool = span.children
    assert (chat.name, chat.began_at, chat.ended_at) == ("chat m", 1_750_000, 2_000_000)
    assert (tool.error, tool.attributes["error.type"]) == ("error", "error")
    assert chat.attributes["gen_ai.provider.name"] == "openai"
    assert chat.attributes["gen_ai.response.model"] == "m-1"
    assert SECRET not in str(span)


def test_contents_are_told_where_somebody_asked_for_them() -> None:
    span = spans_of(ModelIntent(call=1, model="m"), ANSWER, INTENT, OUTCOME, contents=True)
    chat, tool = span.children
    assert SECRET in str(chat.attributes["gen_ai.output.messages"])
    assert SECRET in str(tool.attributes["gen_ai.tool.call.arguments"])
    assert tool.attributes["gen_ai.tool.call.result"] == SECRET


def test_a_call_that_was_never_answered_is_told_too() -> None:
    (chat,) = spans_of(ModelIntent(call=1, model="m"), outcome="retry").children
    assert (chat.error, chat.began_at, chat.ended_at) == ("the model did not answer", 1_000_000, 2_000_000)


def test_an_error_that_may_quote_what_was_said_is_told_by_its_kind_alone() -> None:
    broken = replace(ANSWER, problem=f"this is no JSON: {SECRET}")
    span = spans_of(ModelIntent(call=1, model="m"), broken, outcome="fail")
    assert (span.error, span.children[0].error) == ("fail", "malformed")
    assert SECRET not in str(span)
    span = spans_of(ModelIntent(call=1, model="m"), broken, outcome="fail", contents=True)
    assert SECRET in span.error
    assert SECRET in span.children[0].error


def test_who_answered_and_why_it_stopped_are_told_in_the_words_of_the_conventions() -> None:
    words = {"end": "stop", "tools": "tool_call", "length": "length", "filter": "content_filter"}
    for stop in StopReason:
        answer = replace(ANSWER, stop=stop, usage=Usage(input_tokens=9, written_tokens=3))
        span = spans_of(ModelIntent(call=1, model="m"), answer, contents=True)
        (chat,) = span.children
        assert chat.attributes["gen_ai.response.finish_reasons"] == (words[stop.value],)
        assert f'"finish_reason":"{words[stop.value]}"' in str(chat.attributes["gen_ai.output.messages"])
        assert chat.attributes["gen_ai.usage.cache_creation.input_tokens"] == 3
        assert span.attributes["gen_ai.provider.name"] == "openai"
        assert all(span.attributes.values()), "what is not known is left out"


@pytest.mark.slow
@given(st.lists(st.sampled_from([ModelIntent(call=1, model="m"), ANSWER, INTENT, OUTCOME]), max_size=8))
def test_no_span_ends_before_it_begins_or_after_its_attempt(entries: list[Entry]) -> None:
    span = spans_of(*entries)
    for each in span.children:
        assert each.began_at <= each.ended_at <= span.ended_at


def test_work_that_was_given_away_is_in_the_trace_of_the_first() -> None:
    told = Told(fleet="f")
    assert trace_of(run(_one_task(causes=("M3", "T7", "T9"))), told) == "f:T7"
    assert trace_of(run(_one_task()), told) == "f:T1"


def test_an_attempt_is_handed_on_once() -> None:
    async def story() -> list[str]:
        store, clock = open_store(None), ManualClock()
        handed: list[str] = []
        tracer = Tracer(
            store=store,
            clock=clock,
            emit=lambda span, trace: handed.append(span.name),
            told=Told(fleet="f"),
            node=lambda: None if ended else node.id,
        )
        heard: list[bool] = []
        ended: list[bool] = []
        store.subscribe(lambda events: heard.append(tracer.hear(events)))
        now = clock.now()
        node = await store.run(
            lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=now)
        )
        new = NewTask(kind=TaskKind.GOAL, title="work", agent="clerk")
        task = await store.run(lambda tx: tx.add_task(new, now=now))

        async def attempt(outcome: Outcome, at: int) -> None:
            (claimed,) = await store.run(lambda tx: tx.claim(ClaimRequest(node=node.id), now=at))
            claim = Claim(task=task.id, token=claimed.token)
            await store.run(lambda tx: tx.finish(claim, outcome, now=at))
            ended.extend([True] if isinstance(outcome, Done) else [])  # the last that the node has done
            await tracer.finish()
            await store.run(lambda tx: tx.note_task(task.id, "looks", by="ann", now=at))
            await tracer.finish()

        await attempt(Retry(error="again"), now)
        await attempt(Done(result=TaskResult(text="done")), now + 3_600_000_000)
        assert True in heard
        await store.close()
        return handed

    assert run(story()) == ["invoke_agent clerk", "invoke_agent clerk"]


def test_nodes_of_one_store_hand_on_each_attempt_once_and_what_a_lost_one_left_is_not_forgotten() -> None:
    async def story() -> list[tuple[int, str]]:
        store, clock = open_store(None), ManualClock()
        handed: list[tuple[int, str]] = []
        tracers: list[Tracer] = []
        now = clock.now()

        async def start(*, exclusive: bool = False) -> int:
            node = await store.run(
                lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=exclusive, now=now)
            )

            def emit(span: Span, trace: str) -> None:
                handed.append((node.id, str(span.attributes["ostinato.outcome"])))

            tracers.append(Tracer(store=store, clock=clock, emit=emit, told=Told(fleet="f"), node=lambda: node.id))
            store.subscribe(tracers[-1].hear)  # each hears of what all have done
            return node.id

        async def claim(node: int, at: int) -> Claim:
            (claimed,) = await store.run(lambda tx: tx.claim(ClaimRequest(node=node), now=at))
            return Claim(task=claimed.id, token=claimed.token)

        first, second = await start(), await start()
        await store.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.GOAL, title="work", agent="clerk"), now=now))
        held = await claim(first, now)
        await store.run(lambda tx: tx.finish(held, Retry(error="again"), now=now))
        await claim(second, now + 3_600_000_000)
        await start(exclusive=True)
        tracers[-1].hear(await store.read(lambda reads: reads.events(EventFilter())))  # it listens before it begins
        for each in tracers:
            await each.finish()
        await store.close()
        return handed

    assert sorted(run(story())) == [(1, "retry"), (3, "lost")]
