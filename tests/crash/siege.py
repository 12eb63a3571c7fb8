"""Kills a node under load at random moments, again and again, and lets it come to its end at last.

Knows nothing of what is right: that is the judge's.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import msgspec

from ostinato.domain.values import Value
from tests.conftest import FULL
from tests.crash import load
from tests.crash.forge import Ended, Order
from tests.crash.outside import What, of, read_outside
from tests.crash.record import OUTSIDE, Record, read_record
from tests.crash.trial import SIGKILLED, Forge, words_of

SHORT_SEED = 1
"""Of every ordinary run, so that what chance has chosen for one is chosen for the next as well."""

SHORTEST_S, LONGEST_S = 0.02, 0.42 if FULL else 0.18
"""How much processor time a node has before it is killed: from the middle of its start to a dozen errands, and at full
length to some dozens."""

LAST_S = 900.0
"""What the last node may take on a busy machine for all that is left."""

PER_KILL = 200
"""Errands that may be sent for each kill: more than a node gets done before it dies."""


def first_seed() -> int:
    """What chance begins with here: as OSTINATO_CRASH_SEED says, else drawn at full length, else always the same."""
    drawn = random.SystemRandom().randrange(1_000_000) if FULL else SHORT_SEED
    return int(os.environ.get("OSTINATO_CRASH_SEED") or drawn)


class Siege(Value):
    """What a besieged fleet left behind. `record` None: the last node could not come to its end."""

    seed: int
    folder: str
    kills: int
    seconds: float
    record: Record | None
    words: str = ""

    @property
    def open_intents(self) -> Counter[str]:
        """Kills by what was under way: a model call, tool calls by effect, or nothing. One may count for several."""
        assert self.record is not None
        found: Counter[str] = Counter()
        for line in of(self.record.outside, What.BEGAN):
            if line.survey is None or line.run == 1:
                continue
            effects = {effect for _, _, effect in line.survey.tools}
            found.update(effects)
            found["model call"] += bool(line.survey.models)
            found["any tool"] += bool(effects)
            found["nothing"] += not effects and not line.survey.models
        return found


def besiege(forge: Forge, folder: Path, *, kills: int, seed: int, errands: int = 0, bug: str = "") -> Siege:
    """`kills` deaths at random moments of real time, and a last run until at least so many `errands` have ended."""
    chance = random.Random(seed)
    began_s = time.monotonic()
    folder.mkdir()
    load.SCENARIO.build(folder)
    unending = load.Orders(total=kills * PER_KILL)
    order = Order(scenario=load.NAME, folder=str(folder), run=0, real=True, load=unending, bug=bug)
    killed = run = 0
    while killed < kills and run < kills * 2:
        run += 1
        after_s = chance.uniform(SHORTEST_S, LONGEST_S)
        ended = forge.run(msgspec.structs.replace(order, run=run, kill_after_s=after_s))
        killed += ended.code == SIGKILLED
        if ended.code not in (0, SIGKILLED):
            return _broken(folder, ended, seed=seed, kills=killed, seconds=time.monotonic() - began_s)
    sent = len(of(read_outside(folder / OUTSIDE), What.SENT))
    ending = load.Orders(
        total=max(errands, sent + 1)
    )  # the one after the last that was acknowledged may be safe as well
    ended = forge.run(msgspec.structs.replace(order, run=run + 1, load=ending, timeout_s=LAST_S))
    seconds = time.monotonic() - began_s
    if ended.code != 0:
        return _broken(folder, ended, seed=seed, kills=killed, seconds=seconds)
    return Siege(seed=seed, folder=str(folder), kills=killed, seconds=seconds, record=read_record(folder))


def _broken(folder: Path, ended: Ended, *, seed: int, kills: int, seconds: float) -> Siege:
    words = words_of(folder, ended)
    return Siege(seed=seed, folder=str(folder), kills=kills, seconds=seconds, record=None, words=words)
