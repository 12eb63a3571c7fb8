"""Spans and figures to a collector, by OpenTelemetry's own library over OTLP/HTTP; the extra `otel`.

The library batches in threads of its own and drops what a collector does not take in time: no turn ever waits. Headers,
such as keys of a service, come from its own environment variables (OTEL_EXPORTER_OTLP_HEADERS). Knows nothing of
journals.
"""

from __future__ import annotations

import random
import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

from ostinato.domain.values import digest_of
from ostinato.gateway.spans import Span

EXPORT_TIMEOUT_S = 10
CLOSE_S = 3.0
"""How long the last spans and figures may take when a node stops."""

METRICS_EVERY_MS = 60_000

DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)
"""Bounds of histograms, as the conventions advise."""

_KINDS = {"internal": trace.SpanKind.INTERNAL, "client": trace.SpanKind.CLIENT}


class _Ids(IdGenerator):
    """Traces are named by us, so that attempts of one task, and work that it gave away, are one trace."""

    def __init__(self) -> None:
        self.trace = 0

    def generate_span_id(self) -> int:
        """Random, never 0."""
        return random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        """The trace of the span that is about to begin."""
        return self.trace


class OtelExporter:
    """Sends spans, and the figures that the conventions want of model calls. `endpoint` is the collector's base: with
    `http://localhost:4318` traces go to `/v1/traces` there."""

    def __init__(self, endpoint: str, *, fleet: str, version: str, close_s: float = CLOSE_S) -> None:
        self._close_s = close_s
        base = endpoint.rstrip("/")
        resource = Resource.create(
            {"service.name": "ostinato", "service.version": version, "service.instance.id": fleet}
        )
        self._ids = _Ids()
        self._traces = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        self._traces.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._traces.get_tracer("ostinato", version)
        figures = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=EXPORT_TIMEOUT_S)
        self._exporters = (exporter, figures)
        reader = PeriodicExportingMetricReader(figures, export_interval_millis=METRICS_EVERY_MS)
        names = {"gen_ai.client.operation.duration": DURATIONS, "gen_ai.client.token.usage": TOKENS}
        views = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
            for name, bounds in names.items()
        ]
        self._meters = MeterProvider(resource=resource, metric_readers=[reader], views=views, shutdown_on_exit=False)
        meter = self._meters.get_meter("ostinato", version)
        self._durations = meter.create_histogram("gen_ai.client.operation.duration", unit="s")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", unit="{token}")

    def emit(self, span: Span, trace_name: str) -> None:
        """A span with all below it. Called by one thread at a time."""
        self._ids.trace = int(digest_of(trace_name.encode())[:32], 16) or 1
        self._emit(span, None)

    def _emit(self, span: Span, parent: trace.Span | None) -> None:
        context = trace.set_span_in_context(parent) if parent is not None else None
        made = self._tracer.start_span(
            span.name,
            context=context,
            kind=_KINDS[span.kind],
            attributes=dict(span.attributes),
            start_time=span.began_at * 1_000,
        )
        if span.error:
            made.set_status(trace.StatusCode.ERROR, span.error[:200])
        for child in span.children:
            self._emit(child, made)
        made.end(end_time=max(span.began_at, span.ended_at) * 1_000)
        if span.attributes.get("gen_ai.operation.name") == "chat":
            self._count(span)

    def _count(self, span: Span) -> None:
        wanted = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "error.type")
        labels = {name: span.attributes[name] for name in wanted if name in span.attributes}
        self._durations.record((span.ended_at - span.began_at) / 1_000_000, labels)
        for kind in ("input", "output"):
            count = span.attributes.get(f"gen_ai.usage.{kind}_tokens")
            if isinstance(count, int):
                self._tokens.record(count, {**labels, "gen_ai.token.type": kind})

    def close(self) -> None:
        """Sends what is left, for a few seconds at most. Blocks."""
        closing = threading.Thread(target=self._end, daemon=True)
        closing.start()
        closing.join(self._close_s)
        if closing.is_alive():
            for each in self._exporters:
                each.shutdown()  # ends what is still being tried: the library's own limits are not kept while it tries
            closing.join(self._close_s)

    def _end(self) -> None:
        """Each sends what is left before it ends."""
        self._traces.shutdown()
        self._meters.shutdown()
