"""Commands that make a fleet and run it: init, up, demo, restore, model serve.

Knows nothing of operations: these work on files and processes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ostinato import __version__
from ostinato.cli.client import STATE_FOLDER, Client
from ostinato.cli.options import Commands, Fleet
from ostinato.cli.screen import Screen
from ostinato.domain.errors import Conflict, Invalid, NotFound, unknown_name

DEMO = "examples.support_inbox.demo"


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; it may exist.")] = Path(),
    *,
    template: Annotated[str, typer.Option("--template", metavar="NAME", help="What to begin with.")] = "worker",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The fleet's name. [default: the folder's]")
    ] = None,
    timezone: Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Such as Europe/Zurich.")] = "UTC",
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
) -> None:
    """Make a fleet: one agent that runs offline with a scripted model, ready to be changed.

    Example: ostinato init my-fleet --yes
    """
    from ostinato.workspace.init import TEMPLATES, init_fleet

    screen = Screen()
    if template not in TEMPLATES:
        raise NotFound(unknown_name("template", template[:64], TEMPLATES), cure="Give one with --template.")
    if not yes and sys.stdin.isatty():
        screen.say(f"{template}: {TEMPLATES[template]}")
        if not typer.confirm(f"Make it in {os.path.realpath(folder)}?", default=True):
            raise typer.Exit(1)
    there = Path(os.path.realpath(folder))  # Path.resolve stumbles over links that lead in a circle
    files = init_fleet(folder, template=template, name=name, timezone=timezone)
    screen.say(f"A fleet is in {there}:")
    for each in files:
        screen.say(f"  {each}")
    steps = [] if there == Path.cwd() else [f"cd {folder}"]
    agents = sorted({each.split("/")[1] for each in files if each.startswith("agents/")})
    steps += ["ostinato up", f'ostinato sessions send {agents[0] if agents else "AGENT"} "Hello" --wait']
    screen.say("\nNext, the last one in a second terminal:")
    for step in steps:
        screen.say(f"  {step}", style="strong")


def up(
    *,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="Take only from this pool; may be given several times. [default: all of them]",
        ),
    ] = None,
    role: Annotated[list[str] | None, typer.Option("--role", metavar="ROLE", help="Only `node` so far.")] = None,
    fleet: Fleet = None,
) -> None:
    """Run the fleet in the foreground: a small supervisor, and under it the node, started again if it dies.

    Ctrl-C stops it in order: what runs is finished or parked.

    Example: ostinato up
    """
    from ostinato.workspace.fields import ID, ID_CURE
    from ostinato.workspace.fleet_file import read_fleet

    if role not in (None, [], ["node"]):
        raise Invalid("There is only the role 'node' so far", cure="Leave the option out.")
    for each in pool or ():
        if not ID.fullmatch(each):
            raise Invalid(f"{each[:64]!r} is not a pool's name", place="--pool", cure=ID_CURE)
    client = Client(fleet)
    settings = read_fleet(client.fleet)
    state = client.fleet / STATE_FOLDER
    state.mkdir(mode=0o700, exist_ok=True)
    if client.node_runs():
        raise Conflict("A node of this fleet is running already", place=str(client.fleet), cure="See: ostinato status")
    screen = Screen()
    screen.say(f"ostinato {__version__}: fleet {settings.name!r} in {client.fleet}")
    screen.say(f"log in {state / 'logs' / 'node.log'}; Ctrl-C stops it in order")
    screen.flush()
    python = [sys.executable, *(["-X", "dev"] if sys.flags.dev_mode else [])]
    # The supervisor is a fresh process, because this one has loaded what it must not carry for weeks.
    command = [
        *python,
        "-m",
        "ostinato.supervisor",
        str(state),
        *python,
        "-m",
        "ostinato.node",
        str(client.fleet),
        *(pool or ()),
    ]
    os.execv(sys.executable, command)


def demo(
    *,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="A real model; it costs money and asks first.")
    ] = None,
) -> None:
    """Run the demonstration: a support inbox at work in one minute, with a scripted model.

    It stands in the repository, beside its mails; `make demo` runs it as well.

    Example: ostinato demo
    """
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(DEMO)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise NotFound(
            "The examples are not installed with the package",
            cure="Clone the repository, and run `make demo` there; or make a fleet of your own: ostinato init",
        )
    os.execv(sys.executable, [sys.executable, "-m", DEMO, *(["--model", model] if model else [])])


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `ostinato backup` wrote.")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Move the present database aside first.")] = False,
    fleet: Fleet = None,
) -> None:
    """Put a backup in the place of the database; no node may run.

    Example: ostinato restore /srv/backups/monday.db --replace
    """
    from ostinato.app import make_state_folder, restore_here

    client = Client(fleet)
    if client.node_runs():
        raise Conflict("A node of this fleet is running", cure="Stop it first: Ctrl-C where `ostinato up` runs.")
    make_state_folder(client.state_dir)
    aside = restore_here(client.fleet, file, replace=replace)
    screen = Screen()
    screen.say(f"{file} is the database of {client.fleet} now")
    if aside is not None:
        screen.say(f"the one before is in {aside}")
    screen.say("See what was under way: ostinato status")


COMMANDS: Commands = {
    "init": init,
    "up": up,
    "demo": demo,
    "restore": restore,
}
