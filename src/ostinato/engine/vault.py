"""Reads secrets: from the environment by name, or from the file that `NAME_FILE` names. Never from settings.

Whatever is read is known to `domain.secret.KNOWN` from then on, and so taken out of all that is stored, shown or sent.
Read anew each time, so that a file that is replaced is heeded. Knows nothing of who may have which secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ostinato.domain.errors import NotFound
from ostinato.domain.secret import KNOWN, Secret
from ostinato.domain.values import Value

SECRET_BYTES_MAX = 65_536
"""Longest file that is read; tokens of cloud identity services have a few kilobytes."""

Environment = Mapping[str, str]


class Whence(Value):
    """Where a secret comes from: `environment`, `file`, or nowhere and why."""

    name: str
    source: str = ""
    problem: str = ""


def look_up(name: str, environment: Environment | None = None) -> tuple[Whence, Secret | None]:
    """A secret and whence it came; never raises. `environment`: another than this process's."""
    environment = os.environ if environment is None else environment
    value, source = environment.get(name, "").strip(), "environment"
    file = environment.get(f"{name}_FILE", "").strip()
    if not value and file:
        source = "file"
        try:
            value = _from_file(name, Path(file))
        except NotFound as error:
            return Whence(name=name, source=source, problem=error.message), None
    if not value:
        problem = f"the file that {name}_FILE names is empty" if file else f"neither {name} nor {name}_FILE is set"
        return Whence(name=name, problem=problem), None
    secret = Secret(name, value)
    KNOWN.learn(secret)
    return Whence(name=name, source=source), secret


def read_secret(name: str, environment: Environment | None = None) -> Secret:
    """A secret. Raises NotFound, with what is wrong and without any value."""
    whence, secret = look_up(name, environment)
    if secret is None:
        raise NotFound(whence.problem, cure=f"Set {name} or {name}_FILE for the node.")
    return secret


def learn(names: Iterable[str], environment: Environment | None = None) -> None:
    """Reads what is there of these, so that it is taken out of everything."""
    for name in names:
        look_up(name, environment)


def _from_file(name: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(SECRET_BYTES_MAX + 1)
        if len(data) > SECRET_BYTES_MAX:
            raise NotFound(
                f"the file that {name}_FILE names ({file}) has more than {SECRET_BYTES_MAX} bytes: "
                "write the secret, and nothing else, into it"
            )
        return data.decode().strip()
    except OSError as error:
        raise NotFound(f"the file that {name}_FILE names cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise NotFound(f"the file that {name}_FILE names is not text") from error
