"""The reference of the command line as Markdown, written from the commands themselves.

Knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from ostinato.cli.application import GROUPS, application


def reference() -> str:
    """Every command: how it is written, what it does, an example, its options."""
    root: Any = typer.main.get_command(application())
    parts: list[str] = []
    for name, command in root.commands.items():
        if name in GROUPS:
            parts.append(f"## {name}\n\n{command.help}")
            parts += [_command(f"{name} {each}", inner) for each, inner in command.commands.items()]
        else:
            parts.append(_command(name, command))
    return "\n\n".join(parts)


def _command(name: str, command: Any) -> str:
    arguments = " ".join(each.metavar.strip("[]") for each in command.params if each.param_type_name == "argument")
    text, _, example = command.help.partition("\b\nExample:\n")
    lines = [f"### ostinato {name}", f"`ostinato {name} {arguments}`".replace(" `", "`"), text.strip()]
    if example:
        lines.append(f"```console\n$ {example.strip()}\n```")
    options = list(_options(command))
    if options:
        rows = "\n".join(f"| {option} | {text} |" for option, text in options)
        lines.append(f"| Option | Meaning |\n|---|---|\n{rows}")
    return "\n\n".join(lines)


def _options(command: Any) -> Iterator[tuple[str, str]]:
    for each in command.params:
        if each.param_type_name != "option" or "--help" in each.opts:
            continue
        value = "" if each.is_flag else f" {each.metavar or each.name.upper()}"
        names = ", ".join(f"`{option}{value}`" for option in each.opts)
        plain = each.default not in (None, False, "", []) and not callable(each.default)
        default = f" Default: `{each.default}`." if plain else ""
        yield names, f"{each.help or ''}{default}".replace("|", "\\|")
