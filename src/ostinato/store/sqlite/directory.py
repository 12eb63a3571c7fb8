"""The state directory: whose it is, and what the database in it is called."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from ostinato.domain.errors import Invalid

FILE_NAME: Final = "ostinato.db"


def prepare_directory(directory: Path) -> None:
    """Makes the state directory with mode 0700, and refuses one that others may enter."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise Invalid("The state directory is no directory", place=str(directory), cure="Move it away.") from None
    except OSError as error:
        raise Invalid(f"The state directory cannot be made: {error.strerror}", place=str(directory)) from error
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        raise Invalid(
            f"Others may enter the state directory (mode {mode:04o})",
            place=str(directory),
            cure=f"chmod 700 {directory}",
        )
