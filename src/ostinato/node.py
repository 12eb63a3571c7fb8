"""`python -m ostinato.node FLEET [POOL]...`: one node, in the foreground, until a signal asks it to stop.

`ostinato up` runs this under its supervisor. Exit codes: 0 stopped in order, 1 a failure that another start may cure,
2 one that it will not. Knows nothing of how it is kept running.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from pathlib import Path

from ostinato.app import FleetApp, build
from ostinato.domain.errors import OstinatoError

AGAIN_CODE = 75
"""To the supervisor: start me again."""

FINAL = frozenset({"invalid", "not_found", "conflict", "denied"})
"""Errors at the start that stay the same at the next one: a wrong file, another node, another user."""


async def serve(app: FleetApp) -> int:
    """Runs a node until SIGTERM or SIGINT, or until it has to stop by itself (Internal). After SIGHUP it stops in order
    as well, and the exit code asks the supervisor for a new one, which reads the settings anew; where those are wrong,
    the node says so and goes on with the ones that it has."""
    stopping, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_anew() -> None:
        try:
            build(app.fleet)
        except OstinatoError as error:
            text = f"not begun anew, and at work with the settings from before: {error}"
            app.log.say("error", text, event="node.settings_refused")
            return
        again.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, begin_anew)
    try:
        await app.start()
        _begin_collecting()
        app.log.say("info", f"ready: {app.settings.name}", event="node.ready", fleet=str(app.fleet))
        ended = asyncio.create_task(app.wait_stopped())
        asked = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if ended in done:
            await ended
        ended.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ended
    finally:
        await app.stop()
    return AGAIN_CODE if again.is_set() else 0


def _begin_collecting() -> None:
    """What a start makes is code and tables, which last as long as the process: looking through them for garbage while
    they grow is a tenth of the start, and afterwards there is nothing in them to be found."""
    gc.freeze()
    gc.enable()


def main(arguments: list[str]) -> int:
    """The exit code."""
    if not arguments:
        sys.stderr.write("usage: python -m ostinato.node FLEET [POOL]...\n")
        return 2
    try:
        gc.disable()
        app = build(Path(arguments[0]), pools=tuple(arguments[1:]))
        return asyncio.run(serve(app))
    except OstinatoError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if error.code in FINAL else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
