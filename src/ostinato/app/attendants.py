"""Whoever looks after something on a node, again and again: calendar, regulator, inbox, scribe, warden, clerk, tracer.

Everything heavy is loaded inside. Knows nothing of turns or of the engine, but for the number of its node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ostinato import __version__
from ostinato.agents.colleagues import Colleagues
from ostinato.app.parts import Ground
from ostinato.config import STATE_FOLDER
from ostinato.domain.errors import Invalid
from ostinato.engine.port import Poll
from ostinato.tools.router import Router
from ostinato.workspace.fleet_file import FLEET_FILE

if TYPE_CHECKING:
    from ostinato.agents.inbox import InboxTaker
    from ostinato.agents.vacancies import Vacancies
    from ostinato.engine.notice import Notify
    from ostinato.engine.service import Hears, Service


class Attendants:
    """The services of one node, beside its engine. What they leave open is closed with `ends`."""

    def __init__(self, ground: Ground, *, router: Router, notify: Notify, ends: AsyncExitStack) -> None:
        self._ground = ground
        self._router = router
        self._notify = notify
        self._ends = ends
        self._warding: Service | None = None

    def services(self, inbox: InboxTaker, colleagues: Colleagues) -> Sequence[Service]:
        """All of them, not started yet; the tracer has a beginning of its own."""
        from ostinato.agents.regulator import Regulator
        from ostinato.agents.scribe import Scribe

        ground = self._ground
        scribe = Scribe(store=ground.store, workspaces=ground.workspaces, clock=ground.clock)
        regulator = Regulator(store=ground.store, clock=ground.clock)
        clerks = (self._clerk(colleagues),) if ground.settings.tasks_file else ()
        return (
            self._calendar(),
            self._service("regulator", regulator.poll),
            self._service("inbox", inbox.poll),
            self._service("scribe", scribe.poll, hears=Scribe.concerns),
            self._warden(),
            *clerks,
        )

    def look_after(self) -> None:
        """A process may have begun."""
        if self._warding is not None:
            self._warding.wake()

    def begin_tracing(self, node: Callable[[], int | None]) -> None:
        """Sends traces where the fleet's file names a collector; the last ones once the engine has stopped. Raises
        Invalid where the library for that is missing."""
        settings = self._ground.settings
        if not settings.otel_endpoint:
            return
        from ostinato.gateway.spans import Told
        from ostinato.gateway.tracer import Tracer

        try:
            from ostinato.gateway.otel import OtelExporter
        except ModuleNotFoundError as error:
            raise Invalid(
                "OpenTelemetry is not installed",
                place=f"{FLEET_FILE}, key 'otel.endpoint'",
                cure="Install it with: pip install 'ostinato[otel]'",
            ) from error
        exporter = OtelExporter(settings.otel_endpoint, fleet=settings.name, version=__version__)
        told = Told(fleet=settings.name, contents=settings.otel_contents)
        tracer = Tracer(store=self._ground.store, clock=self._ground.clock, emit=exporter.emit, told=told, node=node)
        service = self._service("tracer", tracer.poll, hears=tracer.hear)
        self._ends.push_async_callback(asyncio.to_thread, exporter.close)
        self._ends.push_async_callback(tracer.finish)
        self._ends.push_async_callback(service.stop)
        service.start()

    def _service(self, name: str, poll: Poll, *, hears: Hears | None = None) -> Service:
        from ostinato.engine.service import Ground as Standing
        from ostinato.engine.service import Service

        ground = Standing(store=self._ground.store, clock=self._ground.clock, notify=self._notify)
        return Service(name, poll, ground, hears=hears)

    def _calendar(self) -> Service:
        """Heartbeats and schedules, and work that has nobody."""
        from ostinato.agents.calendar import Calendar

        ground = self._ground
        calendar = Calendar(
            store=ground.store, workspaces=ground.workspaces, clock=ground.clock, vacancies=self._vacancies()
        )
        service = self._service("calendar", calendar.poll, hears=calendar.hear)
        self._ends.callback(calendar.listen(service.wake))
        return service

    def _vacancies(self) -> Vacancies:
        from ostinato.agents.colleagues import colleague_of, delegates_of
        from ostinato.agents.vacancies import Vacancies

        workspaces = self._ground.workspaces
        return Vacancies(
            store=self._ground.store,
            colleagues=lambda: [colleague_of(b) for b in workspaces.briefs(look=False) if not b.is_broken],
            router=self._router,
            delegates=lambda agent, among: delegates_of(workspaces, agent, among),
        )

    def _warden(self) -> Service:
        """Whoever looks after processes. They go on when it stops."""
        from ostinato.tools.processes.warden import Warden

        ground = self._ground
        warden = Warden((ground.fleet / STATE_FOLDER).resolve(), store=ground.store, clock=ground.clock)
        self._ends.push_async_callback(warden.close)
        service = self._warding = self._service("warden", warden.poll, hears=warden.concerns)
        warden.wake = service.wake
        return service

    def _clerk(self, colleagues: Colleagues) -> Service:
        """Whoever keeps TASKS.md."""
        from ostinato.agents.clerk import Clerk, ClerkPlace
        from ostinato.agents.intake import Intake

        ground, settings = self._ground, self._ground.settings
        clerk = Clerk(
            ClerkPlace(fleet=ground.fleet, name=settings.name, timezone=settings.timezone),
            store=ground.store,
            intake=Intake(colleagues=colleagues, settings=settings.inbox, router=self._router),
            colleagues=colleagues,
            clock=ground.clock,
        )
        return self._service("clerk", clerk.poll, hears=clerk.hear)
