"""What the engine has to say that is not an event of the fleet: surprises inside itself, as frozen values.

The engine never writes a sentence: whoever is given as `Notify` makes log lines of these. Knows nothing of logging.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from ostinato.domain.errors import Exhausted, OstinatoError
from ostinato.domain.task import TaskKind
from ostinato.domain.values import Value

TRACEBACK_CHARACTERS_MAX = 16_000
"""A traceback longer than this keeps its end, where the cause stands; recursion makes them endless."""


class AttemptCrashed(Value):
    """A handler raised what it should not have raised; the task will be tried again."""

    task: int
    kind: TaskKind
    token: int
    error: str
    traceback: str


class AttemptStuck(Value):
    """An attempt was told to stop and has not done so after `waited_s` seconds; it is told again."""

    task: int
    kind: TaskKind
    token: int
    waited_s: float


class OutcomeNotRecorded(Value):
    """An outcome could not be written. With `pause_s` it is tried again after so many seconds, else it is given up:
    the task stays running until its node is gone, and goes on from its journal then."""

    task: int
    token: int
    error: str
    code: str
    traceback: str
    pause_s: float | None


class ServiceFailed(Value):
    """One poll of a service raised; it polls again after `pause_s` seconds."""

    service: str
    error: str
    code: str
    traceback: str
    pause_s: float


class ScheduleFailed(Value):
    """A schedule could not be fired; it is tried again after `pause_s` seconds, the others go on."""

    schedule: str
    error: str
    traceback: str
    pause_s: float


class LeaseLost(Value):
    """Another node may hold this node's tasks now: everything here stops."""

    node: int
    reason: str


class LoopStalled(Value):
    """The event loop has not ticked for `stalled_s` seconds: the process ends itself."""

    node: int
    stalled_s: float


class StoreChecked(Value):
    """The database was looked through after an end that was not clean. `result` is `ok`, or what is wrong."""

    result: str


Notice = (
    AttemptCrashed
    | AttemptStuck
    | OutcomeNotRecorded
    | ServiceFailed
    | ScheduleFailed
    | LeaseLost
    | LoopStalled
    | StoreChecked
)
"""Everything the engine may say."""

Notify = Callable[[Notice], None]
"""Called on the event loop (`LoopStalled`: on the lease's thread); must be quick and must not raise."""


def code_of(error: Exception) -> str:
    """What kind of error it is: one of our codes, or the name of its class."""
    return error.code if isinstance(error, OstinatoError) else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """The traceback as text, its end kept where it is too long. None for what passes by itself, such as a full disk or
    a database that restarts: its message says all."""
    if isinstance(error, Exhausted):
        return ""
    return "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS_MAX:]
