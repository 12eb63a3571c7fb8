"""One process of a fleet's node: the composition that a real one has, in a loop of its own, over a store on a disk.

Knows nothing of what happens to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from ostinato.agents.fires import Fires
from ostinato.app import FleetApp, make_state_folder
from ostinato.config import STATE_FOLDER
from ostinato.domain.event import Event
from ostinato.domain.person import NewToken, Role, token_digest
from ostinato.domain.values import Value
from ostinato.engine.node import EngineNode
from ostinato.engine.notice import Notice
from ostinato.engine.port import Handler
from ostinato.engine.service import Service
from ostinato.gateway.log_lines import LogLines
from ostinato.store.port import Store, Tx
from ostinato.testing.simulation.disk import LoopStore, Trouble, open_loop_store
from ostinato.testing.simulation.loop import Loop, LoopClock, Time
from ostinato.testing.simulation.outside import Hands, Outside, What, deeds
from ostinato.testing.simulation.voice import Voice
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox
from ostinato.workspace.registry import Workspaces

COMMIT_S = (0.0002, 0.004)
"""How long a commit takes, and a piece of work on a thread."""

SERVICES = frozenset({"calendar", "scribe", "warden", "clerk"})
"""Of the fleet's own; inboxes are looked at by times of the kernel's."""

ALWAYS_SETTLED_NS = -(10**19)
"""Files are replaced, never written to, so that each version can be told from the last at once."""


ADMIN = NewToken(person="operator", role=Role.ADMIN, digest=token_digest("ost_simulated"))
"""Who is let in first."""


class World(Value):
    """What a process shares with everybody else."""

    folder: Path
    seed: int
    time: Time
    outside: Outside
    chance: Random
    calm: Callable[[], bool]
    """True once nothing goes wrong any more."""
    trouble: Trouble
    after_deed: Callable[[], None]


class Process:
    """A node from its start to its death."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.loop = Loop(world.time, delay_s=self._delay_s)
        self.clock = LoopClock(world.time, self.loop)
        make_state_folder(world.folder / STATE_FOLDER)
        self.store: LoopStore = open_loop_store(world.folder / STATE_FOLDER, world.trouble)
        self.store.live(self.loop, delay_s=self._delay_s, lease_now=lambda: world.time.elapsed_us)
        self.stage = _Stage(self, world)
        self.ready = self.stopping = False
        self.surprises: list[str] = []
        self.loop.set_exception_handler(self._surprised)
        self._work = self.loop.create_task(self._live())

    def _delay_s(self) -> float:
        return self._world.chance.uniform(*COMMIT_S)

    async def _live(self) -> None:
        await self.stage.start()
        self.ready = True
        self._world.outside.say(What.STARTED)
        await self.stage.wait_stopped()

    def stop(self, then: Callable[[], object]) -> None:
        """Stops the node in order, from outside of its loop; `then` is called when it has ended."""
        self.ready, self.stopping = False, True
        work = self.loop.create_task(self._stop())
        work.add_done_callback(lambda _: then())

    async def _stop(self) -> None:
        await self.stage.stop()

    @property
    def ended(self) -> str | None:
        """Why it has ended by itself; None: it lives."""
        if not self._work.done():
            return None
        error = self._work.exception()
        return "in order" if error is None else f"{type(error).__name__}: {error}"

    def die(self) -> None:
        """Nothing of it is left but what is on the disk."""
        self.ready = False
        self.store.die()
        self.stage.lock.release()

    def _surprised(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.surprises.append(f"{context.get('message')}: {context.get('exception')!r}")


class _Stage(FleetApp):
    """The fleet's own composition, with the world outside in place of the world."""

    def __init__(self, process: Process, world: World) -> None:
        super().__init__(world.folder, clock=process.clock, log=_Log(world.outside))
        self.workspaces = Workspaces(world.folder, defaults=self.settings.defaults, settle_ns=ALWAYS_SETTLED_NS)
        self.chance = world.chance.random
        self._process = process
        self._world = world

    def _open_store(self) -> Store:
        return self._process.store

    async def _let_somebody_in(self, store: Store) -> None:
        """A person of this world: whoever is at the keyboard changes nothing of a run, and their keyring is theirs."""

        def add(tx: Tx) -> None:
            if not tx.tokens():
                tx.add_token(ADMIN, actor=ADMIN.person, now=self.clock.now())

        await store.run(add)

    def _toolbox(self) -> Toolbox:
        world = self._world
        hands = Hands(world.outside, clock=self.clock, chance=world.chance, after=world.after_deed)
        return Toolbox((*standard_toolbox(), *deeds(hands)))

    def _models(self) -> Any:
        world = self._world
        return Voice(world.seed, outside=world.outside, clock=self.clock, chance=world.chance, calm=world.calm)

    def _engine(self, store: Store, handlers: Sequence[Handler], *, fires: Fires) -> EngineNode:
        node = super()._engine(store, handlers, fires=fires)
        node.settings = msgspec.structs.replace(node.settings, lease=None)
        return node

    def _server(self, store: Store, live: Any, *, fires: Fires) -> Any:
        return _NoServer()

    def _services(self, *stood_on: Any) -> Sequence[Service]:
        return [each for each in super()._services(*stood_on) if each.name in SERVICES]


class _Log(LogLines):
    """Notes what the engine has to say; events are read from the store."""

    def __init__(self, outside: Outside) -> None:
        super().__init__()
        self._outside = outside

    def events(self, events: Sequence[Event]) -> None:
        pass

    def notice(self, notice: Notice) -> None:
        text = getattr(notice, "error", "") or getattr(notice, "reason", "") or getattr(notice, "result", "")
        where = getattr(notice, "traceback", "").strip().rpartition("\n")[0][-600:]
        self._outside.say(What.NOTICE, type(notice).__name__, text=str(text), key=where)

    def surprise(self, operation: str, error: BaseException) -> None:
        self._outside.say(What.NOTICE, "surprise", text=f"{operation}: {error!r}")


class _NoServer:
    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass
