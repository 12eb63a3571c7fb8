"""Saves the result of a task in a file of its agent, where the task or its trigger said so.

The file is written through the door that the agent's own tools use, under the agent's own rules as they are now: a
place that the agent may not write in is a dead letter with the reason, never a file. The same result written twice is
the same file. Knows nothing of why the task ended.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from ostinato.domain.errors import Denied, Fenced, Invalid, OstinatoError
from ostinato.domain.message import SAVE_TOOL
from ostinato.domain.step import Effect, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Done, Fail, Outcome, Retry, Task, TaskResult
from ostinato.domain.values import Instant, Trust, digest_of
from ostinato.engine.port import AttemptPort, Ending
from ostinato.store.port import Tx
from ostinato.tools.port import ToolContext
from ostinato.tools.safe_files import SafeFolder


class ContextMaker(Protocol):
    """Lends a delivery the context of its agent: folder, policy, files, as they are now."""

    def __call__(self, tx: Tx, task: Task, *, intent: ToolIntent, now: Instant, repeated: bool) -> ToolContext:
        """Raises an OstinatoError where the agent is gone or its files are broken."""


async def save(attempt: AttemptPort, contexts: ContextMaker) -> Outcome | Ending:
    """Writes the file that a task of kind `delivery` is for."""
    wanted = attempt.task.spec.input.get("arguments") or {}
    path, text = str(wanted.get("path", "")), str(wanted.get("text", ""))
    intent = _intent(attempt.task, path)
    try:
        context = await attempt.store.run(partial(_intend, attempt, intent, contexts=contexts))
        await asyncio.to_thread(_write, context, path, text=text)
    except Fenced:  # halted, or not ours any more
        raise
    except (Denied, Invalid) as error:
        return Fail(error=f"The result cannot be saved: {error}", error_class=error.code)
    except OstinatoError as error:
        return Retry(error=str(error), error_class="transient")
    said = f"saved in {path}"
    outcome = ToolOutcome(call_id=intent.call_id, tool=SAVE_TOOL, status=ResultStatus.OK, text=said)
    return Ending(outcome=Done(result=TaskResult(text=said, data={"path": path})), entries=(outcome,))


def _intent(task: Task, path: str) -> ToolIntent:
    key = digest_of(f"{task.id}/{task.journal}/save".encode())[:32]
    return ToolIntent(call_id="save", tool=SAVE_TOOL, effect=Effect.IDEMPOTENT, arguments={"path": path}, key=key)


def _intend(attempt: AttemptPort, intent: ToolIntent, tx: Tx, *, contexts: ContextMaker) -> ToolContext:
    """The intent, once, and what the agent may do now."""
    tx.check_claim(attempt.claim)
    now = attempt.clock.now()
    repeated = any(isinstance(step.entry, ToolIntent) for step in tx.steps(attempt.task.id))
    context = contexts(tx, attempt.task, intent=intent, now=now, repeated=repeated)
    if not repeated:
        if attempt.task.spec.trust is Trust.EXTERNAL:  # before it is written, as whatever a turn writes
            tx.taint_files(context.agent, [str(intent.arguments["path"])], task=attempt.task.id, now=now)
        tx.record_steps(attempt.claim, (intent,), now=now)
    return context


def _write(context: ToolContext, path: str, *, text: str) -> None:
    data = text.encode(errors="replace")
    with SafeFolder(context.workspace, context.files) as folder:
        folder.write(path, data if data.endswith(b"\n") else data + b"\n", key=context.key)
