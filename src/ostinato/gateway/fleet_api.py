"""Operations on the fleet as a whole: check, wake, backup, doctor.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.message import NewMessage, check_owner, main_session
from ostinato.domain.person import Role
from ostinato.domain.values import Source
from ostinato.gateway.agents_api import ProblemView
from ostinato.gateway.context import Context
from ostinato.gateway.doctor import Finding, examine
from ostinato.gateway.operation import Ask, Nothing, View, operation
from ostinato.gateway.plugin_problems import plugin_problems
from ostinato.gateway.tasks_api import Text, Word


class WakeAgent(Ask):
    """Wake an agent now, or leave the text for its next wake-up with `next`."""

    agent: Word
    text: Text = ""
    session: Word | None = None
    next: bool = False


class BackupFleet(Ask):
    """Where to write the copy: an absolute path on the node's machine that does not exist yet."""

    file: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]


class CheckView(View):
    """What is wrong in the fleet's files."""

    ok: bool
    agents: int
    problems: list[ProblemView]


class Woken(View):
    """A wake-up that is durable now."""

    agent: str
    session: str
    message: str
    node_running: bool


class BackedUp(View):
    """A consistent copy of everything."""

    file: str
    size_bytes: int


class DoctorLine(View):
    """One examination. `level`: ok, warn, bad."""

    name: str
    level: str
    text: str
    cure: str


class DoctorView(View):
    """All examinations; `ok` is false where one is bad."""

    ok: bool
    lines: list[DoctorLine]


@operation("fleet.check", "GET /api/v1/check")
async def check(context: Context, request: Nothing) -> CheckView:
    """Load every agent and name what is wrong, with place and cure."""
    found = [*await context.problems(), *await plugin_problems(context)]
    problems = [ProblemView(**msgspec.structs.asdict(each)) for each in found]
    return CheckView(
        ok=not any(each.level == "error" for each in problems),
        agents=len(await context.cards()),
        problems=problems,
    )


@operation("fleet.wake", "POST /api/v1/wake", role=Role.OPERATOR)
async def wake(context: Context, request: WakeAgent) -> Woken:
    """Wake an agent, with a text or without."""
    agent, now = (await context.card(request.agent)).id, context.now
    key = request.session or main_session(agent)
    check_owner(key, agent)
    person = context.caller.name
    new = NewMessage(source=Source.WAKE, text=request.text or "Wake up.", sender=person, requester=person)
    message = await context.store.run(
        lambda tx: tx.append_message(key, new, agent=agent, now=now, wake=not request.next)
    )
    return Woken(agent=agent, session=key, message=f"M{message.id}", node_running=context.node is not None)


@operation("fleet.backup", "POST /api/v1/backup", role=Role.ADMIN)
async def backup(context: Context, request: BackupFleet) -> BackedUp:
    """Write a consistent copy of the database while everything goes on."""
    target = await asyncio.to_thread(_backup_target, request.file)
    try:
        size = await context.store.backup(target)
    except OSError as error:
        cure = "Choose another place."
        raise Conflict(f"The backup could not be written: {error.strerror}", place=str(target), cure=cure) from error
    return BackedUp(file=str(target), size_bytes=size)


def _backup_target(file: str) -> Path:
    """A path that a backup may be written to. Raises Invalid or Conflict."""
    target = Path(file)
    if not target.is_absolute() or "\0" in file:
        raise Invalid("The path of a backup is absolute", place="key 'file'", cure="Begin it with '/'.")
    try:
        taken, reachable = target.exists() or target.is_symlink(), target.parent.is_dir()
    except OSError as error:
        cure = "Choose another place."
        raise Invalid(f"That path cannot be used: {error.strerror}", place=file[:200], cure=cure) from None
    if taken:
        raise Conflict(f"{target} exists already", cure="Name a file that does not exist.")
    if not reachable:
        raise Invalid(f"There is no folder {target.parent}", place="key 'file'", cure="Make it first.")
    return target


@operation("fleet.doctor", "GET /api/v1/doctor")
async def doctor(context: Context, request: Nothing) -> DoctorView:
    """Examine the machine, the state and the fleet's files; each finding with its cure."""
    lines = [_line(each) for each in await examine(context)]
    return DoctorView(ok=not any(each.level == "bad" for each in lines), lines=lines)


def _line(finding: Finding) -> DoctorLine:
    return DoctorLine(name=finding.name, level=finding.level, text=finding.text, cure=finding.cure)
