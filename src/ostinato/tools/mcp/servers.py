"""All servers of a fleet: kept up, asked what they offer, and made into families of the toolbox.

What a server offers is pinned: as it was first seen it is a tool for whoever is granted it, described in a stranger's
words until a person has read them; once it says anything else of a tool, that tool is withheld until a person has
accepted it. Tools that were there before are there from the start, before their server is. Knows nothing of how a
server is spoken to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from ostinato.domain.errors import Conflict, Exhausted, OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.pin import Pin
from ostinato.domain.step import Effect
from ostinato.domain.values import Instant
from ostinato.store.port import Store, Tx
from ostinato.tools.mcp.offers import Offer, offer_of, offers_of
from ostinato.tools.mcp.port import Dial, Link, McpPlace, McpServer, Refused, ServerFacts, Unfit
from ostinato.tools.port import AnyTool, Arguments, OutsideTool, ToolContext, ToolResult, failed
from ostinato.tools.toolbox import Toolbox

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Pauses between attempts to start a server that fails; the last one for ever."""

STEADY_S = 60.0
"""A server that was up for so long begins again with the first pause."""

CANCEL_AGAIN_S = 1.0
"""A link that breaks in the moment in which it is ended may swallow that word: it is said again."""

LISTINGS_PAUSE_S = 1.0
"""At least so long between two listings, however often a server says that its tools have changed."""


class McpServers:
    """The servers of one fleet. `start` returns at once; `stop` when nothing of them is left."""

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        place: McpPlace,
        toolbox: Toolbox,
        store: Store,
        now: Callable[[], Instant],
        dialler: Callable[[], Awaitable[Dial]],
        say: Callable[[str, str], None] = lambda level, text: None,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        """`dialler` loads what begins links; `say` is told what people should know: level and words."""
        self._dialler = dialler
        self._kept = [
            _Kept(each, place=place, toolbox=toolbox, store=store, now=now, say=say, backoff_s=backoff_s)
            for each in servers
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Offers what was accepted before, and begins to start the servers."""
        for each in self._kept:
            await each.recall()
        self._tasks = [asyncio.create_task(each.run(self._dialler)) for each in self._kept]

    async def stop(self) -> None:
        """Ends them."""
        for each in self._kept:
            each.is_stopping = True
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
        self._tasks = []

    def hear(self, events: Sequence[Event]) -> None:
        """The store's listener: a person may have accepted something."""
        accepted = {str(each.data.get("pin", "")) for each in events if each.name is EventName.PIN_ACCEPTED}
        for each in self._kept:
            if any(name.startswith(f"{each.family}.") for name in accepted):
                each.look_again()

    def facts(self) -> tuple[ServerFacts, ...]:
        """How they stand."""
        return tuple(each.facts() for each in self._kept)

    async def wait_listed(self) -> None:
        """Returns once each server has listed its tools, or has failed to."""
        for each in self._kept:
            await each.settled.wait()


class _Kept:
    """One server that is kept up."""

    def __init__(
        self,
        server: McpServer,
        *,
        place: McpPlace,
        toolbox: Toolbox,
        store: Store,
        now: Callable[[], Instant],
        say: Callable[[str, str], None],
        backoff_s: Sequence[float],
    ) -> None:
        self.server = server
        self.family = f"mcp.{server.name}"
        self.settled = asyncio.Event()
        self.is_stopping = False
        self._place = place
        self._toolbox = toolbox
        self._store = store
        self._now = now
        self._say = say
        self._backoff_s = tuple(backoff_s)
        self._up = asyncio.Event()
        self._changed = asyncio.Event()
        self._link: Link | None = None
        self._problem = ""
        self._accepted: dict[str, Offer] = {}
        self._unread: frozenset[str] = frozenset()
        self._withheld: dict[str, str] = {}
        self._unfit: tuple[Unfit, ...] = ()

    async def recall(self) -> None:
        """Offers what was accepted before: prompts are the same from the first turn on."""
        pins = [each for each in await self._store.read(lambda reads: reads.pins()) if self._is_ours(each.name)]
        offers = {}
        for each in pins:
            if not each.is_withheld:
                try:
                    offers[each.name] = offer_of(each.text)
                except ValueError:  # an earlier version let it in
                    continue
        self._put(offers, {each.name: _why(each) for each in pins if each.is_withheld}, unread=_unread(pins))

    async def run(self, dialler: Callable[[], Awaitable[Dial]]) -> None:
        """Keeps it up until it is cancelled."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await self._serve(await dialler())
            except Exception as error:  # whatever a server does, or the library that speaks to it, the node goes on
                self._problem = self._problem or _words(error)
            self._link = None
            self._up.clear()
            self.settled.set()
            if self.is_stopping:
                return
            failures = 0 if loop.time() - began_s > STEADY_S else failures
            pause_s = self._backoff_s[min(failures, len(self._backoff_s) - 1)]
            self._say("error", f"the MCP server {self.server.name} is down, again in {pause_s:g} s: {self._problem}")
            failures += 1
            await asyncio.sleep(pause_s)

    async def _serve(self, dial: Dial) -> None:
        """One link from its beginning to its end."""
        self._changed.clear()
        async with dial(self.server, self._place, self._changed.set) as link:
            closed = asyncio.ensure_future(link.closed())
            closed.add_done_callback(lambda _: self._changed.set())
            try:
                await self._list_in_time(link)
                self._link, self._problem = link, ""
                self._up.set()
                self.settled.set()
                self._say("info", f"the MCP server {self.server.name} is up")
                while not closed.done():
                    await self._changed.wait()
                    self._changed.clear()
                    if not closed.done():
                        await self._list_in_time(link)
                        await asyncio.wait((closed,), timeout=LISTINGS_PAUSE_S)
                self._problem = closed.result()
            finally:
                closed.cancel()
                await asyncio.wait((closed,))

    async def _list_in_time(self, link: Link) -> None:
        async with asyncio.timeout(self.server.start_s):
            await self._list(link)

    async def _list(self, link: Link) -> None:
        """Asks what there is, notes it, and puts what is as it was accepted into the box."""
        offers, unfit = await asyncio.to_thread(offers_of, await link.tools())
        named, now = {f"{self.family}.{each.tool}": each for each in offers}, self._now()

        def see(tx: Tx) -> list[Pin]:
            return [tx.see_pin(name, digest=each.digest, text=each.text, now=now) for name, each in named.items()]

        pins = await self._store.run(see)
        if unfit != self._unfit:
            self._unfit = unfit
            for each in unfit[:8]:
                self._say("warning", f"the MCP server {self.server.name}: {each.tool!r} is not taken: {each.why}")
        withheld = {each.name: _why(each) for each in pins if each.is_withheld}
        gone = {name: "its server does not offer it any more" for name in self._accepted if name not in named}
        offered = {each.name: named[each.name] for each in pins if not each.is_withheld}
        self._put(offered, gone | withheld, unread=_unread(pins))

    def look_again(self) -> None:
        """A person has accepted something: lists once more."""
        self._changed.set()

    def _put(self, offers: Mapping[str, Offer], withheld: Mapping[str, str], *, unread: frozenset[str]) -> None:
        if (dict(offers), dict(withheld), unread) == (self._accepted, self._withheld, self._unread):
            return  # prompts that are made ready stay so
        self._accepted, self._withheld, self._unread = dict(offers), dict(withheld), unread
        self._toolbox.put_family(self.family, [self._tool(*each) for each in offers.items()], withheld=withheld)

    def _tool(self, name: str, offer: Offer) -> AnyTool:
        server = self.server
        return OutsideTool(
            name=name,
            description=f"[said by the server {server.name}] {offer.description}",
            unread=name in self._unread,
            parameters=offer.schema,
            effect=server.effects.get(offer.tool, Effect.IRREVERSIBLE),
            outward=bool(server.url or server.network),
            reaches=server.network,
            outside_text=True,
            private=True,
            act=partial(self._call, offer),
            timeout_s=server.start_s + server.timeout_s + 1.0,
        )

    async def _call(self, offer: Offer, context: ToolContext, arguments: Arguments) -> ToolResult:
        """One call. What the server refuses is a failure; whatever breaks off on the way is left to the caller, who
        knows whether that may be repeated."""
        server, name = self.server, f"{self.family}.{offer.tool}"
        try:
            async with asyncio.timeout(server.start_s):
                await self._up.wait()
        except TimeoutError:
            raise Exhausted(f"The MCP server {server.name} is down: {self._problem or 'it does not start'}") from None
        link, accepted = self._link, self._accepted.get(name)
        if link is None or accepted is None or accepted.digest != offer.digest:
            why = self._withheld.get(name, "it has changed, or its server is down")
            raise Conflict(f"Nothing was done: {name} cannot be used now: {why}")
        try:
            async with asyncio.timeout(server.timeout_s):
                answer = await link.call(offer.tool, arguments)
        except Refused as error:
            return failed(f"{name} was refused by its server: {error}")
        return failed(answer.text) if answer.is_error else ToolResult(text=answer.text)

    def facts(self) -> ServerFacts:
        """How it stands."""
        server = self.server
        up = "up" if self._link is not None else "down" if self._problem else "starting"
        return ServerFacts(
            name=server.name,
            where=server.url or " ".join(" ".join((server.command, *server.args)).split())[:200],
            state=up,
            problem=self._problem,
            tools=tuple(each.tool for each in self._accepted.values()),
            withheld=tuple(name.removeprefix(f"{self.family}.") for name in self._withheld),
            unfit=self._unfit,
        )

    def _is_ours(self, pin: str) -> bool:
        return pin.startswith(f"{self.family}.")


def _unread(pins: Sequence[Pin]) -> frozenset[str]:
    return frozenset(each.name for each in pins if each.is_unread)


def _why(pin: Pin) -> str:
    return f"it has changed since it was accepted; a person looks at it with: ostinato pins show {pin.name}"


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ExceptionGroup):
        return _words(error.exceptions[0])
    words = " ".join((str(error) if isinstance(error, OstinatoError) else f"{type(error).__name__}: {error}").split())
    return words[:300]
