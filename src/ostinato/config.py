"""The fleet's file, handed on: what each room is told, in the room's own words.

Knows nothing of what the rooms do with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.engine.lease import LeaseTimes
from ostinato.engine.limits import EngineLimits, limits_for, measure_machine
from ostinato.models.providers import SCRIPTED, provider_of
from ostinato.models.settings import ModelSettings, Timeouts
from ostinato.tools.mcp.port import McpServer
from ostinato.workspace.fleet_file import FLEET_FILE, FleetSettings, ModelEntry


def mcp_servers(fleet: FleetSettings) -> tuple[McpServer, ...]:
    """Every server of the fleet, as the room of servers wants it."""
    return tuple(McpServer(**msgspec.structs.asdict(each)) for each in fleet.mcp.values())


STATE_FOLDER = ".ostinato"
"""Database, socket, lock and logs of a fleet, in its own folder."""


def model_settings(fleet: FleetSettings) -> dict[str, ModelSettings]:
    """Every model of the fleet, as the room of models wants it."""
    return {name: _model(each) for name, each in fleet.models.items()}


def _model(entry: ModelEntry) -> ModelSettings:
    facts = msgspec.structs.asdict(entry)
    return ModelSettings(**{**facts, "timeouts": Timeouts(**entry.timeouts)})


def key_names(fleet: FleetSettings) -> dict[str, str]:
    """Model -> the environment variable that its key is read from; only models that need one."""
    found: dict[str, str] = {}
    for name, settings in model_settings(fleet).items():
        if settings.provider == SCRIPTED:
            continue
        try:
            key = provider_of(name, settings).api_key_env
        except OstinatoError:  # said by the models' own room, with its place
            continue
        if key:
            found[name] = key
    return found


def engine_limits(fleet: FleetSettings, agents: Mapping[str, int]) -> EngineLimits:
    """What a node runs at once: the machine's measure, the fleet's word, the agents' own (agent -> tasks)."""
    limits = limits_for(measure_machine())
    own = {name: most for name, most in agents.items() if most != limits.agent_default}
    tasks = fleet.tasks_max or limits.tasks
    return msgspec.structs.replace(
        limits, tasks=tasks, agents=own, queues=fleet.queue_limits, aging_s=fleet.aging_s, stalled_s=fleet.stalled_s
    )


def shared_lease(fleet: FleetSettings) -> LeaseTimes | None:
    """The lease of a node whose store others share; None: the store is the fleet's own."""
    if fleet.store.url is None:
        return None
    lease_s = fleet.store.lease_s
    return LeaseTimes(lease_s=lease_s, renew_s=lease_s / 3, tick_s=min(2.0, lease_s / 6))


def refuse_public_port(fleet: FleetSettings) -> None:
    """A public listener is not offered yet; saying so is better than opening a door without a lock."""
    if fleet.port is not None:
        raise Invalid(
            "A public port is not offered yet",
            place=f"{FLEET_FILE}, key 'server.port'",
            cure="Remove it: commands and the local API go over the fleet's own socket.",
        )
