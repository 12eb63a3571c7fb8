"""Operations on secrets: which are named, by whom, whether they are there. Never a value, nor a part of one.

Knows nothing of HTTP or of the command line.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.secret import KNOWN, is_taken_out, is_weak
from ostinato.engine.vault import look_up
from ostinato.gateway.context import Context
from ostinato.gateway.operation import Ask, Nothing, View, operation

NAMES_MAX = 5_000
"""Secrets that are listed; a fleet has a few."""


class WhichSecret(Ask):
    """A secret by its name in the environment."""

    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class SecretView(View):
    """A secret without its value. `source`: `environment`, `file`, or empty where it is missing; `problem` says why it
    cannot be read. A `weak` one is too short, or too plain a word, to be taken out of everything."""

    name: str
    users: list[str]
    source: str
    is_present: bool
    is_weak: bool
    problem: str


class SecretList(View):
    """All secrets that the fleet's files name. `seen_by`: whose environment was looked at, `node` or `command`."""

    secrets: list[SecretView]
    seen_by: str


class SecretTest(View):
    """What came of reading one. `is_taken_out`: each of its spellings is starred out of text."""

    secret: SecretView
    is_taken_out: bool
    seen_by: str


@operation("secrets.list", "GET /api/v1/secrets")
async def list_secrets(context: Context, request: Nothing) -> SecretList:
    """Which secrets are named, by whom, where each comes from, and which are missing. Never a value."""
    uses = await asyncio.to_thread(context.definitions.secret_uses)
    names = sorted(uses)[:NAMES_MAX]
    found = await asyncio.to_thread(lambda: [_view(name, uses[name])[0] for name in names])
    return SecretList(secrets=found, seen_by=_seen_by(context))


@operation("secrets.test", "GET /api/v1/secrets/{secret}")
async def try_secret(context: Context, request: WhichSecret) -> SecretTest:
    """Reads one secret, as a tool would, and tries whether it is taken out of text. Never shows it."""
    uses = await asyncio.to_thread(context.definitions.secret_uses)
    if request.secret not in uses:
        cure = "Declare it in TOOLS.md: secrets: [NAME]."
        raise NotFound(unknown_name("secret", request.secret, uses), cure=cure)
    view, is_out = await asyncio.to_thread(_view, request.secret, uses[request.secret])
    return SecretTest(secret=view, is_taken_out=is_out, seen_by=_seen_by(context))


def _seen_by(context: Context) -> str:
    return "command" if context.node is None else "node"


def _view(name: str, users: tuple[str, ...]) -> tuple[SecretView, bool]:
    whence, secret = look_up(name)
    value = secret.reveal() if secret else ""
    view = SecretView(
        name=name,
        users=list(users),
        source=whence.source,
        is_present=secret is not None,
        is_weak=secret is not None and is_weak(value),
        problem=whence.problem,
    )
    return view, secret is not None and is_taken_out(value, KNOWN)
