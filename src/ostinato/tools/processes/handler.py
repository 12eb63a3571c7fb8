"""Performs process tasks: starts what was asked for, parks while it runs, and tells its end.

The task's journal holds the intent before anything starts; the folder of the process holds whether it began, so that it
begins at most once whatever dies in between. Its result is the completion of the task, which the store delivers to the
session that started it, in one commit and so exactly once. Knows nothing of sessions or turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets as randoms
import shlex
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ostinato.domain.errors import Denied, NotFound, OstinatoError
from ostinato.domain.step import Effect, Entry, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Done, Fail, Outcome, Park, Requeue, Task, TaskKind, TaskResult, Wait, WaitKind
from ostinato.domain.values import SECOND, Trust, digest_of
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.store.port import Reads, Tx
from ostinato.tools.commands import (
    CommandPlace,
    Wanted,
    check_bound,
    errand_of,
    furnished,
    wanted_command,
)
from ostinato.tools.port import ToolContext
from ostinato.tools.processes.handle import PROCESSES_FOLDER, About, Exit, Handle, Standing, surroundings_of
from ostinato.tools.processes.start import Start, Terminal, start
from ostinato.tools.sandbox.launch import Backend, problem_in
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.spill import OUTPUTS_FOLDER, Kept, Spill, plain
from ostinato.tools.sandbox.surroundings import values_of, without
from ostinato.tools.saving import ContextMaker
from ostinato.tools.web.way import Way

START_TOOL = "exec.start"

LAST_BYTES = 4_096
"""Of the output, what the message of an end brings along."""

ELSEWHERE_S = 2.0
"""Seconds after which a task looks again that another node has to go on with."""

GONE_S = 600.0
"""A machine of which no node has run for so long is not waited for: its fleet is a copy by now, or has moved."""

NODES_MAX = 200
"""Of the latest starts of nodes, how many are looked through for such a machine."""

ENDINGS = {
    "wall": "it was ended by its time limit",
    "silence": "it was ended because it said nothing for too long",
    "cpu": "it was ended by its limit of processor time",
    "memory": "it was ended by its limit of memory",
    "replaced": "it was ended because a protected file was replaced while it ran",
    "killed": "it was ended",
    "refused": "it could not be started",
}
"""How an end is told that was none of the process's own."""


class ProcessHandler:
    """The engine's handler for processes."""

    kind = TaskKind.PROCESS

    def __init__(self, place: CommandPlace, *, contexts: ContextMaker, begun: Callable[[], None]) -> None:
        """`begun` is called when a process may have begun."""
        self.timeout_s = 120.0
        self._place = place
        self._contexts = contexts
        self._begun = begun
        self._machine = machine_of(place.state_dir)

    def open(self, tx: Tx, task: Task, *, now: int) -> None:
        """Nothing to do before the work itself."""

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """Starts it, goes on waiting for it, or tells its end."""
        task = attempt.task
        handle = handle_for(self._place.state_dir, task)
        journal = await attempt.store.read(lambda reads: [step.entry for step in reads.steps(task.id)])
        intent = next((each for each in journal if isinstance(each, ToolIntent)), None)
        standing, ended = await asyncio.to_thread(handle.look)
        if standing is Standing.NEVER:
            if intent is not None and intent.bound.get("machine") != self._machine:
                return await self._elsewhere(attempt, machine=str(intent.bound.get("machine", "")))
            if await attempt.store.read(lambda reads: _has_run(reads, task)):
                return _vanished(task, handle)
            if attempt.draining:
                return Requeue(reason="the node is stopping")
            begun = await self._begin(attempt, handle, has_intent=intent is not None)
            if begun is not None:
                return begun
            standing, ended = await asyncio.to_thread(handle.look)
        if standing is Standing.RUNS:
            return Park(wait=Wait(kind=WaitKind.PROCESS, refs=(handle.name,)), reason="its process runs")
        await self._close_way(handle)
        tainted = await attempt.store.read(lambda reads: bool(reads.tainted_files(task.agent or "")))
        trust = Trust.EXTERNAL if tainted else task.spec.trust  # whatever it has read meanwhile
        match standing:
            case Standing.ENDED if ended is not None:
                return await asyncio.to_thread(partial(self._told, trust=trust), task, handle, ended)
            case _:
                return await asyncio.to_thread(self._lost, task, handle)

    async def _elsewhere(self, attempt: AttemptPort, *, machine: str) -> Outcome | Ending:
        """Leaves it to the machine that began it, as long as there is one."""
        task, now = attempt.task, attempt.clock.now()
        host, own = machine.partition(":")[0], task.node
        nodes = await attempt.store.read(lambda reads: reads.nodes(limit=NODES_MAX))
        others = [each for each in nodes if each.host == host and each.id != own]
        seen_at = max((now if each.ended_at is None else each.ended_at for each in others), default=None)
        if seen_at is not None and now - seen_at <= GONE_S * SECOND:
            until_at = now + round(ELSEWHERE_S * SECOND)
            return Park(wait=Wait(kind=WaitKind.TIME, until_at=until_at), reason="its process is on another machine")
        text = (
            f"{_name(task)} was begun on another machine, of which no node runs any more ({machine}), and how it ended "
            "is UNKNOWN. It was not started again; what it was to do may have been done"
        )
        entry = replace(_outcome(text, {"process": task.name, "ended": "unknown"}), status=ResultStatus.UNKNOWN)
        return Ending(outcome=Fail(error=text, error_class="unknown"), entries=(entry,))

    # --- its beginning ---

    async def _begin(self, attempt: AttemptPort, handle: Handle, *, has_intent: bool) -> Outcome | None:
        """Starts it; an outcome where that must not or cannot be."""
        task, clock = attempt.task, attempt.clock
        intent = self._intent_of(task)

        def intend(tx: Tx) -> ToolContext:
            tx.check_claim(attempt.claim)
            if not has_intent:
                tx.record_steps(attempt.claim, [intent], now=clock.now())
            context = self._contexts(tx, task, intent=intent, now=clock.now(), repeated=has_intent)
            return replace(context, session=str(task.spec.input.get("session", "")), bound=_bound_of(task))

        context = await attempt.store.run(intend)
        try:
            wanted = await asyncio.to_thread(self._wanted, task, context, handle)
            backend, account = (await preflight(self._place.fleet)).required()
            values = values_of(wanted.secrets)
            way = await self._way(wanted, agent=context.agent)
            folder = self._place.ways.folder(way) if way and self._place.ways else None
            watch, room = await asyncio.to_thread(furnished, context, wanted, way=folder)
            token = way.token if way else ""
            now = surroundings_of(watch, backend=backend.name, way=token)
            await asyncio.to_thread(handle.furnish, now)
            terminal = _terminal_of(task.spec.input["arguments"])
            errand = errand_of(
                wanted,
                agent=context.agent,
                secrets=values,
                stdin=task.spec.input["arguments"].get("stdin", ""),
                terminal=terminal is not None,
            )
            plain_variables = task.spec.input.get("environment", {})
            errand = replace(errand, environment={**errand.environment, **plain_variables})
            given = Start(
                backend=backend,
                room=room,
                errand=errand,
                account=account,
                watch=watch,
                secrets=values,
                terminal=terminal,
                input=bool(task.spec.input["arguments"].get("input")),
            )
            await asyncio.to_thread(start, handle, given)
        except OstinatoError as error:
            await self._close_way(handle)
            return Fail(error=f"The process was not started: {error}", error_class="refused")
        self._begun()
        return None

    async def _way(self, wanted: Wanted, *, agent: str) -> Way | None:
        """Its way to the network, which lasts as long as it does; None where it needs none."""
        if not wanted.network:
            return None
        if self._place.ways is None:
            raise Denied("Commands have no network here")
        return await self._place.ways.open(
            agent=agent, network=wanted.network, credentials=wanted.credentials, lasting=True
        )

    async def _close_way(self, handle: Handle) -> None:
        with contextlib.suppress(NotFound):
            if self._place.ways is not None and (token := handle.surroundings().way):
                await self._place.ways.close(token)

    def _intent_of(self, task: Task) -> ToolIntent:
        wanted = task.spec.input
        return ToolIntent(
            call_id="start",
            tool=START_TOOL,
            effect=Effect(wanted.get("effect", Effect.IRREVERSIBLE)),
            arguments=wanted["arguments"],
            key=digest_of(f"{task.id}/{task.journal}/start".encode())[:32],
            bound={"machine": self._machine},
        )

    def _wanted(self, task: Task, context: ToolContext, handle: Handle) -> Wanted:
        """What was judged, if that is still what would run."""
        handle.prepare(about_of(task))
        wanted = wanted_command(self._place, context, task.spec.input["arguments"], lasting=True)
        check_bound(wanted.bound(context.agent), context.bound)
        return wanted

    # --- its end ---

    def _told(self, task: Task, handle: Handle, ended: Exit, *, trust: Trust) -> Ending:
        kept = without(handle.kept())
        backend = Backend(name=handle.surroundings().backend, program="")
        problem = ended.why if ended.ended == "refused" else ""
        if ended.ended == "exit":
            problem = problem_in(ended.status.encode(), backend, said=kept.tail or kept.head)
        code = _code(ended) if ended.ended == "exit" and not problem else None
        how = f"exit {code}" if code is not None else _how(ended)
        lines = [f"{_name(task)} has ended: {how}, after {ended.duration_s:.1f} s; {kept.total_bytes} bytes of output"]
        if problem:
            lines.append(f"the sandbox says: {problem}; nothing was run")
        lines += _tidied(handle)
        output = self._keep(task, handle, kept)
        lines += _last_lines(kept, output=output)
        data = {
            "process": task.name,
            "exit": code,
            "ended": "refused" if problem else ended.ended,
            "seconds": ended.duration_s,
            "bytes": kept.total_bytes,
            "output": output,
        }
        text = "\n".join(lines)
        result = TaskResult(text=text, data=data, trust=trust, private=True)
        return Ending(outcome=Done(result=result), entries=(_outcome(text, data),))

    def _lost(self, task: Task, handle: Handle) -> Ending:
        """The one end that nobody saw: said aloud, and never repeated."""
        kept = without(handle.kept())
        output = self._keep(task, handle, kept)
        text = "\n".join(
            [
                f"{_name(task)} has ended, and how is UNKNOWN: its shim was killed, or the machine went down. "
                "It was not started again; what it was to do may have been done in part",
                *_tidied(handle),
                *_last_lines(kept, output=output),
            ]
        )
        data = {"process": task.name, "ended": "unknown", "bytes": kept.total_bytes, "output": output}
        entry = replace(_outcome(text, data), status=ResultStatus.UNKNOWN)
        return Ending(outcome=Fail(error=text, error_class="unknown"), entries=(entry,))

    def _keep(self, task: Task, handle: Handle, kept: Kept) -> str:
        """Puts the output where `exec.read` finds it; its name there."""
        name = handle.name.replace("-", "")
        Spill(self._place.state_dir / OUTPUTS_FOLDER / (task.agent or "")).keep(name, kept)
        return name


def _has_run(reads: Reads, task: Task) -> bool:
    """True where an attempt at this journal has found its process running: it must not be begun once more."""
    begun = next((step.at for step in reads.steps(task.id) if isinstance(step.entry, ToolIntent)), None)
    parked = (each for each in reads.attempts(task.id) if each.outcome == "park")
    return begun is not None and any(each.ended_at is not None and each.ended_at >= begun for each in parked)


def _vanished(task: Task, handle: Handle) -> Ending:
    """What was known of it has been deleted under it."""
    text = (
        f"{_name(task)} is lost, and how it ended is UNKNOWN: its folder {PROCESSES_FOLDER}/{handle.name} was deleted "
        "while it ran. It was not started again; what still runs of it ends with its time limit"
    )
    entry = replace(_outcome(text, {"process": task.name, "ended": "unknown"}), status=ResultStatus.UNKNOWN)
    return Ending(outcome=Fail(error=text, error_class="unknown"), entries=(entry,))


def _tidied(handle: Handle) -> list[str]:
    """As after each command of a turn: what no command may make is moved aside, what no command may change is told."""
    try:
        watch = handle.surroundings().watch
        aside, changed = watch.put_aside(), watch.changed()
    except (OstinatoError, OSError):  # its folder has gone
        return []
    told = [f"moved aside, as no command may make it: {', '.join(aside)}"] if aside else []
    if changed:
        told.append(f"not as when it began, by a person's hand or NOT AS IT MUST BE: {', '.join(changed)}")
    return told


def folder_name(task: Task) -> str:
    """The folder of a task's process. Each journal has one of its own; and so has a task of the same number that a
    restored backup made anew."""
    return f"T{task.id}-{task.journal}-{digest_of(f'{task.id}/{task.created_at}'.encode())[:12]}"


def machine_of(state_dir: Path) -> str:
    """What an intent names as the place where its process is."""
    return f"{socket.gethostname()}:{state_dir}"


def machine_in(reads: Reads, task: Task) -> str:
    """Where a task's process was begun; empty where it was not."""
    journal = (step.entry for step in reads.steps(task.id))
    return next((str(each.bound.get("machine", "")) for each in journal if isinstance(each, ToolIntent)), "")


def about_of(task: Task) -> About:
    """What is known of a task's process before it begins, with a new token."""
    given = task.spec.input
    return About(
        task=task.id,
        agent=task.agent or "",
        session=str(given.get("session", "")),
        argv=tuple(given["arguments"]["argv"]),
        effect=Effect(given.get("effect", Effect.IRREVERSIBLE)),
        terminal=bool(given["arguments"].get("terminal")),
        token=randoms.token_urlsafe(24),
    )


def handle_for(state_dir: Path, task: Task) -> Handle:
    """The handle of a task's process, whether or not it has begun."""
    return Handle(state_dir / PROCESSES_FOLDER / folder_name(task))


def _bound_of(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = task.spec.input.get("bound", {})
    return found


def _terminal_of(arguments: dict[str, Any]) -> Terminal | None:
    if not arguments.get("terminal"):
        return None
    return Terminal(rows=arguments.get("rows", 24), columns=arguments.get("columns", 80))


def _name(task: Task) -> str:
    command = shlex.join(task.spec.input["arguments"]["argv"])
    return f"{task.name} ({command if len(command) <= 100 else command[:99] + '…'})"


def _how(ended: Exit) -> str:
    words = ENDINGS.get(ended.ended, ended.ended)
    return f"{words} ({ended.why})" if ended.why and ended.ended == "killed" else words


def _code(ended: Exit) -> int | None:
    code = ended.returncode
    return 128 - code if code is not None and code < 0 else code


def _last_lines(kept: Kept, *, output: str) -> list[str]:
    """The end of what it said, and where the rest is."""
    if not kept.total_bytes:
        return []
    start, data = kept.read(max(0, kept.total_bytes - LAST_BYTES), LAST_BYTES)
    where = f"exec.read(output: {output}, from: 0) reads all of it"
    head = "all of it" if start == 0 else f"from byte {start} on; {where}"
    return [f"[output, {head}]", plain(data).rstrip("\n")]


def _outcome(text: str, data: dict[str, Any]) -> Entry:
    return ToolOutcome(call_id="start", tool=START_TOOL, status=ResultStatus.OK, text=text, data=data)
