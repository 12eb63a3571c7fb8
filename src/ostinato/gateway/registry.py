"""All operations and streams there are, by name: HTTP, the OpenAPI document and the reference are made from this.

Knows nothing of what any of them does.
"""

from __future__ import annotations

from types import ModuleType

from ostinato.domain.errors import NotFound, unknown_name
from ostinato.gateway import (
    agents_api,
    approvals_api,
    audit_api,
    bindings_api,
    breakers_api,
    cost_api,
    dead_api,
    events_api,
    fleet_api,
    metrics_api,
    people_api,
    pins_api,
    plans_api,
    processes_api,
    review_api,
    schedules_api,
    secrets_api,
    sessions_api,
    status_api,
    stop_api,
    talk_api,
    task_story_api,
    tasks_api,
    tools_api,
)
from ostinato.gateway.operation import AnyRoute, Operation, Stream

ROOMS: tuple[ModuleType, ...] = (
    status_api,
    fleet_api,
    stop_api,
    agents_api,
    tasks_api,
    task_story_api,
    plans_api,
    sessions_api,
    talk_api,
    approvals_api,
    bindings_api,
    tools_api,
    schedules_api,
    dead_api,
    processes_api,
    cost_api,
    audit_api,
    metrics_api,
    review_api,
    events_api,
    people_api,
    breakers_api,
    pins_api,
    secrets_api,
)


def routes() -> tuple[AnyRoute, ...]:
    """Every operation and stream, in the order of the rooms."""
    return tuple(each for room in ROOMS for each in vars(room).values() if isinstance(each, Operation | Stream))


def route_named(name: str) -> AnyRoute:
    """The operation or stream of a name such as `tasks.add`. Raises NotFound."""
    known = {each.name: each for each in routes()}
    if name not in known:
        raise NotFound(unknown_name("operation", name, known))
    return known[name]
