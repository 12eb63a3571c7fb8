"""The models that a fleet may use: names and tiers to models that can be asked.

Models are built when they are first wanted; a fleet with nothing to do loads neither an HTTP client nor a price list.
Knows nothing of agents; settings come in as values.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ostinato.domain.budget import Price
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.engine.port import Clock
from ostinato.models.chains import Chains
from ostinato.models.chat_model import ChatModel, Provider, Transport
from ostinato.models.connections import Connections
from ostinato.models.http_transport import HttpTransport
from ostinato.models.port import Model
from ostinato.models.prices import PriceBook, PriceQuery
from ostinato.models.providers import PYDANTIC_AI, SCRIPTED, named_dialect, provider_of
from ostinato.models.pydantic_ai.transport import PydanticAiTransport
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.provider import ScriptTransport
from ostinato.models.scripted.server import ScriptServer
from ostinato.models.settings import TIERS, ModelSettings

FREE = Price(input_usd_micros=0, cached_usd_micros=0, output_usd_micros=0)
"""What a script costs that names no price."""


class FleetModels:
    """All models of a fleet (see `Models`). Checks names at once; raises Invalid for tiers or a default that lead
    nowhere.

    `settings` by name; `tiers` from `cheap`, `standard`, `strong` to one name or several in the order in which they are
    asked, and one that is not set is the default; `default` is a model or a tier;
    `folder` is where paths of scripts begin; `environment` is where keys are looked up (None: the process's own).
    """

    def __init__(
        self,
        settings: Mapping[str, ModelSettings],
        *,
        clock: Clock,
        tiers: Mapping[str, str | Sequence[str]] | None = None,
        default: str | None = None,
        folder: Path = Path(),
        prices: PriceBook | None = None,
        environment: Mapping[str, str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = dict(settings)
        behind = {tier: (names,) if isinstance(names, str) else tuple(names) for tier, names in (tiers or {}).items()}
        fallbacks = {name: each.fallback for name, each in settings.items()}
        self._chains = Chains(fallbacks, tiers=behind, default=default)
        self._clock = clock
        self._folder = folder
        self._prices = prices or PriceBook()
        self._environment = environment
        self._jitter = jitter
        self._connections = Connections()
        self._models: dict[str, ChatModel] = {}
        self._stages: dict[Path, _Stage] = {}
        self._libraries: list[PydanticAiTransport] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The fleet's names, sorted, without tiers."""
        return tuple(sorted(self._settings))

    def name_of(self, wanted: str | None) -> str:
        """The name that a tier, a name or None stands for. Raises Invalid with the known names."""
        chain = self._chains.of(wanted)
        if chain:
            return chain[0]
        if wanted is None or wanted in TIERS:
            cure = "Name one in the fleet's file: `[fleet] model = ...`."
            raise Invalid("the fleet has no default model" if self._settings else "the fleet has no model", cure=cure)
        raise Invalid(unknown_name("model", wanted, {*self._settings, *TIERS}))

    def chain(self, wanted: str | None) -> tuple[str, ...]:
        """The models to ask, one where the one before cannot be had (see `Models`)."""
        return self._chains.of(wanted)

    def strongest(self) -> str | None:
        """The model behind the tier `strong`, where it is set."""
        return self._chains.strongest()

    def resolve(self, wanted: str | None) -> Model:
        """A tier, a name, or None for the default (see `Models`). Reads a script or looks up a price when a model is
        wanted for the first time; `prepare` does that ahead. Raises Invalid."""
        name = self.name_of(wanted)
        if name not in self._models:
            self._models[name] = self._build(name)
        return self._models[name]

    async def prepare(self) -> None:
        """Look all prices up without holding up the loop. Nothing is built and nothing connects; twice is fine."""
        queries = [query for name in self._settings if (query := self._query(name)) is not None]
        if queries:
            await asyncio.to_thread(self._prices.find, queries)

    async def close(self) -> None:
        """Close connections and script servers; twice is fine."""
        await self._connections.close()
        for library in self._libraries:
            await library.close()
        for stage in self._stages.values():
            await stage.close()

    def _build(self, name: str) -> ChatModel:
        settings = self._settings[name]
        if settings.provider == SCRIPTED:
            return self._build_scripted(name, settings)
        access = provider_of(name, settings)
        transport = self._transport(settings, access)
        return ChatModel(
            name,
            settings,
            transport,
            clock=self._clock,
            access=access,
            price=self._price(name),
            environment=self._environment,
            jitter=self._jitter,
        )

    def _transport(self, settings: ModelSettings, access: Provider) -> Transport:
        if settings.provider != PYDANTIC_AI:
            return HttpTransport(
                access.base_url, connections=self._connections, now=self._clock.now, timeouts=settings.timeouts
            )
        transport = PydanticAiTransport(
            settings.model, base_url=access.base_url, now=self._clock.now, timeouts=settings.timeouts
        )
        self._libraries.append(transport)
        return transport

    def _build_scripted(self, name: str, settings: ModelSettings) -> ChatModel:
        if not settings.script:
            raise Invalid("a scripted model needs a script", place=f"models.{name}.script", cure="Name its file.")
        path = self._folder / settings.script
        if path not in self._stages:
            self._stages[path] = _Stage(Player.of_file(path))
        stage = self._stages[path]
        transport: Transport
        if settings.in_process:
            transport = ScriptTransport(stage.player, clock=self._clock, timeouts=settings.timeouts)
        else:
            transport = HttpTransport(
                stage.url, connections=self._connections, now=self._clock.now, timeouts=settings.timeouts
            )
        price = settings.price or stage.player.script.price or FREE
        access = Provider(dialect=named_dialect(name, settings.dialect))
        return ChatModel(name, settings, transport, clock=self._clock, access=access, price=price, jitter=self._jitter)

    def _price(self, name: str) -> Price | None:
        """The price of one model. The list is asked for all models at once, as asking takes a moment."""
        override = self._settings[name].price
        if override is not None:
            return override
        queries = {each: query for each in self._settings if (query := self._query(each)) is not None}
        found = dict(zip(queries, self._prices.find(list(queries.values())), strict=True))
        return found.get(name)

    def _query(self, name: str) -> PriceQuery | None:
        settings = self._settings[name]
        if settings.provider == SCRIPTED or settings.price is not None:
            return None
        provider, model = settings.provider, settings.model
        if provider == PYDANTIC_AI:
            provider, _, model = model.partition(":")
        return PriceQuery(provider=provider, model=model, address=settings.base_url)


class _Stage:
    """A script that serves from inside this process once somebody asks."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self._server: ScriptServer | None = None
        self._starting = asyncio.Lock()

    async def url(self) -> str:
        """Where it listens; starts it if need be."""
        if self._server is None:
            async with self._starting:
                if self._server is None:
                    server = ScriptServer(self.player)
                    await server.start()
                    self._server = server
        return self._server.url

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
