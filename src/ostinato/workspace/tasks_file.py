"""TASKS.md as text: what is written under `## Proposed`, and how the whole file is written.

Pure: text in, values out. All above `## Proposed` is the runtime's and is rendered anew; all from there on is whoever's
who writes there, and stays line for line until it is taken. Knows nothing of disks, or of what becomes of a proposal.

The first line carries a mark that is new with each rendering. What is taken is known by the mark of the file that it
was written into, so an editor that saves what it read an hour ago proposes nothing twice, while the same words in
today's file are a new wish. Marking each line instead was tried: a stale editor then brings the line back without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile

from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.domain.review import ByCommand, ReviewTerms, read_review
from ostinato.domain.values import Value, digest_of
from ostinato.workspace.agent_file import check_agent_id
from ostinato.workspace.fields import ID

TASKS_FILE = "TASKS.md"

REFUSED_SETTING = "tasks_file.refused"
"""Where the store keeps what stands in the way of the file; empty: nothing does."""
PROPOSED = "## Proposed"

TITLE_CHARACTERS_MAX = 200
PRIORITY_MAX = 100
PROPOSALS_MAX = 100
"""Lines that are taken at once; the next ones with the next look."""

HELP = """\
<!-- One line each: "- What is to be done @agent #skill project:name priority:10"; all but the words may be left out.
     Indented lines below say more. A line becomes a draft, which runs once a person approves it:
     ostinato tasks approve T12. All above this section is written by the runtime; a change there is put aside. -->"""

_REFUSED = re.compile(r"\s*<!-- not taken \(([0-9a-f]{12}|-)-([0-9a-f]{8})\): .*")
"""The runtime's comment below a line that cannot be taken: since which rendering it stands there, in which words."""


class Mark(Value):
    """The first line: which rendering this is, which one it followed, and a digest of what the runtime wrote."""

    name: str
    after: str
    digest: str

    def line(self) -> str:
        """As it stands in the file."""
        return f"<!-- Ostinato writes this file, and needs this line: {self.name} {self.after or '-'} {self.digest} -->"


class Wish(Value):
    """A line that can become a proposal, with the indented lines below it."""

    raw: str
    origin: str = ""
    """The mark of the rendering that it was written into; empty in a file without one."""
    title: str
    goal: str = ""
    agent: str | None = None
    skills: tuple[str, ...] = ()
    project: str = ""
    priority: int = 0
    review: ReviewTerms | None = None
    """Who must accept its result."""


class Unclear(Value):
    """A line that cannot be taken as it stands: why, and what to do."""

    raw: str
    why: str
    origin: str = ""


class Remark(Value):
    """Whatever else people write there: headings, comments, blank lines. It stays."""

    raw: str


Entry = Wish | Unclear | Remark


class TasksText(Value):
    """A whole file."""

    mark: Mark | None
    entries: tuple[Entry, ...]
    edited: bool
    """Somebody changed what is the runtime's: it would be lost by rendering anew."""
    ours: bool
    """Has our first line or a section `## Proposed`; any other file of that name is somebody's own."""


def parse_tasks(text: str) -> TasksText:
    """What a file says. Never raises: what cannot be read is an `Unclear`."""
    lines = text.split("\n")
    mark = _mark(lines[0])
    at = next((number for number, line in enumerate(lines) if line.rstrip() == PROPOSED), None)
    head = lines[1 if mark else 0 : at]
    generated = "\n".join(head).strip()
    edited = mark.digest != _digest(generated) if mark else bool(generated) and at is not None
    entries = _Reader(mark.name if mark else "").entries(lines[at + 1 :]) if at is not None else ()
    return TasksText(mark=mark, entries=entries, edited=edited, ours=mark is not None or at is not None)


def write_tasks(generated: str, entries: Sequence[Entry], *, after: str, salt: str) -> str:
    """The whole file. `after` is the mark of the rendering before; `salt` grows with whatever happens in the fleet, so
    that no mark ever comes back."""
    generated = generated.strip()
    body = "\n".join(_lines(_without_ours(entries)))
    name = digest_of("\n".join((after, salt, generated, body)).encode())[:12]
    mark = Mark(name=name, after=after, digest=_digest(generated))
    return f"{mark.line()}\n{generated}\n\n{PROPOSED}\n\n{HELP}\n{body}"


def same_but_for_the_mark(one: str, other: str) -> bool:
    """True where two files differ in nothing that a person would read."""
    return one.partition("\n")[2] == other.partition("\n")[2] and bool(_mark(one.partition("\n")[0]))


def keys_of(wishes: Iterable[Wish]) -> list[str]:
    """An idempotency key for each wish: the same line of the same rendering has the same, wherever it stands by now;
    of two equal lines each has its own."""
    seen: dict[str, int] = {}
    keys = []
    for wish in wishes:
        said = f"{wish.origin}:{_said(wish.raw)[:24]}"
        seen[said] = seen.get(said, 0) + 1
        keys.append(f"tasks-file:{said}:{seen[said]}")
    return keys


def refused(wish: Wish, why: str) -> Unclear:
    """The same line, with what was found wrong with it later."""
    return Unclear(raw=wish.raw, why=why, origin=wish.origin)


def merged(entries: Sequence[Entry], others: Sequence[Entry]) -> tuple[Entry, ...]:
    """These, and of the others what is not there yet."""
    known = {each.raw.strip() for each in entries}
    return (*entries, *(each for each in others if each.raw.strip() and each.raw.strip() not in known))


_MARK = re.compile(
    r"<!-- Ostinato writes this file, and needs this line: ([0-9a-f]{12}) ([0-9a-f]{12}|-) ([0-9a-f]+) -->"
)


def _mark(line: str) -> Mark | None:
    found = _MARK.fullmatch(line.strip().removeprefix("\ufeff"))
    return Mark(name=found[1], after="" if found[2] == "-" else found[2], digest=found[3]) if found else None


def _digest(generated: str) -> str:
    return digest_of(generated.encode())[:12]


def _said(raw: str) -> str:
    """A digest that spaces at the ends of lines do not change: editors remove them."""
    return digest_of("\n".join(each.rstrip() for each in raw.split("\n")).encode())


# --- reading ---

_BULLET = re.compile(r" {0,3}(?:[-*+]|\d{1,4}[.)])(?:[ \t]+\[(?P<box>[^\]]?)\](?=[ \t]|$))?(?:[ \t]+(?P<text>.*))?$")
_TOKEN = re.compile(r'@\S+|#\S+|project:(?:"[^"]*"|\S*)|review:(?:"[^"]*"|\S*)|priority:\S*')
_LAST = re.compile(rf"(?:^|(?<=\s))(?:{_TOKEN.pattern})\s*$")


class _Reader:
    """Reads a section line by line: `block` is what belongs together so far."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._found: list[Entry] = []
        self._block: list[str] = []
        self._ending = ""
        """What ends the comment or fence that is open."""
        self._origin: tuple[str, str] | None = None

    def entries(self, lines: Sequence[str]) -> tuple[Entry, ...]:
        """All there is, in order."""
        foreign = False
        for line in lines:
            foreign = foreign or bool(not self._ending and re.match(r"#{1,2} ", line))
            self._line(line, foreign=foreign)
        if self._ending:
            self._found.append(Remark(raw="\n".join(self._block)))
        else:
            self._close()
        return tuple(_without_ours(self._found))

    def _line(self, line: str, *, foreign: bool) -> None:
        if self._ending:
            self._block.append(line)
            if self._ending in line:
                self._found.append(Remark(raw="\n".join(self._block)))
                self._block, self._ending = [], ""
        elif note := _REFUSED.fullmatch(line):
            self._origin = (note[1], note[2])
        elif self._block and (line[:1] in (" ", "\t") or not line.strip()):
            self._block.append(line)
        else:
            self._close()
            if opened := _opened(line):
                self._block, self._ending = [line], opened
            elif foreign or not line.strip() or line.startswith(("#", "<!--", "```", "~~~")):
                self._found.append(Remark(raw=line))
            else:
                self._block = [line]

    def _close(self) -> None:
        """A bullet with what is indented below it; the blank lines at its end are remarks."""
        block, origin = self._block, self._origin
        self._block, self._origin = [], None
        blanks = 0
        while block and not block[-1].strip():
            block.pop()
            blanks += 1
        if block:
            raw = "\n".join(block)
            known = origin[0] if origin and origin[1] == _said(raw)[:8] else self._mark
            try:
                self._found.append(replace(_read(raw, block), origin=known.strip("-")))
            except Invalid as error:
                self._found.append(Unclear(raw=raw, why=f"{error.message}. {error.cure}", origin=known.strip("-")))
        self._found += [Remark(raw="")] * blanks


_HELP = _said(HELP)


def _without_ours(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Without the help, wherever lines above it have moved it to, and without blank lines before the first word: they
    are what taken lines leave behind, more with each."""
    theirs = (each for each in entries if _said(each.raw) != _HELP)
    return dropwhile(lambda each: not each.raw.strip(), theirs)


def _opened(line: str) -> str:
    """What ends the comment or fence that begins in this line; empty where none stays open."""
    if line.startswith(("```", "~~~")):
        return line[:3]
    return "-->" if line.lstrip().startswith("<!--") and "-->" not in line else ""


def _read(raw: str, lines: Sequence[str]) -> Wish:
    bullet = _BULLET.fullmatch(lines[0])
    if bullet is None or not (bullet["text"] or "").strip():
        raise Invalid("This is no item of a list", cure='Begin the line with "- " and say what is to be done')
    if (bullet["box"] or " ") != " ":
        raise Invalid("It is ticked already", cure='Take the mark out of "[ ]", or remove the line')
    return replace(_tokens(bullet["text"].strip()), raw=raw, goal=_goal(lines[1:]))


def _goal(lines: Sequence[str]) -> str:
    """The indented lines, without the indentation that all of them share."""
    margin = min((len(each) - len(each.lstrip()) for each in lines if each.strip()), default=0)
    return "\n".join(each[margin:].rstrip() if each.strip() else "" for each in lines).strip("\n")


def _tokens(text: str) -> Wish:
    """The words of a line, and what stands behind them."""
    agents: list[str] = []
    skills: list[str] = []
    named: dict[str, str] = {}
    while found := _LAST.search(text):
        token = found[0].strip()
        text = text[: found.start()].rstrip()
        name, _, value = token.partition(":")
        if token[0] == "@":
            agents.append(token[1:])
        elif token[0] == "#":
            skills.insert(0, _skill(token[1:]))
        elif name in named:
            raise Invalid(f"{name} is there twice", cure="Keep one of them")
        else:
            named[name] = value.strip('"')
    if len(agents) > 1:
        raise Invalid("More than one agent is named", cure="Keep one; several agents need several lines")
    title = _unescaped(text)
    if not title:
        raise Invalid("It does not say what is to be done", cure="Write the words before @agent, #skill and the like")
    if len(title) > TITLE_CHARACTERS_MAX:
        cure = "Say it in a few words, and the rest in indented lines below"
        raise Invalid(f"The line is longer than {TITLE_CHARACTERS_MAX} characters", cure=cure)
    return Wish(
        raw="",
        title=title,
        agent=_agent(agents[0]) if agents else None,
        skills=tuple(dict.fromkeys(skills)),
        project=_project(named.get("project")),
        priority=_priority(named.get("priority")),
        review=_review(named.get("review")),
    )


_ESCAPE = "If it belongs to the words, write a \\ before it"


def _unescaped(text: str) -> str:
    words = text.split()
    if words and words[-1].startswith("\\"):
        words[-1] = words[-1][1:]
    return " ".join(words)


def _agent(name: str) -> str:
    try:
        check_agent_id(name)
    except Invalid as error:
        raise Invalid(error.message, cure=f"{error.cure.rstrip('.')}. {_ESCAPE}") from None
    return name


def _skill(name: str) -> str:
    if not ID.fullmatch(name):
        raise Invalid(f"{name[:60]!r} cannot be a skill", cure=f"Skills are like #billing. {_ESCAPE}")
    return name


def _project(value: str | None) -> str:
    if value is not None and (not value.strip() or len(value) > TITLE_CHARACTERS_MAX):
        raise Invalid(
            "The project has no name, or too long a one", cure='For example project:shop or project:"my shop"'
        )
    return (value or "").strip()


def _priority(value: str | None) -> int:
    if value is None:
        return 0
    if not re.fullmatch(r"[-+]?\d{1,4}", value) or abs(int(value)) > PRIORITY_MAX:
        raise Invalid(f"{value[:20]!r} is no priority", cure=f"It can be {-PRIORITY_MAX} to {PRIORITY_MAX}")
    return int(value)


def _review(value: str | None) -> ReviewTerms | None:
    """Nobody knows who wrote the line: it names no command that would be run."""
    try:
        terms = None if value is None else read_review(value)
    except Invalid as error:
        raise Invalid(error.message, cure=f"For example review:person or review:agent:editor. {_ESCAPE}") from None
    if terms is not None and isinstance(terms.by, ByCommand):
        raise Invalid("A line has no result tested by a command", cure="Add the task with: ostinato tasks add --review")
    return terms


# --- writing ---


def _lines(entries: Iterable[Entry]) -> Iterable[str]:
    for each in entries:
        yield each.raw
        if isinstance(each, Unclear):
            yield f"  <!-- not taken ({each.origin or '-'}-{_said(each.raw)[:8]}): {_comment(each.why)} -->"


def _comment(text: str) -> str:
    """One line that cannot end the comment that it stands in."""
    line = "".join(each if each.isprintable() else " " for each in text)
    return re.sub(r"-{2,}", "-", " ".join(line.split()))
