"""Task graphs of others, performed here: tasks that do nothing, each behind all that it waits for.

`python -m ostinato.testing.graphs FILE` reads a graph in the WfFormat of WfCommons, performs it on a store, and checks
order and counts by what the tasks themselves have seen.
"""

from __future__ import annotations

from ostinato.testing.graphs.graph import GraphTask, TaskGraph
from ostinato.testing.graphs.trial import Trial, perform_graph
from ostinato.testing.graphs.wfformat import read_wfformat

__all__ = ["GraphTask", "TaskGraph", "Trial", "perform_graph", "read_wfformat"]
