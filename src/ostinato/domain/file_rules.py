"""Files that an agent may read and write, and paths as it names them: what is one, and which are never its own.

Pure: nothing here touches a disk. That a path cannot lead out of its folder is the business of `safe_files`.
"""

from __future__ import annotations

import unicodedata

from ostinato.domain.errors import Denied, Invalid
from ostinato.domain.values import Value

Parts = tuple[str, ...]
"""A path's names, without `.` and empty ones; the root is `()`."""

PATH_BYTES_MAX = 1_024
"""Of one path."""
NAME_BYTES_MAX = 255  # NAME_MAX of Linux and its file systems
"""Of one name in a path."""
PARTS_MAX = 32
"""Names in one path."""

OWN_PREFIX = ".ostinato"
"""Temporary files and the trash of the runtime begin with this."""

HIDDEN = frozenset({".git", ".env", ".mcp.json", OWN_PREFIX})
"""Neither read nor written nor listed: histories, secrets and state of the runtime."""

LEASH = frozenset(
    f"{name}.md" for name in ("soul", "agents", "heartbeat", "tools", "user", "identity")
) | {"heartbeats", "ostinato.toml"}  # fmt: skip
"""Read, but never written: who an agent is and what it may do is not for the agent to say."""


AUTORUN = frozenset({
    ".claude", ".codex", ".cursor", ".devcontainer", ".envrc", ".exrc", ".gemini", ".husky", ".idea", ".mise.toml",
    ".nvim.lua", ".vscode", ".zed",
})  # fmt: skip
"""Read, but written only where `files.write` names it: what makes an editor, a shell or a coding agent run something
when a person next opens that folder."""


class FileRules(Value):
    """Which parts of its workspace an agent may read and write: prefixes such as `.`, `notes/`, `out/report.md`."""

    read: tuple[str, ...] = (".",)
    write: tuple[str, ...] = ()


def parts_of(path: str) -> Parts:
    """The names of a relative path; raises Invalid for whatever is none."""
    problem = _problem(path)
    if problem:
        raise Invalid(f"{_shown(path)} {problem}", cure="Use a path within your folder, such as notes/today.md.")
    return tuple(each for each in path.split("/") if each not in ("", "."))


def shown(parts: Parts) -> str:
    """The path as it is told to people and models."""
    return "/".join(parts) or "."


def check_read(parts: Parts, rules: FileRules) -> None:
    """Raises Denied where the agent may not read this."""
    if is_hidden(parts):
        raise Denied(f"{shown(parts)} is not for agents")
    if not covers(rules.read, parts):
        raise Denied(f"{shown(parts)} is outside what you may read: {_listed(rules.read)}")


def check_write(parts: Parts, rules: FileRules) -> None:
    """Raises Denied where the agent may not write this."""
    if not parts:
        raise Denied("The folder itself cannot be written")
    if is_hidden(parts) or any(_plain_name(each) in LEASH for each in parts):
        raise Denied(f"{shown(parts)} is protected: no tool writes it", cure="Ask a person to change it.")
    if not covers(rules.write, parts):
        raise Denied(f"{shown(parts)} is outside what you may write: {_listed(rules.write)}")
    named = max((len(prefix) for prefix in map(_prefix, rules.write) if parts[: len(prefix)] == prefix), default=0)
    if any(_plain_name(each) in AUTORUN for each in parts[named:]):
        what = f"{shown(parts)} makes other programs run something"
        raise Denied(what, cure="Ask a person to name it in TOOLS.md, files.write.")


def autorun_granted(rules: FileRules) -> frozenset[str]:
    """Names at the top of the workspace that make other programs run something, and that may be written whole."""
    return frozenset(prefix[0] for prefix in map(_prefix, rules.write) if len(prefix) == 1 and prefix[0] in AUTORUN)


def may_list(parts: Parts, rules: FileRules) -> bool:
    """True where a listing may show this: it can be read, or something below it can."""
    if is_hidden(parts):
        return False
    return covers(rules.read, parts) or any(_prefix(each)[: len(parts)] == parts for each in rules.read)


def is_hidden(parts: Parts) -> bool:
    """True for names that no agent sees, in any spelling that a file system may take for the same."""
    names = [_plain_name(each) for each in parts]
    return any(name in HIDDEN or name.startswith((f"{OWN_PREFIX}-", ".env.")) for name in names)


def covers(prefixes: tuple[str, ...], parts: Parts) -> bool:
    """True where a prefix is this path or a folder above it."""
    return any(parts[: len(prefix)] == prefix for prefix in map(_prefix, prefixes))


def _prefix(text: str) -> Parts:
    return tuple(each for each in text.split("/") if each not in ("", "."))


def _plain_name(name: str) -> str:
    """One spelling for all that some file system takes for the same: case, compatibility forms, marks without width,
    dots and spaces at the end."""
    visible = "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf")
    return unicodedata.normalize("NFKC", visible.casefold()).rstrip(". ")


def _problem(path: str) -> str:
    if not path.strip():
        return "is no path"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "holds half a surrogate pair"
    names = path.split("/")
    if size > PATH_BYTES_MAX or len(names) > PARTS_MAX or any(len(each.encode()) > NAME_BYTES_MAX for each in names):
        return f"is too long (at most {PATH_BYTES_MAX} bytes, {PARTS_MAX} names of {NAME_BYTES_MAX})"
    if any(unicodedata.category(each) == "Cc" for each in path):
        return "holds control characters"
    if "\\" in path:
        return "holds a backslash; names are parted by /"
    if path.startswith(("/", "~")):
        return "is not relative to your folder"
    if ".." in (each.strip() for each in names):
        return "leads upwards with .."
    return ""


def _listed(prefixes: tuple[str, ...]) -> str:
    return ", ".join(prefixes) or "nothing"


def _shown(path: str) -> str:
    text = ascii(path[:80])
    return text if len(path) <= 80 else f"{text}..."
