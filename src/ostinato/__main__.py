"""The command `ostinato`. Answers `--version` by itself, so that it costs nothing; the rest is loaded late.

Knows nothing of what commands do.
"""

from __future__ import annotations

import sys

from ostinato import __version__


def main() -> int:
    """Runs one command line; returns its exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        sys.stdout.write(f"ostinato {__version__}\n")
        return 0
    from ostinato.cli.application import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
