"""TOOLS.md: the only place that grants tools, and what they may touch.

Knows nothing of the tools themselves; whether a name is one, the toolbox says. A file without front matter grants none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ostinato.domain.command import problem_of
from ostinato.domain.step import Effect
from ostinato.domain.values import Value
from ostinato.workspace.agent_file import ABOUT_KEYS
from ostinato.workspace.credentials import parse_credentials
from ostinato.workspace.fields import ID, Fields
from ostinato.workspace.file_text import Finding
from ostinato.workspace.front_matter import Node

TOOLS_KEYS = (
    *ABOUT_KEYS,
    "allow",
    "deny",
    "files",
    "exec",
    "network",
    "recipients",
    "secrets",
    "credentials",
    "mcp",
    "uses",
)
GRANTS: Mapping[str, tuple[str, str]] = {
    "allow": (
        "tools, by name or pattern; a pattern never covers what cannot be undone",
        "no tool but `finish` and `ask`",
    ),
    "deny": ("takes tools out of what is allowed", "nothing is taken out"),
    "files": ("which parts of its folder tools read (`read`) and write (`write`)", "all is read, nothing written"),
    "exec": ("programs that commands may be, their effects, folders, time and hosts", "no command"),
    "network": ("hosts that tools may reach, at public addresses", "no host"),
    "recipients": ("whom messages may reach", "nobody"),
    "secrets": ("secrets that commands and `credentials` may name", "no secret"),
    "credentials": ("headers with secrets in them, for requests to one host", "none"),
    "mcp": ("tools of servers, one by one", "no tool of a server"),
    "uses": ("skills", "no skill"),
}
"""Key -> what it gives, and what holds without it."""
PLACED_KEYS = ("allow", "deny", "files", "exec", "network", "recipients")
"""Keys whose places verdicts name."""
FILES_KEYS = ("read", "write")
EXEC_KEYS = ("commands", "effects", "paths", "timeout", "lasts", "silence", "network")
EXEC_EFFECTS = ("read", "idempotent", "reversible")

EXEC_TIMEOUT_S = 600.0
EXEC_LASTS_S = 3_600.0

_TOOL = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+){0,4}", re.ASCII)
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?", re.ASCII)
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_COMMAND = re.compile(r"[A-Za-z0-9_.+-]{1,100}", re.ASCII)
_SERVER_TOOL = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SERVER = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)


class ExecRules(Value):
    """Which commands an agent may run in its sandbox."""

    commands: tuple[str, ...] = ()
    effects: Mapping[str, Effect] = {}
    """Command, with `*` as last word for any further arguments -> its effect; every other is irreversible."""
    paths: tuple[str, ...] = ()
    """Absolute folders of further programs, which commands may read."""
    timeout_s: float = EXEC_TIMEOUT_S
    lasts_s: float = EXEC_LASTS_S
    """How long what `exec.start` has started may run."""
    silence_s: float | None = None
    """Seconds without output after which a command is ended; None: it may be silent."""
    network: tuple[str, ...] = ()
    """Hosts that commands may reach, by the runtime's proxy; nothing else."""


class ToolsSettings(Value):
    """The settings of TOOLS.md. The defaults are those of a file without any: no tools."""

    allow: tuple[str, ...] = ()
    """Names of tools, or patterns with `*`, which never cover irreversible effects."""
    denied: tuple[str, ...] = ()
    """Names or patterns of tools that it never gets, whatever is allowed."""
    files_read: tuple[str, ...] = (".",)
    files_write: tuple[str, ...] = ()
    exec: ExecRules | None = None
    network: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """Names in the environment, never values."""
    credentials: Mapping[str, Mapping[str, str]] = {}
    """Host -> header -> text with `${{ secrets.NAME }}` in it: what requests to that host get."""
    mcp: Mapping[str, tuple[str, ...]] = {}
    """Server -> its tools."""
    uses: tuple[str, ...] = ()
    """Names of skills."""
    places: Mapping[str, str] = {}
    """Key -> file and line, for verdicts; a key that is missing has the file alone."""

    @property
    def granted(self) -> tuple[str, ...]:
        """Names of all tools, and patterns: also those of servers, as `mcp.<server>.<tool>`, and skills, as
        `skills.<name>`."""
        if not self.mcp and not self.uses:
            return self.allow
        servers = (f"mcp.{server}.{tool}" for server, tools in self.mcp.items() for tool in tools)
        skills = ("skills.read", *(f"skills.{each}" for each in self.uses)) if self.uses else ()
        return tuple(dict.fromkeys((*self.allow, *servers, *skills)))


def parse_tools_settings(node: Node, *, file: str) -> tuple[ToolsSettings, tuple[Finding, ...]]:
    """The settings of TOOLS.md, and what is odd about them."""
    fields = Fields(node, file=file, known=TOOLS_KEYS)
    files = fields.group("files", FILES_KEYS)
    secrets = _secret_names(fields)
    settings = ToolsSettings(
        allow=tool_patterns(fields, "allow"),
        denied=tool_patterns(fields, "deny"),
        files_read=_paths(files, "read") if files and files.has("read") else (".",),
        files_write=_paths(files, "write") if files else (),
        exec=_exec(fields),
        network=declared_hosts(fields),
        recipients=declared_recipients(fields),
        secrets=secrets,
        credentials=parse_credentials(fields, host=_HOST, secrets=secrets),
        mcp=_mcp(fields),
        uses=_matching(fields, "uses", ID, cure="Name folders of skills/, such as [write-letters], one by one."),
        places=_places(fields),
    )
    return settings, tuple(_odd(settings, place=fields.place("allow")))


def _places(fields: Fields) -> dict[str, str]:
    """Where each rule stands; of lists, where each entry does."""
    places = {key: fields.place(key).partition(",")[0] for key in PLACED_KEYS}
    file = places["allow"].rpartition(":")[0]
    for key in ("allow", "deny"):
        entries = fields.node(key).value if fields.has(key) else None
        for each in entries if isinstance(entries, list) else ():
            if each.line:
                places[f"{key} {str(each.value).strip()}"] = f"{file}:{each.line}"
    return places


def _odd(settings: ToolsSettings, *, place: str) -> Iterator[Finding]:
    """What is allowed, and hardly meant."""
    for each in settings.allow:
        if each.startswith("*"):
            yield Finding(
                code="wildcard-tools",
                place=place,
                message=f"{each!r} grants every tool that comes to be",
                cure="Name the tools that the agent needs.",
            )
        elif "*" in each and fnmatchcase("mcp.", f"{each.partition('.')[0]}."):
            yield Finding(
                code="wildcard-tools",
                place=place,
                message=f"{each!r} grants whatever a server comes to offer, as far as its effect is declared",
                cure="Name the tools: mcp: {github: [list_issues]}.",
            )
    if "exec.run" in settings.allow and not (settings.exec and settings.exec.commands):
        yield Finding(
            code="no-commands",
            place=place,
            message="'exec.run' is granted, and no command",
            cure="Name them: exec: {commands: [git, pytest]}.",
        )


def _secret_names(fields: Fields) -> tuple[str, ...]:
    """What is no name may be the secret itself, and is not repeated: errors are shown, stored and logged."""
    found = fields.texts("secrets")
    if not all(map(_SECRET.fullmatch, found)):
        cure = "Name it only; the value stays in the environment."
        raise fields.wrong("secrets", "This is not the name of a secret", cure=cure)
    return found


def _matching(fields: Fields, key: str, pattern: re.Pattern[str], *, cure: str) -> tuple[str, ...]:
    found = fields.texts(key)
    for each in found:
        if not pattern.fullmatch(each):
            raise fields.wrong(key, f"{each[:64]!r} is not understood here", cure=cure)
    return found


def _paths(fields: Fields, key: str) -> tuple[str, ...]:
    found = fields.texts(key)
    for each in found:
        path = PurePosixPath(each)
        if path.is_absolute() or ".." in path.parts or "\\" in each or each.startswith("~") or "\n" in each:
            cure = "Paths are relative to the agent's folder, such as 'notes/'; '.' is all of it."
            raise fields.wrong(key, f"{each[:64]!r} leads out of the agent's folder", cure=cure)
    return found


def _exec(fields: Fields) -> ExecRules | None:
    group = fields.group("exec", EXEC_KEYS)
    if group is None:
        return None
    commands = _matching(group, "commands", _COMMAND, cure="Name programs, such as 'git', without arguments.")
    return ExecRules(
        commands=commands,
        effects=_effects(group, commands),
        paths=_program_folders(group),
        timeout_s=group.duration_s("timeout", EXEC_TIMEOUT_S, least=1.0),
        lasts_s=group.duration_s("lasts", EXEC_LASTS_S, least=1.0),
        silence_s=group.duration_s("silence", 0.0, least=1.0) if group.has("silence") else None,
        network=_command_network(group),
    )


def _command_network(group: Fields) -> tuple[str, ...]:
    """`network: [pypi.org]`; `false` is the same as leaving it out."""
    if not isinstance(group.plain("network"), bool):
        return _matching(group, "network", _HOST, cure="For example 'api.example.com' or '*.example.com'.")
    if group.flag("network", default=False):
        raise group.wrong("network", "Commands have no network as such", cure="Name hosts: network: [api.example.com].")
    return ()


def _effects(group: Fields, commands: tuple[str, ...]) -> dict[str, Effect]:
    """What a person says that commands do: `effects: {read: ["git status", "git log *"]}`."""
    effects = group.group("effects", EXEC_EFFECTS)
    found: dict[str, Effect] = {}
    for name in effects.names() if effects else ():
        for each in effects.texts(name) if effects else ():
            problem = problem_of(each, commands=commands)
            if problem:
                cure = "Write the command with its arguments, such as 'git status'; a last '*' stands for more of them."
                raise group.wrong("effects", f"{each[:64]!r} {problem}", cure=cure)
            found[" ".join(each.split())] = Effect(name)
    return found


def _program_folders(group: Fields) -> tuple[str, ...]:
    found = group.texts("paths")
    for each in found:
        path = PurePosixPath(each)
        if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/") or ":" in each:
            cure = "Write the whole path of a folder that holds programs, such as '/opt/tools'."
            raise group.wrong("paths", f"{each[:64]!r} is not such a folder", cure=cure)
    return found


def tool_patterns(fields: Fields, key: str) -> tuple[str, ...]:
    """Names of tools, or patterns with `*`."""
    return _matching(fields, key, _TOOL, cure="For example 'files.read' or 'memory.*'.")


def declared_hosts(fields: Fields) -> tuple[str, ...]:
    """What `network` declares."""
    return _matching(fields, "network", _HOST, cure="For example 'api.example.com' or '*.example.com'.")


def declared_recipients(fields: Fields) -> tuple[str, ...]:
    """What `recipients` declares."""
    found = fields.texts("recipients")
    for each in found:
        is_one = each == "operator" or (":" in each.strip(":") and not re.search(r"\s", each))
        if not is_one or len(each) > 320 or each.strip("*:") == "":
            cure = "Write 'operator', or channel and address, such as 'mail:ann@example.com' or 'slack:#updates'."
            raise fields.wrong("recipients", f"{each[:64]!r} is not a recipient", cure=cure)
    return found


def _mcp(fields: Fields) -> dict[str, tuple[str, ...]]:
    group = fields.group("mcp", ())
    if group is None:
        return {}
    servers = {}
    for name in group.names():
        if not _SERVER.fullmatch(name):
            raise group.wrong(name, f"{name[:64]!r} is not the name of a server", cure="Use letters, digits and '-'.")
        servers[name] = _matching(group, name, _SERVER_TOOL, cure="Name its tools one by one, such as [list_issues].")
    return servers
