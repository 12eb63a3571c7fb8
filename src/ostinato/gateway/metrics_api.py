"""The operation that tells all figures, in the text form of Prometheus.

Knows nothing of HTTP: `/metrics` shows the same text.
"""

from __future__ import annotations

from ostinato import __version__
from ostinato.gateway.context import Context
from ostinato.gateway.metrics import exposition, store_families
from ostinato.gateway.operation import Nothing, View, operation


class MetricsView(View):
    """All figures as one text. Counters begin anew with each node; without a node there are only gauges."""

    text: str


@operation("fleet.metrics", "GET /api/v1/metrics")
async def metrics(context: Context, request: Nothing) -> MetricsView:
    """Figures of the fleet and of the node, in Prometheus' text format."""
    return MetricsView(text=await metrics_text(context))


async def metrics_text(context: Context) -> str:
    """The text of a scrape."""
    meter, now = context.meter, context.now
    agents = meter is not None and meter.agents
    stalled_s = context.definitions.stalled_s()
    families = await context.store.read(
        lambda reads: list(store_families(reads, now=now, agents=agents, stalled_s=stalled_s))
    )
    return exposition([*families, *(meter.families() if meter else ())], version=__version__)
