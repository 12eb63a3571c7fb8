"""`ostinato model ...`: scripted models.

Knows nothing of fleets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ostinato.cli.options import Commands
from ostinato.cli.screen import Screen
from ostinato.domain.errors import NotFound


def serve_model(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A YAML file with rules.")],
    *,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="One line of JSON for each request.")
    ] = None,
) -> None:
    """Serve a model script over HTTP in the OpenAI dialect, until Ctrl-C.

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


HELP = "Scripted models."

COMMANDS: Commands = {"serve": serve_model}
