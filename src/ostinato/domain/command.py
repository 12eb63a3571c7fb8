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

_VERSION = re.compile(r"[\d.]+$")
_WORDS_MAX = 16


def is_runner(program: str) -> bool:
    """True for a program whose name says nothing about what it will do: no leave for it may be lasting."""
    name = program.rpartition("/")[2]
    return name in RUNNERS or _VERSION.sub("", name).rstrip("-") in RUNNERS


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
