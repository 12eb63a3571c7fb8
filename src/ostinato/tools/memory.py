"""The tools for what an agent remembers: MEMORY.md, which it curates, and the daily notes in memory/.

They need no entry among an agent's files: having the tool is the permission. Knows nothing of what the runtime itself
writes into a daily note, beside that both only add at its end.
"""

from __future__ import annotations

from itertools import islice

from ostinato.domain.errors import Exhausted, Invalid, NotFound
from ostinato.domain.file_rules import FileRules
from ostinato.domain.instant import local, zone_named
from ostinato.domain.step import Effect
from ostinato.tools.files import FOUND_MAX, found_lines, in_thread, search_result, shown_lines, text_of
from ostinato.tools.port import AnyTool, Arguments, OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from ostinato.tools.safe_files import SafeFolder

MEMORY_FILE = "MEMORY.md"
NOTES_FOLDER = "memory"
TODAY = "<today>"
"""Stands for the agent's own day in the name of the note that a call writes."""

MEMORY_BYTES_MAX = 12_000
"""Of MEMORY.md, which is part of every prompt: about 3,000 tokens."""

NOTE_CHARS_MAX = 4_000
"""Of one entry of a daily note."""

_READ = FileRules(read=(MEMORY_FILE, NOTES_FOLDER))
_NOTE = FileRules(read=(NOTES_FOLDER,), write=(NOTES_FOLDER,))
_CURATE = FileRules(read=(MEMORY_FILE,), write=(MEMORY_FILE,))


def _read(folder: SafeFolder, _context: ToolContext, arguments: Arguments) -> ToolResult:
    day = arguments.get("day")
    path = MEMORY_FILE if day is None else f"{NOTES_FOLDER}/{day}.md"
    try:
        return ToolResult(text=shown_lines(text_of(folder.read(path), path)) or "(empty)")
    except NotFound:
        return ToolResult(text="(nothing yet)")


def _search(folder: SafeFolder, _context: ToolContext, arguments: Arguments) -> ToolResult:
    words = arguments["text"].casefold().split()

    def matches(line: str) -> bool:
        folded = line.casefold()
        return all(word in folded for word in words)

    found = [line for path in _paths(folder) for line in islice(found_lines(folder, path, matches), FOUND_MAX + 1)]
    return search_result(found)


def _paths(folder: SafeFolder) -> list[str]:
    """MEMORY.md, then the notes, the newest first."""
    try:
        notes = [each.path for each in folder.list(NOTES_FOLDER) if each.kind == "file"]
    except NotFound:
        notes = []
    try:
        folder.stat(MEMORY_FILE)
    except NotFound:
        return notes[::-1]
    return [MEMORY_FILE, *notes[::-1]]


def _note(folder: SafeFolder, context: ToolContext, arguments: Arguments) -> ToolResult:
    here = local(context.now, zone_named(context.timezone))
    text = "\n  ".join(line.strip() for line in arguments["text"].splitlines() if line.strip())
    if not text:
        raise Invalid("The note is empty")
    line = f"- {here:%H:%M} {text} (T{context.task})\n"
    path = f"{NOTES_FOLDER}/{here:%Y-%m-%d}.md"
    head = f"# {here:%Y-%m-%d}\n\n"
    folder.append(path, line.encode(), key=context.key, head=head.encode(), line=True, repeated=context.repeated)
    return ToolResult(text=f"noted in {path}")


def _curate(folder: SafeFolder, context: ToolContext, arguments: Arguments) -> ToolResult:
    data = arguments["text"].encode()
    if len(data) > MEMORY_BYTES_MAX:
        raise Exhausted(
            f"{len(data)} bytes are too many: {MEMORY_FILE} holds {MEMORY_BYTES_MAX}",
            cure="Keep what your next turns need, and leave the rest in the daily notes.",
        )
    folder.write(MEMORY_FILE, data, key=context.key)
    return ToolResult(text=f"{MEMORY_FILE} has {len(data)} of {MEMORY_BYTES_MAX} bytes now")


def _memory(_arguments: Arguments) -> tuple[str, ...]:
    return (MEMORY_FILE,)


def _notes(_arguments: Arguments) -> tuple[str, ...]:
    return (f"{NOTES_FOLDER}/",)


def _note_of_today(_arguments: Arguments) -> tuple[str, ...]:
    return (f"{NOTES_FOLDER}/{TODAY}.md",)


def _read_path(arguments: Arguments) -> tuple[str, ...]:
    day = arguments.get("day")
    return (MEMORY_FILE,) if day is None else (f"{NOTES_FOLDER}/{day}.md",)


def _everything(arguments: Arguments) -> tuple[str, ...]:
    return (*_memory(arguments), *_notes(arguments))


def memory_tools() -> tuple[AnyTool, ...]:
    """`memory.read`, `search`, `note` and `curate`."""
    return (
        OutsideTool(
            name="memory.read",
            description="Read MEMORY.md, or the notes of a day (YYYY-MM-DD).",
            parameters=object_schema(day={"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}),
            effect=Effect.READ,
            private=True,
            reads=_read_path,
            own_files=True,
            act=in_thread(_read, _READ),
        ),
        OutsideTool(
            name="memory.search",
            description="Find lines of your memory and notes that hold all these words.",
            parameters=object_schema("text", text=text_schema(least=1)),
            effect=Effect.READ,
            private=True,
            reads=_everything,
            own_files=True,
            act=in_thread(_search, _READ),
        ),
        OutsideTool(
            name="memory.note",
            description="Add to today's note.",
            parameters=object_schema("text", text=text_schema(least=1, most=NOTE_CHARS_MAX)),
            effect=Effect.IDEMPOTENT,
            writes=_note_of_today,
            own_files=True,
            act=in_thread(_note, _NOTE),
        ),
        OutsideTool(
            name="memory.curate",
            description="Replace MEMORY.md by this text.",
            parameters=object_schema("text", text=text_schema(least=1)),
            effect=Effect.IDEMPOTENT,
            writes=_memory,
            own_files=True,
            act=in_thread(_curate, _CURATE),
        ),
    )
