"""Where the tools of the web belong: the client that they ask by, who searches for them, and where long answers lie.

Plain values; knows nothing of what the tools do.
"""

from __future__ import annotations

from pathlib import Path

from ostinato.domain.values import Value
from ostinato.tools.port import ToolContext, ToolResult
from ostinato.tools.sandbox.spill import SHOWN_BYTES, Kept, Spill
from ostinato.tools.web.client import WebClient
from ostinato.tools.web.search import Search

MORE_TOOL = "web.more"


class WebPlace(Value):
    """What a node lends to the tools of the web."""

    client: WebClient
    outputs: Path
    """Folder of all outputs; each agent has one in it."""
    search: Search | None = None

    def spill(self, context: ToolContext) -> Spill:
        """The agent's outputs."""
        return Spill(self.outputs / context.agent)


def told(place: WebPlace, context: ToolContext, *, head: str, text: str) -> ToolResult:
    """A result with at most `SHOWN_BYTES` of a text; the rest is kept, and read on by offset."""
    data = text.encode(errors="replace")
    if len(data) <= SHOWN_BYTES:
        return ToolResult(text=f"{head}\n\n{text}", data={"bytes": len(data)})
    name = context.key[:16]
    place.spill(context).keep(name, Kept(head=data, total_bytes=len(data)))
    shown = data[:SHOWN_BYTES].decode(errors="ignore")
    start = len(shown.encode())
    more = f"[bytes {start} to {len(data)} are not shown; {MORE_TOOL}(output: {name}, from: {start}) reads on]"
    return ToolResult(text=f"{head}\n\n{shown}\n{more}", data={"bytes": len(data), "output": name})
