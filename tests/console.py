"""Examples in the docs that are run: a fenced block that begins with ` ```console tested `.

Each line after `$ ` is a command of bash; the lines below it are what it prints, on standard output and standard error,
where `...` in a line stands for anything, and a line of `...` alone for any number of lines. A command that ends in `&`
runs until the page is through. `# exit 3` at the end of a command says that it exits so; without it, 0 is expected. The
commands of one page run in order in one folder. Knows nothing of Ostinato.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTED = re.compile(r"^```console tested\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\s+# exit (\d+)$")
COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Example:
    """One command of a page, and what the page says about it."""

    command: str
    output: str
    status: int


def examples(page: str) -> Iterator[Example]:
    """The tested commands of a page, in order."""
    for block in TESTED.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            found = EXIT.search(line)
            yield Example(EXIT.sub("", line), output.strip(), int(found[1]) if found else 0)


def matches(expected: str, printed: str) -> bool:
    """True where `printed` is what the page says, with `...` for anything."""
    parts: list[str] = []
    for line in expected.splitlines():
        words = (re.escape(each) for each in line.rstrip().split("..."))
        parts.append("(?:.*\n)*?" if line.strip() == "..." else ".*".join(words) + "[ \t]*\n")
    return re.fullmatch("".join(parts), printed.strip() + "\n" if printed.strip() else "") is not None


def run_page(page: str, *, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run a page's examples in `folder`; returns what went otherwise than the page says, in words."""
    wrong: list[str] = []
    running: list[subprocess.Popen[bytes]] = []
    here = folder
    mark = folder / ".here"
    try:
        for example in examples(page):
            if example.command.endswith("&"):
                command = ["bash", "-c", f"exec {example.command.rstrip('& ')}"]
                running.append(
                    subprocess.Popen(
                        command, cwd=here, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
                    )
                )
                continue
            script = f"{example.command}\nstatus=$?; pwd >'{mark}'; exit $status"
            done = subprocess.run(
                ["bash", "-c", script], cwd=here, env=environment, text=True, check=False, timeout=COMMAND_TIMEOUT_S,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            here = Path(mark.read_text().strip()) if mark.exists() else here
            if done.returncode != example.status:
                wrong.append(f"$ {example.command}\nexits with {done.returncode}, not {example.status}:\n{done.stdout}")
            elif not matches(example.output, done.stdout):
                wrong.append(f"$ {example.command}\nthe page says:\n{example.output}\nit prints:\n{done.stdout}")
    finally:
        for process in running:
            stop(process)
    return wrong


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, or with its whole group when it does not go."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
