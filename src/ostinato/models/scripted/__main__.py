"""`python -m ostinato.models.scripted SCRIPT [--port N] [--port-file FILE] [--log FILE]`: a script as a process.

For tests and demonstrations that want the model outside the node. Knows nothing of fleets.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ostinato.domain.errors import OstinatoError
from ostinato.models.scripted.server import serve


def main() -> int:
    """Serve until a signal comes; 2 where the script is wrong, 1 where it cannot listen."""
    parser = argparse.ArgumentParser(prog="python -m ostinato.models.scripted", description="Serve a model script.")
    parser.add_argument("script", type=Path)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; loopback unless you say otherwise")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="write the port here once it listens")
    parser.add_argument("--log", type=Path, help="append one line of JSON for each request")
    options = parser.parse_args()

    def ready(url: str) -> None:
        if options.port_file is not None:
            _write_port(options.port_file, url)
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    try:
        serve(options.script, host=options.host, port=options.port, ready=ready, log=options.log)
    except OstinatoError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if error.code == "invalid" else 1
    return 0


def _write_port(file: Path, url: str) -> None:
    """The port as text, whole or not at all: whoever waits for the file may read at once."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.write_text(url.rpartition(":")[2].partition("/")[0])
    unfinished.replace(file)


if __name__ == "__main__":
    sys.exit(main())
