"""Commands as people declare them: which run other programs, and which declaration covers which command line.

Pure. Knows nothing of how a command is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ostinato.domain.step import Effect

_RUNNERS = """
sh bash dash zsh ksh mksh fish csh tcsh ash rbash pwsh busybox toybox env xargs find awk gawk mawk nawk sed ed
ex vi vim nvim emacs perl ruby node nodejs deno bun php lua luajit tclsh wish expect R Rscript java jshell
scala groovy ghci runghc irb python pypy ipython make gmake ninja just ssh sudo su doas nohup timeout nice
ionice setsid stdbuf script watch time gdb lldb strace ltrace chroot unshare nsenter prlimit flock parallel
entr tar rsync npx npm pnpm yarn pip pipx uv uvx cargo go docker podman systemd-run at batch crontab m4 git
"""
RUNNERS = frozenset(_RUNNERS.split())
"""Programs that run what their arguments say: shells, interpreters, and whatever starts other programs."""

_STARTERS = """
ld.so ld-linux taskset chrt numactl choom capsh setpriv setarch runuser sg pkexec start-stop-daemon run-parts rlwrap
unbuffer fakeroot xvfb-run dbus-run-session torsocks torify catchsegv valgrind perf cpulimit logsave multitime ionice
gcc g++ cc c++ clang cmake meson mvn gradle rake bundle gem tox nox dotnet julia octave jrunscript pry pdb tex latex
pdflatex xelatex lualatex latexmk sqlite3 psql mysql less more man view nano pico rvim rview screen tmux ranger
socat telnet ftp sftp scp ssh-agent ssh-keygen smbclient zip cpio split tcpdump logrotate dpkg rpm apt apt-get
systemctl journalctl service run-mailcap
"""
STARTERS = frozenset(_STARTERS.split())
"""Programs that do other things first, and have an option or a command by which they run another one, too."""

_VERSION = re.compile(r"[\d.]+$")
_MACHINE = re.compile(r"^.*-linux-gnu[a-z0-9]*-")
_WORDS_MAX = 16


def is_runner(program: str) -> bool:
    """True for a program whose name says nothing about what it will do: no leave for it may be lasting."""
    return runs_files(program) or _plain(program) in STARTERS


def runs_files(program: str) -> bool:
    """True for a program that runs the file that it is given: what that holds is what it does."""
    return program.rpartition("/")[2] in RUNNERS or _plain(program) in RUNNERS


def _plain(program: str) -> str:
    """A program's name without what compilers and loaders say beside, and without its version."""
    plain = _VERSION.sub("", _MACHINE.sub("", program.rpartition("/")[2])).rstrip("-")
    return "ld-linux" if plain.startswith("ld-linux") else plain


def covers(pattern: Sequence[str], argv: Sequence[str]) -> bool:
    """True where a declared command is this one, word by word; a last word `*` stands for any arguments, even none."""
    if pattern and pattern[-1] == "*":
        return list(argv[: len(pattern) - 1]) == list(pattern[:-1])
    return list(argv) == list(pattern)


def effect_of(argv: Sequence[str], effects: Mapping[str, Effect]) -> Effect:
    """What a command does to the world as far as a person has declared it; else irreversible. The gravest of those that
    cover it."""
    found = [effect for pattern, effect in effects.items() if covers(pattern.split(), argv)]
    order = list(Effect)
    return max(found, key=order.index, default=Effect.IRREVERSIBLE)


def problem_of(pattern: str, *, commands: Sequence[str]) -> str:
    """Why no effect can be declared for this; empty where it can."""
    words = pattern.split()
    if not words or len(words) > _WORDS_MAX:
        return f"is not a command of 1 to {_WORDS_MAX} words"
    if words[0] not in commands:
        return f"is not among the commands: {', '.join(commands) or 'none'}"
    if "*" in words[:-1]:
        return "may have a '*' only as its last word"
    if words[1:] == ["*"] and is_runner(words[0]):
        return f"would cover everything that {words[0]} can start; declare whole commands"
    return ""
