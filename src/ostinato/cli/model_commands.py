"""`ostinato model ...`: scripted models, served and recorded.

Knows nothing of what happens in a fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet
from ostinato.cli.screen import Screen
from ostinato.domain.errors import Invalid, NotFound, unknown_name

if TYPE_CHECKING:
    from ostinato.models.scripted.recorder import Source


def serve_model(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A YAML file with rules.")],
    *,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="One line of JSON for each request.")
    ] = None,
) -> None:
    """Serve a model script over HTTP in the OpenAI and the Anthropic dialect, until Ctrl-C.

    Example: ostinato model serve models/first.yaml --port 8123
    """
    from ostinato.models.scripted.server import serve

    screen = Screen()

    def ready(url: str) -> None:
        screen.say(url)
        screen.flush()

    if not script.is_file():
        raise NotFound(f"There is no file {script}", cure="Name a YAML file with rules.")
    serve(script, host=host, port=port, ready=ready, log=log)


def record_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model or tier of the fleet that is really asked.")],
    *,
    to: Annotated[Path, typer.Option("--to", metavar="SCRIPT", help="The script to write; it must not exist yet.")],
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="NAME", help="A variable whose value must not be recorded."),
    ] = None,
    fleet: Fleet = None,
) -> None:
    """Record exchanges with a real model as a script, until Ctrl-C: a server in between that any client can ask.

    Give a model of the fleet, or any other client, the address that this prints as its `base_url`. The keys of the
    fleet's models, whatever looks like a key, and the values of `--secret` are taken out of what is written.

    Example: ostinato model record cheap --to models/recorded.yaml --port 8124
    """
    from ostinato.models.scripted.recorder import record

    screen = Screen()

    def say(words: str) -> None:
        screen.say(words)
        screen.flush()

    source = _source(Client(fleet).fleet, model, secrets=secret or ())
    record(source, to, host=host, port=port, ready=say, told=say)


def _source(fleet: Path, model: str, *, secrets: Sequence[str]) -> Source:
    """The real server of a model, and what must not be recorded. Raises Invalid."""
    from ostinato.config import key_names, model_settings
    from ostinato.models.chains import Chains
    from ostinato.models.keys import KeyMissing, read_key, read_secret
    from ostinato.models.providers import SCRIPTED, provider_of
    from ostinato.models.scripted.recorder import Source
    from ostinato.workspace.fleet_file import read_fleet

    found = read_fleet(fleet)
    settings = model_settings(found)
    fallbacks = {name: each.fallback for name, each in settings.items()}
    chain = Chains(fallbacks, tiers=found.tiers, default=found.model).of(model)
    if not chain:
        raise Invalid(unknown_name("model", model, {*settings, *found.tiers}))
    name = chain[0]
    if settings[name].provider == SCRIPTED:
        raise Invalid(f"{name!r} is a script already", cure="Name a model that is really asked.")
    provider = provider_of(name, settings[name])
    hidden = []
    for each in dict.fromkeys((*key_names(found).values(), *secrets)):
        try:
            hidden.append(read_secret(each))
        except KeyMissing as missing:
            if each in (provider.api_key_env, *secrets):
                raise Invalid(f"Nothing can be recorded: {missing}", cure=f"Set {each} in this environment.") from None
    return Source(provider=provider, key=read_key(provider.api_key_env), secrets=tuple(hidden))


HELP = "Scripted models, served and recorded."

COMMANDS: Commands = {"serve": serve_model, "record": record_model}
