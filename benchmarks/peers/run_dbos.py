"""DBOS on SQLite or PostgreSQL: callers run a durable workflow of one step. Runs in the environment of DBOS.

The workflow is called directly, which is its fastest way; its queues look for work once in a while.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from dbos import DBOS, DBOSConfig

ASKED = json.loads(sys.argv[1])
DBOS(config=DBOSConfig(name="bench", system_database_url=ASKED["url"], log_level="ERROR"))


@DBOS.step()
def step(number: int) -> int:
    """Nothing, durably."""
    return number


@DBOS.workflow()
def work(number: int) -> int:
    """One step."""
    return step(number)


def main() -> None:
    """Prints workflows a second."""
    DBOS.launch()
    work(0)
    left = iter(range(ASKED["tasks"]))
    lock = threading.Lock()

    def call() -> None:
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            assert work(number) == number

    callers = [threading.Thread(target=call) for _ in range(ASKED["callers"])]
    began = time.perf_counter()
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    elapsed = time.perf_counter() - began
    store = "SQLite" if ASKED["url"].startswith("sqlite") else "PostgreSQL"
    settings = f"{store}, its own settings, a workflow of one step, {ASKED['callers']} callers"
    print(json.dumps({"value": ASKED["tasks"] / elapsed, "settings": settings}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
