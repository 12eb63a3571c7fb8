"""Huey on SQLite with full sync: callers add a task and wait for its result. Runs in Huey's own environment.

Settings in Huey's favour: no delay before a worker or a caller looks again for longer than 5 ms, no periodic tasks.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from huey import SqliteHuey

ASKED = json.loads(sys.argv[1])
WORKERS = 4
huey = SqliteHuey(filename=str(Path(ASKED["directory"]) / "huey.db"), fsync=True, journal_mode="wal")


@huey.task()
def work(number: int) -> int:
    """Nothing, durably."""
    return number


def main() -> None:
    """Prints tasks a second."""
    consumer = huey.create_consumer(
        workers=WORKERS, periodic=False, initial_delay=0.001, backoff=1.1, max_delay=0.005, check_worker_health=False
    )
    consumer.start()
    left = iter(range(ASKED["tasks"]))
    lock = threading.Lock()

    def call() -> None:
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            assert work(number).get(blocking=True, backoff=1.05, max_delay=0.005) == number

    callers = [threading.Thread(target=call) for _ in range(ASKED["callers"])]
    began = time.perf_counter()
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    elapsed = time.perf_counter() - began
    consumer.stop()
    settings = f"SQLite, WAL, synchronous=FULL, {WORKERS} worker threads, {ASKED['callers']} callers"
    print(json.dumps({"value": ASKED["tasks"] / elapsed, "settings": settings}), flush=True)


if __name__ == "__main__":
    main()
