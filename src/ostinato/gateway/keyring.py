"""Where a person's own token lies on this machine: a file of theirs, outside of every fleet's folder.

The folder is `ostinato/tokens` in the person's configuration directory; each file is named after the fleet's id, which
stands in the fleet's state directory, so that a fleet may be moved. Knows nothing of stores or roles.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ostinato.domain.errors import Denied, Invalid
from ostinato.domain.person import TOKEN_MARK
from ostinato.domain.values import Value

ID_FILE = "id"
"""In the state directory: 32 hexadecimal digits."""

TOKEN_VARIABLE = "OSTINATO_TOKEN"
"""Holds a token, or with `_FILE` behind its name the path of a file that does. It goes before the keyring."""

FILE_BYTES_MAX = 4_096


class Held(Value):
    """A token as its person keeps it. `fleet` and `person` are there for people who look into the file."""

    fleet: str
    person: str
    token: str


def new_token() -> str:
    """32 random bytes as text."""
    return TOKEN_MARK + secrets.token_urlsafe(32)


def fleet_id(state_dir: Path, *, make: bool = False) -> str | None:
    """The fleet's id, made where it is missing and `make` says so; None where there is none."""
    path = state_dir / ID_FILE
    with contextlib.suppress(FileNotFoundError):
        found = path.read_text(encoding="ascii", errors="replace").strip()
        if len(found) == 32 and found.isalnum():
            return found
    if not make:
        return None
    made = secrets.token_hex(16)
    _write(path, made + "\n")
    return made


def held(state_dir: Path, *, environment: Mapping[str, str] = os.environ) -> str | None:
    """The caller's own token for the fleet with this state directory; None where they have none. Denied where others
    can read its file."""
    if named := environment.get(TOKEN_VARIABLE, "").strip():
        return named
    if file := environment.get(f"{TOKEN_VARIABLE}_FILE", "").strip():
        return _text(Path(file)).strip()
    known = fleet_id(state_dir)
    if known is None:
        return None
    path = folder(environment) / f"{known}.json"
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(_text(path), type=Held).token
    except msgspec.DecodeError as error:
        raise Invalid(f"This is no token: {error}", place=str(path), cure="Put it back: ostinato tokens use") from None


def keep(state_dir: Path, person: str, token: str, *, environment: Mapping[str, str] = os.environ) -> Path:
    """Writes the caller's token, mode 0600; returns where. Invalid where that lies within the fleet, or cannot be
    written."""
    fleet = state_dir.parent.resolve()
    place = folder(environment)
    if place.resolve().is_relative_to(fleet):
        raise Invalid(
            "A token is kept outside of the fleet's folder",
            place=str(place),
            cure="Set XDG_CONFIG_HOME to a folder that no agent can reach.",
        )
    known = fleet_id(state_dir, make=True)
    path = place / f"{known}.json"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, msgspec.json.encode(Held(fleet=str(fleet), person=person, token=token)).decode() + "\n")
    except OSError as error:
        cure = "Make it writable for you, or set XDG_CONFIG_HOME."
        raise Invalid(f"The token cannot be written: {error.strerror}", place=str(path), cure=cure) from error
    return path


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The person's keyring. Raises Invalid where they have no home."""
    named = environment.get("XDG_CONFIG_HOME", "")
    if named.startswith("/"):  # anything else is to be ignored, says its standard
        return Path(named) / "ostinato" / "tokens"
    try:
        return Path.home() / ".config" / "ostinato" / "tokens"
    except RuntimeError:
        raise Invalid("There is no home directory to keep a token in", cure="Set HOME or XDG_CONFIG_HOME.") from None


def _text(path: Path) -> str:
    """A file that nobody else can read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise Denied(f"Others can read this token (mode {mode:o})", place=str(path), cure=f"chmod 600 {path}")
            return opened.read(FILE_BYTES_MAX)
    except OSError as error:
        raise Invalid(f"The token cannot be read: {error.strerror}", place=str(path), cure="Is it yours?") from error


def _write(path: Path, text: str) -> None:
    """The whole file or none of it, for its owner alone."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.rename(aside, path)
    except BaseException:  # whatever it was: no half of a file stays behind
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
        raise
