"""Skills: folders of instructions in the open SKILL.md form, listed in the prompts of those that are granted them, and
read on demand.

A skill is taken as it was first seen. When any of its files changes, it is withheld until a person has accepted it as
it is; what agents read is what was accepted, from memory, never what the disk says by then. Granted as `skills.<name>`.
Knows nothing of prompts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ostinato.domain.errors import OstinatoError, unknown_name
from ostinato.domain.event import Event, EventName
from ostinato.domain.file_rules import FileRules
from ostinato.domain.pin import PIN_TEXT_MAX, Pin
from ostinato.domain.step import Effect
from ostinato.domain.values import Instant, Value, digest_of, to_json
from ostinato.store.port import Store, Tx
from ostinato.tools.port import (
    Arguments,
    CallReport,
    OutsideTool,
    ToolContext,
    ToolResult,
    failed,
    object_schema,
    text_schema,
)
from ostinato.tools.safe_files import SafeFolder
from ostinato.tools.toolbox import Toolbox

FOLDER = "skills"
FAMILY = "skills"
READ_TOOL = "skills.read"
MAIN_FILE = "SKILL.md"

SKILLS_MAX = 200
"""Skills of a fleet."""
FILES_MAX = 64
"""Files of one skill."""
SKILL_BYTES_MAX = 61_440
"""Bytes of all files of a skill: whoever accepts it is shown every one of them."""

HEAD_CHARS_MAX = 8_192
"""Characters of the front matter."""

DESCRIPTION_CHARS_MAX = 300
"""How much of a description a prompt shows."""

LOOK_S = 1.0
"""How often the folder is looked at."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_HEAD = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)


class Skill(Value):
    """A skill as it was read."""

    name: str
    description: str
    files: dict[str, str]
    """Path -> text."""
    digest: str
    text: str
    """All that it says, for people who accept it."""


class SkillFinding(Value):
    """Something wrong with a skill."""

    place: str
    message: str


class Skills:
    """The skills of one fleet. A service polls."""

    def __init__(
        self,
        fleet: Path,
        *,
        toolbox: Toolbox,
        store: Store,
        now: Callable[[], Instant],
        say: Callable[[str, str], None],
    ) -> None:
        self._folder = fleet / FOLDER
        self._toolbox = toolbox
        self._store = store
        self._now = now
        self._say = say
        self._stamp: tuple[object, ...] = ()
        self._skills: dict[str, Skill] = {}
        self._withheld: dict[str, str] = {}
        self._accepted = False
        self.findings: tuple[SkillFinding, ...] = ()

    def hear(self, events: Sequence[Event]) -> bool:
        """What a commit announced; True where a person has accepted one."""
        names = (str(each.data.get("pin", "")) for each in events if each.name is EventName.PIN_ACCEPTED)
        found = any(name.startswith(f"{FAMILY}.") for name in names)
        self._accepted = self._accepted or found
        return found

    def listed(self, granted: Sequence[str]) -> str:
        """What a prompt says of the skills among these grants; empty where there is none."""
        lines = [
            f"- {each.name}: {each.description}" for each in self._skills.values() if f"{FAMILY}.{each.name}" in granted
        ]
        if not lines:
            return ""
        return "\n".join((f"# Skills\nRead one with `{READ_TOOL}` before you do what it is for.", *lines))

    async def look(self, *, again: bool = False) -> None:
        """Takes what has changed."""
        stamp = await asyncio.to_thread(_stamp_of, self._folder) if self._folder.is_dir() else ()
        if stamp == self._stamp and not again:
            return
        found, self.findings = await asyncio.to_thread(read_skills, self._folder)
        now = self._now()

        def see(tx: Tx) -> list[Pin]:
            return [tx.see_pin(f"{FAMILY}.{e.name}", digest=e.digest, text=e.text, now=now) for e in found]

        pins = await self._store.run(see) if found else []
        held = {each.name for each in pins if each.is_withheld}
        self._skills = {each.name: each for each in found if f"{FAMILY}.{each.name}" not in held}
        self._withheld = {
            each.removeprefix(f"{FAMILY}."): f"it has changed since it was accepted; a person looks at it with: "
            f"ostinato pins show {each}"
            for each in held
        }
        self._toolbox.put_family(FAMILY, (self._tool(),) if self._skills or self._withheld else ())
        self._stamp = stamp
        for finding in self.findings:
            self._say("error", f"{finding.place}: {finding.message}")

    async def poll(self) -> float:
        """One look; seconds until the next."""
        again, self._accepted = self._accepted, False
        try:
            await self.look(again=again)
        except BaseException:  # whatever it was: what a person has accepted is not forgotten
            self._accepted = self._accepted or again
            raise
        return LOOK_S

    def _tool(self) -> OutsideTool:
        return OutsideTool(
            name=READ_TOOL,
            description="Read a skill that you are granted, or a file beside it.",
            parameters=object_schema("skill", skill=text_schema(least=1, most=63), file=text_schema(least=1, most=255)),
            effect=Effect.READ,
            act=self._read,
            report=_report,
        )

    async def _read(self, context: ToolContext, arguments: Arguments) -> ToolResult:
        name, file = arguments["skill"], arguments.get("file", MAIN_FILE)
        skill = self._skills.get(name)
        if skill is None:
            return failed(f"The skill {name!r} cannot be read: {self._withheld.get(name, 'there is none')}")
        if file not in skill.files:
            return failed(f"{unknown_name('file', file, skill.files)} Files: {', '.join(sorted(skill.files))}")
        others = sorted(set(skill.files) - {MAIN_FILE})
        more = f"\n\n[files beside it: {', '.join(others)}]" if others and file == MAIN_FILE else ""
        return ToolResult(text=f"{skill.files[file]}{more}")


def _report(context: ToolContext, arguments: Arguments) -> CallReport:
    """Whether the agent is granted the skill, by its name and not by a pattern."""
    name = str(arguments["skill"])
    granted = f"{FAMILY}.{name}" in (context.policy.tools or ())
    refusal = "" if granted else f"the skill {name[:64]!r} is not granted (TOOLS.md, uses)"
    return CallReport(effect=Effect.READ, refusal=refusal)


def read_skills(folder: Path) -> tuple[tuple[Skill, ...], tuple[SkillFinding, ...]]:
    """All skills of a folder by name, and what is wrong with the others."""
    skills, findings = list[Skill](), list[SkillFinding]()
    for name in _names(folder)[:SKILLS_MAX]:
        try:
            skills.append(read_skill(folder, name))
        except (OstinatoError, OSError, ValueError) as error:
            place = f"{FOLDER}/{name}/{MAIN_FILE}"
            findings.append(SkillFinding(place=place, message=" ".join(str(error).split())[:300]))
    return tuple(skills), tuple(findings)


def read_skill(folder: Path, name: str) -> Skill:
    """One skill. Raises ValueError, OSError or an OstinatoError where it is none."""
    if not NAME.fullmatch(name):
        raise ValueError("a skill is named by small letters, digits and '-'")
    files, size = dict[str, str](), 0
    with SafeFolder(folder / name, FileRules(read=(".",))) as opened:
        for entry in opened.list(".", recursive=True, most=FILES_MAX + 1):
            if entry.kind == "folder":
                continue
            data = opened.read(entry.path, most=SKILL_BYTES_MAX + 1)
            size += len(data)
            if len(files) >= FILES_MAX or size > SKILL_BYTES_MAX:
                raise ValueError(f"it has more than {FILES_MAX} files or {SKILL_BYTES_MAX} bytes")
            files[entry.path] = data.decode(errors="replace")
    if MAIN_FILE not in files:
        raise ValueError("it is missing")
    settings = _head_of(files[MAIN_FILE])
    if settings.get("name", name) != name:
        raise ValueError(f"it calls itself {str(settings.get('name'))[:64]!r}, and its folder {name!r}")
    description = " ".join(str(settings.get("description", "")).split())
    if not description:
        raise ValueError("its front matter has no description")
    digests = {path: digest_of(text.encode()) for path, text in sorted(files.items())}
    shown = "\n\n".join(f"## {path} ({digests[path][:12]})\n{text}" for path, text in sorted(files.items()))
    if len(shown) > PIN_TEXT_MAX:
        raise ValueError(f"it has more than {SKILL_BYTES_MAX} bytes")
    return Skill(
        name=name,
        description=description[:DESCRIPTION_CHARS_MAX],
        files=files,
        digest=digest_of(to_json(digests)),
        text=shown,
    )


def _head_of(text: str) -> Mapping[str, object]:
    """The front matter of a SKILL.md: YAML of whatever keys, of which two matter here."""
    found = _HEAD.match(text)
    if found is None or len(found[1]) > HEAD_CHARS_MAX:
        raise ValueError("it does not begin with front matter that says its name and description")
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that stands twice is its author's matter
            settings = YAML(typ="safe", pure=True).load(found[1])
    except YAMLError as error:
        raise ValueError(f"its front matter is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(settings, dict):
        raise ValueError("its front matter has no keys")
    return settings


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _stamp_of(folder: Path) -> tuple[object, ...]:
    """Path, inode, size and time of change of what lies in the folders of skills; bounded."""
    found: list[object] = []
    for name in _names(folder)[:SKILLS_MAX]:
        pending = [folder / name]
        while pending and len(found) < SKILLS_MAX * FILES_MAX:
            # Whoever goes while this looks is missing the next time, too.
            with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
                for each in entries:
                    stat = each.stat(follow_symlinks=False)
                    found.append((each.path, stat.st_ino, stat.st_size, stat.st_mtime_ns))
                    if each.is_dir(follow_symlinks=False):
                        pending.append(Path(each.path))
    return tuple(sorted(map(str, found)))
