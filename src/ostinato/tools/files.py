"""The tools for an agent's own files: read, list, search, write, append, edit, delete.

Knows nothing of how a path is opened safely (`safe_files`). Work on disk is done in a thread, so that a slow disk holds
up nobody else.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

from ostinato.domain.errors import Conflict, Exhausted, Invalid, OstinatoError
from ostinato.domain.file_rules import FileRules
from ostinato.domain.step import Effect
from ostinato.domain.values import SECOND
from ostinato.tools.port import AnyTool, Arguments, OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from ostinato.tools.safe_files import READ_BYTES_MAX, FileEntry, SafeFolder

SHOWN_BYTES_MAX = 60_000
"""Of a file's text in one result: below the cap of results, so that the line about the rest fits."""

SEARCHED_FILES_MAX = 2_000
"""Files that one search looks into."""
SEARCHED_BYTES_MAX = 33_554_432
"""Of all files together that one search looks into."""
FOUND_MAX = 100
"""Lines that one search shows."""

LINE_CHARS_MAX = 240
"""Of a line that a search shows."""

Work = Callable[[SafeFolder, ToolContext, Arguments], ToolResult]
Act = Callable[[ToolContext, Arguments], Awaitable[ToolResult]]
PATH = text_schema(least=1)


def in_thread(work: Work, rules: FileRules | None = None) -> Act:
    """An `act` that does `work` in a thread, over the agent's folder; under `rules` instead of the agent's own."""

    async def act(context: ToolContext, arguments: Arguments) -> ToolResult:
        def whole() -> ToolResult:
            with SafeFolder(context.workspace, rules or context.files) as folder:
                return work(folder, context, arguments)

        return await asyncio.to_thread(whole)

    return act


def text_of(data: bytes, path: str) -> str:
    """The text of a file, whatever its encoding: UTF-8 and UTF-16 by their marks, else UTF-8 with bad bytes replaced.

    Raises Conflict for what is no text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:8_192]:
        raise Conflict(f"{path} is not text", cure=f"It has {len(data)} bytes, some of them zero.")
    return data.decode("utf-8-sig", errors="replace")


def shown_lines(text: str, *, first: int = 1, most: int | None = None) -> str:
    """Lines from number `first`, as many as one result holds, with a line that says how to go on."""
    lines = text.splitlines(keepends=True)
    if first > max(len(lines), 1):
        raise Invalid(f"There is no line {first}", cure=f"The last line is {len(lines)}.")
    wanted = lines[first - 1 : None if most is None else first - 1 + most]
    room = SHOWN_BYTES_MAX
    kept: list[str] = []
    for line in wanted:
        size = len(line.encode(errors="replace"))
        if size > room:
            break
        room -= size
        kept.append(line)
    if wanted and not kept:  # one line alone is too long
        start = wanted[0].encode(errors="replace")[:SHOWN_BYTES_MAX].decode(errors="ignore")
        kept = [f"{start} [line cut: {len(wanted[0])} characters]\n"]
    last = first - 1 + len(kept)
    if first == 1 and last == len(lines):
        return "".join(kept)
    more = f"; go on with from: {last + 1}" if last < len(lines) else ""
    ending = "" if not kept or kept[-1].endswith("\n") else "\n"
    return f"{''.join(kept)}{ending}[lines {first} to {last} of {len(lines)}{more}]"


def _read(folder: SafeFolder, _context: ToolContext, arguments: Arguments) -> ToolResult:
    path = arguments["path"]
    data = folder.read(path, most=READ_BYTES_MAX + 1)
    text = shown_lines(
        text_of(data[:READ_BYTES_MAX], path), first=arguments.get("from", 1), most=arguments.get("lines")
    )
    if len(data) > READ_BYTES_MAX:
        text += f"\n[only the first {READ_BYTES_MAX} bytes of the file can be read]"
    return ToolResult(text=text)


def _list(folder: SafeFolder, _context: ToolContext, arguments: Arguments) -> ToolResult:
    most = 1_000
    entries = folder.list(arguments.get("path", "."), recursive=arguments.get("recursive", False), most=most + 1)
    lines = [_line_of(each) for each in entries[:most]]
    if len(entries) > most:
        lines.append(f"[more than {most} entries; list a folder below]")
    return ToolResult(text="\n".join(lines) or "(empty)")


def _line_of(entry: FileEntry) -> str:
    if entry.kind == "folder":
        return f"{entry.path}/"
    if entry.kind == "other":
        return f"{entry.path} (link or device; cannot be opened)"
    changed = datetime.fromtimestamp(entry.modified_at / SECOND, tz=UTC)
    return f"{entry.path} {entry.size_bytes} bytes {changed:%Y-%m-%dT%H:%MZ}"


def _search(folder: SafeFolder, _context: ToolContext, arguments: Arguments) -> ToolResult:
    wanted = arguments["text"].casefold()
    found = list(found_lines(folder, arguments.get("path", "."), lambda line: wanted in line.casefold()))
    return search_result(found)


def search_result(found: list[str]) -> ToolResult:
    """What a search found, told; one line more than `FOUND_MAX` means that there are more."""
    if not found:
        return ToolResult(text="nothing found")
    if len(found) > FOUND_MAX:
        found = [*found[:FOUND_MAX], f"[more than {FOUND_MAX} lines; search for something narrower]"]
    return ToolResult(text="\n".join(found))


def found_lines(folder: SafeFolder, path: str, matches: Callable[[str], bool]) -> Iterator[str]:
    """`path:number: line` for the first lines that match, at most one more than `FOUND_MAX`. No regular expressions:
    one from a model could keep a processor busy for ever."""
    count = 0
    size = 0
    for entry in _files_below(folder, path):
        size += entry.size_bytes
        if size > SEARCHED_BYTES_MAX:
            yield f"[stopped after {SEARCHED_BYTES_MAX} bytes; search in a folder below]"
            return
        try:
            lines = text_of(folder.read(entry.path), entry.path).splitlines()
        except OstinatoError:
            continue  # not text, a link, or gone since it was listed
        for number, line in enumerate(lines, 1):
            if matches(line):
                yield f"{entry.path}:{number}: {line.strip()[:LINE_CHARS_MAX]}"
                count += 1
                if count > FOUND_MAX:
                    return


def _files_below(folder: SafeFolder, path: str) -> list[FileEntry]:
    here = folder.stat(path)
    if here.kind != "folder":
        return [here]
    entries = folder.list(path, recursive=True, most=SEARCHED_FILES_MAX)
    return [each for each in entries if each.kind == "file"]


def _write(folder: SafeFolder, context: ToolContext, arguments: Arguments) -> ToolResult:
    data = arguments["text"].encode()
    folder.write(arguments["path"], data, key=context.key)
    # Not whether the file was there before: a call that is repeated after a death would tell another story.
    return ToolResult(text=f"wrote {arguments['path']}, {len(data)} bytes")


def _append(folder: SafeFolder, context: ToolContext, arguments: Arguments) -> ToolResult:
    data = arguments["text"].encode()
    folder.append(arguments["path"], data, key=context.key, repeated=context.repeated)
    return ToolResult(text=f"added {len(data)} bytes to {arguments['path']}")


def _edit(folder: SafeFolder, context: ToolContext, arguments: Arguments) -> ToolResult:
    path, old, new = arguments["path"], arguments["old"].encode(), arguments["new"].encode()

    def change(data: bytes) -> bytes:
        count = data.count(old)
        if count == 1:
            if len(data) - len(old) + len(new) > READ_BYTES_MAX:
                raise Exhausted(f"{path} would grow beyond {READ_BYTES_MAX} bytes")
            return data.replace(old, new)
        if count == 0 and context.repeated and new in data:
            return data  # an earlier attempt did it, on a disk where files remember nothing
        if count == 0:
            raise Conflict(f"{path} does not hold that text", cure="Read it again; nothing was changed.")
        raise Conflict(f"{path} holds that text {count} times", cure="Give more of what is around it.")

    folder.change(path, change, key=context.key)
    return ToolResult(text=f"changed {path}")


def _delete(folder: SafeFolder, context: ToolContext, arguments: Arguments) -> ToolResult:
    kept = folder.delete(arguments["path"], key=context.key)
    return ToolResult(text=f"deleted {arguments['path']}; a person can bring it back from {kept}")


async def _was_deleted(context: ToolContext, arguments: Arguments) -> bool | None:
    def whole() -> bool:
        with SafeFolder(context.workspace, context.files) as folder:
            return folder.is_deleted(arguments["path"], key=context.key)

    return await asyncio.to_thread(whole)


def _path(arguments: Arguments) -> tuple[str, ...]:
    return (arguments["path"],)


def _folder(arguments: Arguments) -> tuple[str, ...]:
    return (f"{arguments.get('path', '.')}/",)


def file_tools() -> tuple[AnyTool, ...]:
    """`files.read`, `list`, `search`, `write`, `append`, `edit` and `delete`."""
    return (*_reading(), *_changing())


def _reading() -> tuple[AnyTool, ...]:
    number = {"type": "integer", "minimum": 1}
    return (
        OutsideTool(
            name="files.read",
            description="Read a text file of yours, by lines.",
            parameters=object_schema("path", path=PATH, from_=number, lines=number),
            effect=Effect.READ,
            private=True,
            reads=_path,
            act=in_thread(_read),
        ),
        OutsideTool(
            name="files.list",
            description="List a folder of yours.",
            parameters=object_schema(path=PATH, recursive={"type": "boolean"}),
            effect=Effect.READ,
            reads=_folder,
            act=in_thread(_list),
        ),
        OutsideTool(
            name="files.search",
            description="Find lines that hold a text, in any case.",
            parameters=object_schema("text", text=text_schema(least=1), path=PATH),
            effect=Effect.READ,
            private=True,
            reads=_folder,
            act=in_thread(_search),
        ),
    )


def _changing() -> tuple[AnyTool, ...]:
    text = text_schema()
    return (
        OutsideTool(
            name="files.write",
            description="Make or replace a file.",
            parameters=object_schema("path text", path=PATH, text=text),
            effect=Effect.IDEMPOTENT,
            writes=_path,
            act=in_thread(_write),
        ),
        OutsideTool(
            name="files.append",
            description="Add text at the end of a file.",
            parameters=object_schema("path text", path=PATH, text=text_schema(least=1)),
            effect=Effect.IDEMPOTENT,
            writes=_path,
            act=in_thread(_append),
        ),
        OutsideTool(
            name="files.edit",
            description="Replace a text that occurs once in a file.",
            parameters=object_schema("path old new", path=PATH, old=text_schema(least=1), new=text),
            effect=Effect.IDEMPOTENT,
            writes=_path,
            act=in_thread(_edit),
        ),
        OutsideTool(
            name="files.delete",
            description="Move a file to the trash.",
            parameters=object_schema("path", path=PATH),
            effect=Effect.REVERSIBLE,
            writes=_path,
            act=in_thread(_delete),
            probe=_was_deleted,
        ),
    )
