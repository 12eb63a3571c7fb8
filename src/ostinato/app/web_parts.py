"""The web as a fleet's file sets it: one guard for tools and commands, the client, who searches, the ways out of rooms.

Knows nothing of nodes.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from ostinato.domain.errors import OstinatoError
from ostinato.tools.sandbox.spill import OUTPUTS_FOLDER
from ostinato.tools.web.client import WebClient
from ostinato.tools.web.credentials import filled
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.place import WebPlace
from ostinato.tools.web.proxy import Ways, ways_folder
from ostinato.tools.web.search import BRAVE_URL, BraveSearch, Search, SearxSearch
from ostinato.tools.web.target import Target
from ostinato.tools.web.way import Way
from ostinato.workspace.registry import Workspaces
from ostinato.workspace.web_table import WebEntry


def guard_of(web: WebEntry) -> Guard:
    """Who says where connections may go."""
    return Guard(private=tuple(ipaddress.ip_network(each) for each in web.private))


def web_place(web: WebEntry, state_dir: Path) -> WebPlace:
    """What the tools of the web are lent."""
    client = WebClient(guard_of(web))
    search: Search | None = None
    if web.search == "searxng":
        search = SearxSearch(client, web.search_url)
    elif web.search == "brave":
        search = BraveSearch(client, web.search_key_env, url=web.search_url or BRAVE_URL)
    return WebPlace(client=client, outputs=state_dir / OUTPUTS_FOLDER, search=search)


def make_ways(web: WebEntry, *, fleet: Path, state_dir: Path, workspaces: Workspaces) -> Ways:
    """The ways of commands to the network. Credentials are those that a process began with and the agent's files still
    declare."""

    def credentials(way: Way, target: Target) -> Mapping[str, str]:
        try:
            declared = workspaces.current(way.agent).tools.credentials
        except OstinatoError:  # it is gone or broken, and gets nothing
            return {}
        return filled(target, {host: text for host, text in way.credentials.items() if declared.get(host) == text})

    owner = fleet.stat().st_uid if os.geteuid() == 0 else None
    return Ways(ways_folder(state_dir), guard=guard_of(web), credentials=credentials, owner=owner)
