"""`[mcp.NAME]` of ostinato.toml: the servers whose tools agents may be granted.

Knows nothing of the protocol; the composition root hands each entry to the room that speaks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from ostinato.domain.step import Effect
from ostinato.domain.values import Value
from ostinato.workspace.fields import Fields
from ostinato.workspace.tools_file import declared_hosts

MCP_KEYS = (
    *("command", "args", "folder", "reads", "env", "network", "url", "token_env"),
    *("effects", "start_timeout", "timeout"),
)
MCP_EFFECTS = ("read", "idempotent", "reversible")
SERVERS_MAX = 32
START_S, TIMEOUT_S = 30.0, 60.0

SERVER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_URL = re.compile(r"https?://[^\s/@?#]+(/[^\s#]*)?", re.ASCII)
_PROGRAM = re.compile(r"[A-Za-z0-9_.+-]{1,100}", re.ASCII)
_CLOSED = (".ostinato", "agents", "tools", "skills", "workflows", "inbox", "tasks", ".git")
_ONLY_COMMANDS, _ONLY_URLS = ("args", "folder", "reads", "env", "network"), ("token_env",)


class McpEntry(Value):
    """One server; the fields are those that the room of servers has."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    folder: str = ""
    reads: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    url: str = ""
    token_env: str = ""
    effects: Mapping[str, Effect] = {}
    start_s: float = START_S
    timeout_s: float = TIMEOUT_S


def parse_mcp(root: Fields) -> dict[str, McpEntry]:
    """Every server of the fleet's file, by name. Raises Invalid with file, line and key."""
    group = root.group("mcp", ())
    if group is None:
        return {}
    found = {}
    for name in group.names():
        if not SERVER.fullmatch(name):
            raise group.wrong(name, f"{name[:64]!r} cannot be the name of a server", cure="For example [mcp.github].")
        fields = group.group(name, MCP_KEYS)
        if fields is not None:
            found[name] = _entry(name, fields)
    if len(found) > SERVERS_MAX:
        raise group.wrong("", f"More than {SERVERS_MAX} servers", cure="Leave out those that nobody uses.")
    return found


def _entry(name: str, fields: Fields) -> McpEntry:
    command, url = fields.text("command"), fields.text("url")
    if bool(command) is bool(url):
        raise fields.wrong("", "A server has either a command or a URL", cure='For example command = "node".')
    for key in _ONLY_URLS if command else _ONLY_COMMANDS:
        if fields.has(key):
            raise fields.wrong(
                key, f"Only a server with a {'URL' if command else 'command'} has this", cure="Leave it out."
            )
    if command and not _PROGRAM.fullmatch(command):
        raise fields.wrong(
            "command",
            f"{command[:64]!r} is not the name of a program",
            cure='Name it, such as "node"; arguments go into args.',
        )
    if url and not _URL.fullmatch(url):
        raise fields.wrong("url", f"{url[:64]!r} is not the URL of a server", cure="Keys go into token_env, by name.")
    return McpEntry(
        name=name,
        command=command,
        args=fields.texts("args"),
        folder=_folder(fields),
        reads=_reads(fields),
        env=_names(fields, "env"),
        network=declared_hosts(fields),
        url=url,
        token_env=next(iter(_names(fields, "token_env")), ""),
        effects=_effects(fields),
        start_s=fields.duration_s("start_timeout", START_S, least=1.0),
        timeout_s=fields.duration_s("timeout", TIMEOUT_S, least=1.0),
    )


def _names(fields: Fields, key: str) -> tuple[str, ...]:
    found = fields.texts(key)
    for each in found:
        if not _ENVIRONMENT.fullmatch(each):
            cure = "Name a variable of the node's environment; its value stays there."
            raise fields.wrong(key, "This is not the name of an environment variable", cure=cure)
    return found


def _folder(fields: Fields) -> str:
    text = fields.text("folder")
    path = PurePosixPath(text)
    if not text:
        return ""
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] in _CLOSED:
        cure = 'Name a folder of the fleet that is nobody else\'s, such as folder = "shared".'
        raise fields.wrong("folder", f"{text[:64]!r} cannot be a server's folder", cure=cure)
    return str(path)


def _reads(fields: Fields) -> tuple[str, ...]:
    found = fields.texts("reads")
    for each in found:
        path = PurePosixPath(each)
        if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/") or ":" in each:
            cure = "Write the whole path of a folder that holds programs, such as '/opt/mcp'."
            raise fields.wrong("reads", f"{each[:64]!r} is not such a folder", cure=cure)
    return found


def _effects(fields: Fields) -> dict[str, Effect]:
    """What a person says that tools do: `effects = {read = ["list_issues"]}`."""
    group = fields.group("effects", MCP_EFFECTS)
    found: dict[str, Effect] = {}
    for effect in group.names() if group else ():
        for tool in group.texts(effect) if group else ():
            if tool in found and group is not None:
                raise group.wrong(effect, f"{tool[:64]!r} has two effects", cure="Name it once.")
            found[tool] = Effect(effect)
    return found
