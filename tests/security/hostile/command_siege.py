"""Hostile command lines: most in this process through the real entry point, a sample as real processes.

All run in one folder, with a node that answers and fleets of other kinds beside it.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ostinato.cli.application import run
from ostinato.gateway.keyring import TOKEN_VARIABLE
from ostinato.workspace.init import init_fleet
from tests.security.hostile.case import Case, Command, Content, Kind
from tests.security.hostile.command_form import FLEET, MOVING
from tests.security.hostile.http_form import TOKEN
from tests.security.hostile.judge import faults_of_command
from tests.security.hostile.placing import HungError, bounded, moving, place
from tests.security.hostile.result import Result, by_family
from tests.security.hostile.stand import Stand

PROCESSES = 62
"""Command lines that are run as real processes: the first of each family, and the second of as many as it takes."""

EACH = 1 if os.environ.get("OSTINATO_CRASH") == "full" else 9
"""Of these, every ninth is enough to see that a process does as the entry point does that all of them have met."""

PROCESS_S = 120.0
AT_ONCE = 3
LONG_BYTES = 100_000
"""The kernel's limit for one argument is 128 kB."""

Run = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Answer:
    """What a command left."""

    code: int
    output: str
    errors: str


def besiege_commands(stand: Stand, cases: Sequence[Case], *, here: Path, run: Run = run) -> Result:
    """All cases in this process, and some of each family once more in a process of its own; `here` is an empty folder,
    in which they run."""
    result = Result()
    _furnish(here)
    before = Path.cwd()
    os.environ[TOKEN_VARIABLE] = TOKEN  # hostile words of an operator: others would be refused unread
    os.chdir(here)
    try:
        for family, members in by_family(cases):
            for case in members:
                with moving(os.fsencode(here / MOVING / "ostinato.toml"), _toml_for(case)):
                    result.add(case, *_judged(case, _in_process(stand, case, run)))
            result.blame(members[-1], _works_again(stand, f"after {family}", run))
        sample = _sample(cases)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for case, answer in zip(sample, pool.map(lambda case: _as_process(stand, case), sample), strict=True):
                result.blame(case, _judged(case, answer)[1])
        result.processes = len(sample)
    finally:
        os.chdir(before)
        del os.environ[TOKEN_VARIABLE]
    return result


def _judged(case: Case, answer: Answer | Exception) -> tuple[str, list[str]]:
    match answer:
        case Answer():
            words = () if case.family == "options as values" else _command(case).arguments
            faults = faults_of_command(answer.code, answer.output, answer.errors, arguments=words, hints=case.hints)
            return "refused" if answer.code else "accepted", list(faults)
        case HungError():
            return "hung", ["the command hangs"]
        case _:
            return "raised", [f"the command raises {type(answer).__name__}: {answer}"]


def _in_process(stand: Stand, case: Case, run: Run) -> Answer | Exception:
    try:
        return bounded(lambda: _captured(_expanded(stand, case), _command(case).given, run))
    except Exception as error:  # the judge says that none is fine
        return error


def _captured(arguments: Sequence[str], given: bytes, run: Run) -> Answer:
    """Runs with streams of its own, with the same encodings as in a shell."""
    printed, complained = io.BytesIO(), io.BytesIO()
    output = io.TextIOWrapper(printed, "utf-8", "strict")
    errors = io.TextIOWrapper(complained, "utf-8", "backslashreplace")
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given), "utf-8")
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = run(arguments)
    finally:
        sys.stdin = stdin
    output.flush()
    errors.flush()
    return Answer(code, printed.getvalue().decode(), complained.getvalue().decode())


def _as_process(stand: Stand, case: Case) -> Answer | Exception:
    command = [os.fsencode(each) for each in (sys.executable, "-m", "ostinato", *_expanded(stand, case))]
    try:
        done = subprocess.run(command, input=_command(case).given, capture_output=True, check=False, timeout=PROCESS_S)
    except subprocess.TimeoutExpired:
        return HungError()
    return Answer(done.returncode, *(each.decode("utf-8", "backslashreplace") for each in (done.stdout, done.stderr)))


def _sample(cases: Sequence[Case]) -> list[Case]:
    able = [[case for case in members if _can_be_a_process(case)] for _, members in by_family(cases)]
    return [members[at] for at in range(2) for members in able if len(members) > at][:PROCESSES:EACH]


def _can_be_a_process(case: Case) -> bool:
    """The kernel takes neither NUL nor more than its limits."""
    return not any("\0" in each or len(os.fsencode(each)) > LONG_BYTES for each in _command(case).arguments)


def _expanded(stand: Stand, case: Case) -> list[str]:
    fleet = ["--fleet", str(stand.folder)]
    return [word for each in _command(case).arguments for word in (fleet if each == FLEET else [each])]


def _command(case: Case) -> Command:
    assert isinstance(case.sent, Command)
    return case.sent


def _works_again(stand: Stand, title: str, run: Run) -> Iterator[str]:
    words = ["tasks", "add", "--fleet", str(stand.folder), title, "--agent", "clerk"]
    answer = _captured(words, b"", run)
    if answer.code or answer.errors or not answer.output.startswith("T"):
        yield f"a valid command does not work afterwards: {answer}"


def _furnish(here: Path) -> None:
    """Fleets without a node: a sound one, one that changes, and one of every kind that a file can be."""
    init_fleet(here / "asleep")
    init_fleet(here / MOVING)
    for kind in Kind:
        whole = Content(b'[fleet]\nname = "x"\n', kind=kind)
        place(os.fsencode(here / "fleets" / kind.value / "ostinato.toml"), whole)
        place(os.fsencode(here / "kinds" / kind.value), whole)


def _toml_for(case: Case) -> Content:
    """The fleet's file that changes, where the command looks at it."""
    kind = Kind.MOVING if MOVING in _command(case).arguments else Kind.FILE
    return Content(b'[fleet]\nname = "x"\n', before=b'[flet]\nname = "x"\n' + b"# word\n" * 5_000, kind=kind)
