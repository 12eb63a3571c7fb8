"""The way of one process to the network, as its room and its proxy both know it.

Plain values: knows nothing of sockets that are open, or of what is behind them.
"""

from __future__ import annotations

from ostinato.domain.values import Value

WAY_FOLDER = "/run/ostinato"
"""Where a room finds the folder of its way."""

SOCKET_NAME = "way"
"""Of the socket in that folder."""

PORT = 3128
"""Of the forwarder, inside a room; the usual one of proxies."""

VARIABLES = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), f"http://127.0.0.1:{PORT}"
)
"""What the programs of a command are told; most look at one spelling alone."""


class Way(Value):
    """What one process may reach."""

    token: str
    agent: str
    network: tuple[str, ...]
    """Hosts as TOOLS.md declares them."""
    credentials: dict[str, dict[str, str]] = {}
    """Host -> header -> text with the names of secrets in it, as TOOLS.md had it when the process began."""
    lasting: bool = False
    """Its process may live through a restart of the node."""
