"""Makes a fleet, or one more agent, out of templates: plain files with a few words filled in.

Knows nothing of what the files mean, beside that what it writes must load. Nothing is ever overwritten.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ostinato.domain.errors import Conflict, Invalid, NotFound, unknown_name
from ostinato.domain.instant import zone_named
from ostinato.workspace.agent_file import SKILL, check_agent_id
from ostinato.workspace.fleet_file import FLEET_FILE

TEMPLATES_FOLDER = Path(__file__).parent / "templates"

TEMPLATES: dict[str, str] = {"worker": "One agent with an inbox and a heartbeat, and a scripted model: runs offline."}
"""Templates of whole fleets, with a sentence about each."""

DEFAULT_TEMPLATE = "worker"

TEXT_MAX = 500
NAME_MAX = 100


def init_fleet(
    folder: Path, *, template: str = DEFAULT_TEMPLATE, name: str | None = None, timezone: str = "UTC"
) -> list[str]:
    """Writes a new fleet into `folder`, which may exist; returns the files' paths within it.

    Raises NotFound for an unknown template, Conflict where a fleet or one of the files is there already, Invalid for a
    name that cannot be one and for a folder that cannot be written.
    """
    if template not in TEMPLATES:
        raise NotFound(unknown_name("template", template[:NAME_MAX], TEMPLATES))
    zone_named(timezone)
    name = " ".join((name or os.path.basename(os.path.realpath(folder)) or "fleet").split())
    if not name.isprintable() or len(name) > NAME_MAX:
        raise Invalid("The fleet's name is too long or has odd characters", cure=f"At most {NAME_MAX} characters.")
    if os.path.lexists(folder / FLEET_FILE):
        raise Conflict(f"There is a fleet in {folder} already", cure="Choose another folder, or go on with this one.")
    words = {"NAME": name, "NAME_QUOTED": _quoted(name), "TIMEZONE_QUOTED": _quoted(timezone)}
    return _write(folder, _filled(TEMPLATES_FOLDER / template, words))


def add_agent(fleet: Path, agent: str, *, purpose: str = "", skills: Sequence[str] = ()) -> list[str]:
    """Writes a new agent's folder, secure by default; returns the files' paths within the fleet.

    Raises Conflict where the agent exists, Invalid for an id or skill that cannot be one, NotFound without a fleet.
    """
    check_agent_id(agent)
    if not os.path.lexists(fleet / FLEET_FILE):
        raise NotFound(f"There is no {FLEET_FILE} in {fleet}", cure="Make a fleet with: ostinato init")
    if os.path.lexists(fleet / "agents" / agent):
        raise Conflict(f"The agent {agent!r} exists already", cure="Choose another name, or edit its files.")
    for each in skills:
        if not SKILL.fullmatch(each):
            raise Invalid(f"{each[:64]!r} is not a skill", cure="Use letters, digits, '-', '_', '.' and '+'.")
    purpose = " ".join("".join(each if each.isprintable() else " " for each in purpose).split())[:TEXT_MAX]
    purpose = purpose or f"You are the {agent} of this fleet. Say here who you are and what you stand for."
    words = {
        "AGENT": agent,
        "TITLE": agent.replace("-", " ").capitalize(),
        "PURPOSE": purpose,
        "PURPOSE_QUOTED": _quoted(purpose),
        "SKILLS": json.dumps(list(skills), ensure_ascii=False),
    }
    files = _filled(TEMPLATES_FOLDER / "agent", words)
    return _write(fleet, {f"agents/{agent}/{name}": text for name, text in files.items()})


def _quoted(text: str) -> str:
    """The text in double quotes, as JSON, YAML and TOML all read it."""
    return json.dumps(text, ensure_ascii=False)


def _filled(template: Path, words: Mapping[str, str]) -> dict[str, str]:
    """Path -> text. `dot-` at the beginning of a name stands for a dot, so that the template itself is no such file."""
    files = {}
    for path in sorted(each for each in template.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
        relative = path.relative_to(template)
        name = (relative.parent / re.sub(r"^dot-", ".", relative.name)).as_posix()
        text = path.read_text(encoding="utf-8")
        files[name] = re.sub(r"@([A-Z_]+)@", lambda found: words.get(found[1], found[0]), text)
    return files


def _write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """All of them or, as far as one can look ahead, none."""
    taken = [name for name in files if os.path.lexists(folder / name)]
    if taken:
        raise Conflict(f"{', '.join(taken[:5])} would be overwritten in {folder}", cure="Choose another folder.")
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        place = str(error.filename or folder)
        raise Invalid(f"It cannot be written: {error.strerror}", place=place, cure="Choose another folder.") from None
    return list(files)
