"""A bug for each surface that runs in this process, for the proof that the judge notices it.

Each takes the place of the real thing, and does what careless programs do.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ostinato.cli.application import application
from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.models.scripted.reading import parse_script, read_script
from ostinato.models.scripted.script import Script
from ostinato.workspace.agent import AgentDefinition
from tests.security.hostile.front_matter_siege import Load, loader

NODE = (sys.executable, str(Path(__file__).with_name("buggy_node.py")))
"""The command of a node with bugs of its own."""


def lets_a_key_error_through() -> Load:
    """Looks a key up instead of asking whether it is there."""
    load = loader()

    def careless(fleet: Path) -> AgentDefinition:
        try:
            return load(fleet)
        except OstinatoError as error:
            raise KeyError(error.message) from error

    return careless


def forgets_the_place() -> Load:
    """Says what, but neither where nor what to do."""
    load = loader()

    def careless(fleet: Path) -> AgentDefinition:
        try:
            return load(fleet)
        except OstinatoError as error:
            raise Invalid("It is wrong") from error

    return careless


def keeps_the_last_good_one() -> Load:
    """Takes a broken file for no change."""
    load, good = loader(), dict[Path, AgentDefinition]()

    def careless(fleet: Path) -> AgentDefinition:
        try:
            good[fleet] = load(fleet)
        except OstinatoError:
            if fleet not in good:
                raise
        return good[fleet]

    return careless


def reads_what_it_can(path: Path) -> Script:
    """Ignores what it does not understand."""
    try:
        return read_script(path)
    except OstinatoError:
        return parse_script("default: {text: x}")


def raises_what_it_meets(path: Path) -> Script:
    """Lets an error of the machinery through."""
    try:
        return read_script(path)
    except OstinatoError as error:
        raise ValueError(str(error)) from error


def prints_a_traceback(arguments: Sequence[str]) -> int:
    """A command line without anybody who catches what its commands raise."""
    try:
        application(arguments)(args=list(arguments), prog_name="ostinato", standalone_mode=False)
    except Exception:  # whatever it is: that is the bug
        traceback.print_exc(file=sys.stderr)
        return 1
    return 0


def does_nothing(arguments: Sequence[str]) -> int:
    """Says that it is done, whatever it was asked."""
    return 0
