"""Performs the tasks of agents of kind `command`: a program of another make does the work, as a process of its own, and
the turn that looks after it is parked meanwhile.

No model of ours is asked. The process is a child of the task; its end wakes the task, whose journal then gets what the
program said of itself: its transcript, its last word, what it changed and what it says that it cost. Knows nothing of
how processes are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from ostinato.agents import recall, reviews
from ostinato.agents.leash import Leash, LeashMaker
from ostinato.agents.workbench import Workbench
from ostinato.domain.chat import ToolCall
from ostinato.domain.coding import CodingReport, read_report
from ostinato.domain.errors import Denied, OstinatoError
from ostinato.domain.ledger import Charge
from ostinato.domain.message import Message
from ostinato.domain.recall import Surroundings
from ostinato.domain.step import Decision, Effect, Entry, Input, ResultStatus, Reviewed, ToolIntent, ToolOutcome
from ostinato.domain.task import (
    ENDED,
    UNFINISHED,
    Done,
    Fail,
    Outcome,
    Park,
    Task,
    TaskKind,
    TaskResult,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Instant, Trust, digest_of, to_json
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.store.port import TaskFilter, Tx
from ostinato.tools.commands import CommandPlace, Wanted, named_files, wanted_command
from ostinato.tools.port import ToolContext, capped
from ostinato.tools.processes.handler import START_TOOL, handle_for
from ostinato.tools.processes.process_tools import add_process
from ostinato.tools.sandbox.spill import plain
from ostinato.tools.sandbox.surroundings import without
from ostinato.workspace.command_rules import GOAL, CodingCommand, only_reads

CALL = "command"
INBOX_MAX = 20
"""Messages that one run of a program is given."""
BUSY_S = 2.0
"""Seconds after which a task looks again that waits for one of its agent's places."""

DIFF_CHARS_MAX = 65_536
"""Of the diff that a result carries; all of it is in the worktree."""


class CodingHandler:
    """The handler of turns and goals for such agents."""

    def __init__(self, kind: TaskKind, *, leashes: LeashMaker, place: CommandPlace) -> None:
        self.kind = kind
        self.timeout_s = 3_600.0
        self._leashes = leashes
        self._place = place

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing: a program's first steps are taken when it is started."""

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """Starts the program, goes on waiting for it, or tells what came of it."""
        command = self._leashes.current(attempt.task.agent or "").settings.command
        assert command is not None, "no other agent's task comes here"
        journal = await attempt.store.read(lambda tx: [step.entry for step in tx.steps(attempt.task.id)])
        intent = _open_intent(journal)
        try:
            if intent is None:
                return await self._begin(attempt, command, journal)
            number = intent.bound["process"]
            process = await attempt.store.read(lambda tx: tx.task(number))
            if process.state not in ENDED:
                return _wait_for(process)
            return await self._end(attempt, process, intent=intent, command=command)
        except OstinatoError as error:
            return Fail(error=str(error), error_class="refused")

    # --- its beginning ---

    async def _begin(self, attempt: AttemptPort, command: CodingCommand, journal: Sequence[Entry]) -> Outcome | Settled:
        """Once, and again for each time that a review returned the work, in the same folder."""
        rejected = [each for each in journal if isinstance(each, Reviewed) and not each.accepted]
        began = next((each for each in journal if isinstance(each, ToolIntent)), None)
        bench = await self._bench(attempt.task)
        cwd = await bench.worktree(attempt.task.name) if command.worktree else "."
        base = await bench.base(cwd) if began is None else began.bound["base"]
        start = partial(self._start, attempt=attempt, command=command, cwd=cwd, base=base, rejected=rejected)
        return await attempt.store.run(start)

    async def _bench(self, task: Task) -> Workbench:
        agent = self._leashes.current(task.agent or "")
        return Workbench(await asyncio.to_thread(agent.folder.resolve), fleet=self._place.fleet, agent=agent.id)

    def _start(
        self,
        tx: Tx,
        *,
        attempt: AttemptPort,
        command: CodingCommand,
        cwd: str,
        base: str,
        rejected: Sequence[Reviewed],
    ) -> Outcome | Settled:
        """The process and the intent that names it, in one commit; so it is started once."""
        task, now = tx.check_claim(attempt.claim), attempt.clock.now()
        leash = self._leashes.leash(tx, task, journal=())
        which = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=UNFINISHED, agent=task.agent)
        if len(tx.tasks(which, limit=leash.now.concurrency)) >= leash.now.concurrency:
            until_at = now + round(BUSY_S * SECOND)
            return Park(wait=Wait(kind=WaitKind.TIME, until_at=until_at), reason="its agent is at work already")
        messages = tx.inbox(task.session or "", limit=INBOX_MAX)
        trust = _trust(task, [*messages, *rejected])
        arguments = _arguments(command, _goal(task, messages, rejected), cwd=cwd)
        call = f"{CALL}.{len(rejected)}" if rejected else CALL
        intent = ToolIntent(
            call_id=call,
            tool=START_TOOL,
            effect=Effect.IRREVERSIBLE,
            arguments=arguments,
            key=digest_of(f"{task.id}/{task.journal}/{call}".encode())[:32],
        )
        context = leash.context(task, intent=intent, trust=trust, now=now, messages=messages)
        _check(leash, context, arguments)
        wanted = wanted_command(self._place, context, arguments, lasting=True)
        around = partial(_around, leash, context, wanted, command=command)
        if not task.steps and (known := recall.answer_to(tx, task, leash=leash, around=around, now=now)) is not None:
            return Settled(task=known)
        context = replace(context, bound=wanted.bound(context.agent))
        process = add_process(tx, context, arguments, quiet=True, environment=command.environment)
        outside = process.spec.trust is Trust.EXTERNAL
        if outside:  # before it writes anything
            tx.taint_files(context.agent, [_folder_of(cwd)], task=task.id, now=now)
        if messages:
            tx.advance_cursor(task.session or "", messages[-1].id, now=now)
        files = dict(leash.keep_files(tx, now=now))
        read = Input(messages=tuple(each.id for each in messages), files=files, agent_version=leash.then.version)
        bound = {"process": process.id, "base": base, "cwd": cwd}
        begun = replace(intent, bound=bound, outside=outside, private=True)
        tx.record_steps(attempt.claim, [read, begun], now=now)
        return Settled(task=tx.finish(attempt.claim, _wait_for(process), now=now))

    # --- its end ---

    async def _end(self, attempt: AttemptPort, process: Task, *, intent: ToolIntent, command: CodingCommand) -> Settled:
        kept = without(await asyncio.to_thread(handle_for(self._place.state_dir, process).kept))
        report = read_report(plain(kept.head + (b"\n" if kept.missing_bytes else b"") + kept.tail))
        result = process.result
        told = (result.text or result.error) if result is not None else process.reason
        data: dict[str, Any] = (result.data if result is not None else None) or {}
        problem = "" if data.get("exit") == 0 else told.partition("\n")[0] or f"{process.name} has ended"
        if report.failed:
            problem = f"{command.argv[0]} says: {report.failed}"
        diff = await (await self._bench(attempt.task)).diff(intent.bound["cwd"], base=intent.bound["base"])
        facts = {
            "process": process.name,
            "exit": data.get("exit"),
            "seconds": data.get("seconds"),
            "output": data.get("output", ""),
            "diff": diff if len(diff) <= DIFF_CHARS_MAX else f"{diff[:DIFF_CHARS_MAX]}\n[{len(diff)} characters]",
            "folder": intent.bound["cwd"],
            **({"conversation": report.session} if report.session else {}),
        }
        entry = ToolOutcome(
            call_id=intent.call_id,
            tool=START_TOOL,
            status=ResultStatus.ERROR if problem else ResultStatus.OK,
            text=capped("\n".join(part for part in (report.transcript, problem) if part)),
            data=facts,
            duration_ms=1_000 * (data.get("seconds") or 0.0),
        )
        now, charge = attempt.clock.now(), _charge(attempt.task, report, command=command)
        outside = intent.outside or process.is_outside
        entry = replace(entry, outside=outside)

        def settle(tx: Tx) -> Settled:
            task = tx.check_claim(attempt.claim)
            if outside and not intent.outside:  # strangers' words came into its folder while it worked there
                tx.taint_files(task.agent or "", [_folder_of(intent.bound["cwd"])], task=task.id, now=now)
            if charge is not None:
                tx.charge(charge, now=now)
            tx.record_steps(attempt.claim, (entry,), now=now)
            leash = self._leashes.leash(tx, task, journal=[step.entry for step in tx.steps(task.id)])
            ended = reviews.finish(tx, attempt.claim, outcome, leash=leash, now=now)
            kept_s = recall.kept_for(task, leash)
            told = tx.inbox(task.session or "", limit=1)
            if kept_s and ended.state is TaskState.DONE and not (diff or told or intent.outside):
                tx.keep_result(ended.id, for_s=kept_s, now=now)  # where its question was noted when it began
            return Settled(task=ended)

        trust = Trust.EXTERNAL if outside else Trust.OPERATOR
        done = Done(result=TaskResult(text=report.result, data=facts, trust=trust, private=True))
        outcome: Outcome = Fail(error=problem, error_class="command") if problem else done
        return await attempt.store.run(settle)


def _around(leash: Leash, context: ToolContext, wanted: Wanted, *, command: CodingCommand) -> Surroundings | None:
    """What the program's result depends on; None unless a person has declared that this command only reads, and it has
    neither a network nor secrets: nobody else knows what a program does."""
    rules = context.commands
    if rules is None or not only_reads(command, effects=rules.effects, network=rules.network):
        return None
    files = named_files(context, wanted.argv[1:], folder=wanted.folder)
    identity = digest_of(to_json([wanted.program.identity, sorted(files.items())]))
    return Surroundings(agent=leash.then.id, files=recall.files_of(leash.then), model=f"command {identity}")


def _folder_of(cwd: str) -> str:
    return f"{cwd.rstrip('/')}/"


def _wait_for(process: Task) -> Park:
    return Park(wait=Wait(kind=WaitKind.PROCESS, refs=(process.name,)), reason=f"waits for {process.name}")


def _open_intent(journal: Sequence[Entry]) -> ToolIntent | None:
    """What was started last; None where nothing was, or where a review returned what came of it."""
    for entry in reversed(journal):
        if isinstance(entry, Reviewed) and not entry.accepted:
            return None
        if isinstance(entry, ToolIntent):
            return entry
    return None


def _trust(task: Task, messages: Sequence[Message | Reviewed]) -> Trust:
    found = {task.spec.trust, *(each.trust for each in messages)}
    return next(each for each in (Trust.EXTERNAL, Trust.AGENT, Trust.OPERATOR) if each in found)


def _goal(task: Task, messages: Sequence[Message], rejected: Sequence[Reviewed]) -> str:
    """What it is to do: the goal, whatever was said about it, and what reviews found wrong."""
    own = [task.title, task.spec.goal] if task.kind is TaskKind.GOAL else []
    parts = list(
        dict.fromkeys(each.strip() for each in (*own, *(message.text for message in messages)) if each.strip())
    )
    parts += [f"The result was not accepted by {each.by}. Put this right: {each.notes}" for each in rejected]
    return "\n\n".join(parts).replace("\0", "")


def _arguments(command: CodingCommand, goal: str, *, cwd: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "argv": command.argv_for(goal),
        "cwd": cwd,
        "stdin": command.stdin.replace(GOAL, goal),
        "timeout_s": command.timeout_s,
        "secrets": list(command.secrets),
        "terminal": command.terminal,
    }
    return {name: value for name, value in found.items() if value}


def _check(leash: Leash, context: ToolContext, arguments: dict[str, Any]) -> None:
    """The gate. That a person wrote the command into AGENTS.md is the leave that it needs, unless the goal comes from
    outside. Raises Denied."""
    judged = leash.judge(ToolCall(id=CALL, name=START_TOOL, arguments=arguments), context=context, arguments=arguments)
    if isinstance(judged, str):
        raise Denied(judged)
    verdict, _ = judged
    from_outside = verdict.decision is Decision.ASK and context.trust is Trust.EXTERNAL
    if verdict.decision is Decision.DENY or from_outside:
        why = f"{verdict.reason} [{verdict.rule}]"
        raise Denied(f"{why}; the goal comes from outside" if from_outside else why)


def _charge(task: Task, report: CodingReport, *, command: CodingCommand) -> Charge | None:
    """What the program says that it spent; nothing where it says nothing."""
    if report.usd_micros is None and not report.input_tokens and not report.output_tokens:
        return None
    return Charge(
        task=task.id,
        agent=task.agent or "",
        session=task.session or "",
        trigger=task.spec.trigger.value,
        call=1,
        provider="command",
        model=report.model or command.argv[0],
        status=200,
        input_tokens=report.input_tokens,
        cached_tokens=report.cached_tokens,
        output_tokens=report.output_tokens,
        usd_micros=report.usd_micros,
    )
