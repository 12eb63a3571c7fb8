"""All cases of one seed: every family on every surface.

Knows nothing of sending them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.security.hostile.case import Case, Misspelt, Surface
from tests.security.hostile.command_form import CommandForm
from tests.security.hostile.families import FAMILIES
from tests.security.hostile.form import Form
from tests.security.hostile.front_matter_form import FrontMatterForm
from tests.security.hostile.http_form import HttpForm
from tests.security.hostile.inbox_form import InboxForm
from tests.security.hostile.script_form import ScriptForm

EACH = 5
"""Inputs of one family on one surface."""

FORMS: dict[Surface, Callable[[Random], Form]] = {
    Surface.FRONT_MATTER: FrontMatterForm,
    Surface.SCRIPT: ScriptForm,
    Surface.INBOX: InboxForm,
    Surface.COMMAND_LINE: CommandForm,
    Surface.API: HttpForm,
}


def make_cases(seed: int, *, each: int = EACH) -> list[Case]:
    """The cases of a seed, surface by surface, family by family; the same for the same seed."""
    return [
        make_case(seed, surface, family, number) for surface in FORMS for family in FAMILIES for number in range(each)
    ]


def make_case(seed: int, surface: Surface, family: str, number: int) -> Case:
    """One case."""
    random = Random(f"{seed} {surface.value} {family} {number}")
    made = FAMILIES[family](FORMS[surface](random), random)
    hints = isinstance(made, Misspelt)
    sent = made.sent if isinstance(made, Misspelt) else made
    return Case(family=family, surface=surface, number=number, sent=sent, hints=hints)
