"""The docs say what is so: every name of the surface stands in the reference, links lead somewhere, examples run.

What has to be named is found in the code's own registries (`REGISTRIES`), so that a new name fails here until it is
documented.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from pathlib import Path

import pytest

from docs import generate
from docs.promises import PROMISES, exists, last_run, store_of, stores_counted
from ostinato import tool
from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import EventName
from ostinato.domain.step import Effect
from ostinato.domain.task import TaskEvent, TaskKind, TaskState, WaitKind
from tests.console import examples, matches, run_page
from tests.tidy.rule import ROOT

DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *EXAMPLES.glob("**/README.md")])
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

GLOSSARY = """
fleet, agent, trigger, session, message, task, journal, step, attempt, token, turn, park, tool, effect, policy, verdict,
gate, question, route, binding, room, delegation matrix, workflow, stage, run, breaker, budget, dead letter, node,
supervisor, pool, blob, sub-agent, compaction, permission, taint, sandbox, skill, server, pin, withheld, secret,
person, role, audit, shim
"""


# --- what has to be named -----------------------------------------------------------------------------------------


def error_codes(of: type[OstinatoError] = OstinatoError) -> Iterator[str]:
    """The codes of the whole tree of errors."""
    yield of.code
    for each in of.__subclasses__():
        yield from error_codes(each)


def extras() -> Iterator[str]:
    """What can be installed beside the rest."""
    yield from tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


VARIABLE = re.compile(r"\bOSTINATO_[A-Z_]*[A-Z]\b|\b(?:XDG_CONFIG_HOME|NO_COLOR|INVOCATION_ID|PGPASSFILE)\b")


def variables() -> Iterator[str]:
    """Environment variables that the code names, and those of the tests that people set."""
    for path in ((ROOT / "src").rglob("*.py"), (ROOT / "Makefile",)):
        yield from (name for each in path for name in VARIABLE.findall(each.read_text()))


REGISTRIES: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
    "words": ("glossary.md", lambda: " ".join(GLOSSARY.split()).split(", ")),
    "task states": ("tasks.md", lambda: TaskState),
    "task kinds": ("tasks.md", lambda: TaskKind),
    "task moves": ("tasks.md", lambda: TaskEvent),
    "waits": ("tasks.md", lambda: WaitKind),
    "events": ("events.md", lambda: EventName),
    "error codes": ("errors.md", error_codes),
    "effects": ("tools.md", lambda: Effect),
    "extras": ("environment.md", extras),
    "environment variables": ("environment.md", variables),
    "keys of a tool in Python": ("../how-to/write-a-tool-in-python.md", lambda: signature(tool).parameters),
}
"""What there is: the page of docs/reference that names it, and where the code lists it."""

CODE_SPAN = re.compile(r"`([^`\n]+)`|\*\*([^*\n]+)\*\*")


def missing(names: Iterable[str], page: str) -> list[str]:
    """Names that `page` does not set as code or in bold; a table of moves may name them before an arrow."""
    said = {each for pair in CODE_SPAN.findall(page) for each in pair} | set(re.findall(r"(\w+) →", page))
    return sorted({str(name) for name in names} - said)


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_name_of_the_surface_stands_in_the_reference(registry: str) -> None:
    page, discover = REGISTRIES[registry]
    names = list(discover())
    assert names, f"the registry of {registry} is empty"
    lacks = missing(names, (DOCS / "reference" / page).read_text())
    assert not lacks, f"docs/reference/{page} does not name these {registry}: {', '.join(lacks)}"


def test_a_name_that_the_reference_lacks_is_found() -> None:
    assert missing(["task.added", "task.lost"], "`task.added` and task.lost") == ["task.lost"]


def test_no_event_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([\w.]+)` \|", (DOCS / "reference" / "events.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(EventName)


def test_every_dependency_is_explained_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [
        *project["dependencies"],
        *(each for group in project["optional-dependencies"].values() for each in group),
    ]
    names = {re.split(r"[\[><=~! ]", each)[0] for each in stated}
    page = (DOCS / "explanation" / "dependencies.md").read_text()
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w.-]+)`", row)} == names


# --- pages --------------------------------------------------------------------------------------------------------

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of `page` may say after `#`."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def dead_links(page: Path) -> list[str]:
    """Links of `page` into this repository that lead nowhere."""
    dead: list[str] = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not dead_links(page)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One head\n[a](page.md#one-head) [b](#two) [c](gone.md) [d](https://example.org/gone)\n")
    assert dead_links(page) == ["#two", "gone.md"]


PROOF = re.compile(r"`((?:tests|src)/[\w/]+\.py)::(\w+)`")


def lost_proofs(page: str) -> list[str]:
    """Tests that a page names, and that are not there."""
    named = [(ROOT / path, name) for path, name in PROOF.findall(page)]
    return [name for path, name in named if not path.exists() or f"def {name}(" not in path.read_text()]


@every_page
def test_every_test_that_is_named_as_a_proof_exists(page: Path) -> None:
    assert not lost_proofs(page.read_text())


def test_a_proof_that_is_gone_is_found() -> None:
    page = "`tests/test_docs.py::lost_proofs` and `tests/test_docs.py::gone` and `tests/gone.py::test_x`"
    assert lost_proofs(page) == ["gone", "test_x"]


def test_every_promise_has_a_proof_that_exists() -> None:
    assert [each.piece for each in PROMISES if not each.proofs] == []
    assert [proof for each in PROMISES for proof in each.proofs if not exists(proof)] == []
    assert len({each.piece for each in PROMISES}) == len(PROMISES)


def test_every_promise_is_proved_on_both_stores() -> None:
    for each in PROMISES:
        stores = {store_of(proof) for proof in each.proofs}
        assert "both stores" in stores or {"SQLite", "PostgreSQL"} <= stores, each.piece


def test_every_promise_has_a_figure_from_both_stores() -> None:
    told = last_run()["told"]
    missing = {each.piece: {"SQLite", "PostgreSQL"} - stores_counted(each, told) for each in PROMISES}
    assert not any(missing.values()), f"make figures, or let a proof count: {missing}"


def test_a_promise_without_its_test_is_found() -> None:
    assert not exists("tests/test_docs.py::gone")
    assert not exists("tests/gone.py::test_x")


def test_every_page_can_be_reached_from_the_first() -> None:
    seen, pending = set[Path](), [DOCS / "README.md"]
    while pending:
        page = pending.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = [link for link in LINK.findall(page.read_text()) if "://" not in link and not link.startswith("#")]
        pending += [(page.parent / link.partition("#")[0]).resolve() for link in links]
        pending = [each / "README.md" if each.is_dir() else each for each in pending]
    assert set(DOCS.rglob("*.md")) <= seen


@every_page
def test_every_generated_part_is_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert generate.fresh(text) == text, "run `make docs`"


def test_a_generated_part_that_is_out_of_date_is_found() -> None:
    stale = "<!-- generated: kinds -->\nold\n<!-- end -->"
    assert generate.fresh(stale) != stale
    with pytest.raises(KeyError):
        generate.fresh("<!-- generated: nothing -->\n<!-- end -->")


def test_decisions_are_short_numbered_and_listed() -> None:
    pages = sorted((DOCS / "explanation" / "decisions").glob("[0-9]*.md"))
    assert [page.name[:3] for page in pages] == [f"{number:03}" for number in range(1, len(pages) + 1)]
    assert not [page.name for page in pages if len(page.read_text().splitlines()) > 40]
    for page in pages:
        assert page.read_text().startswith(f"# {page.name[:3]}: ")


# --- examples -----------------------------------------------------------------------------------------------------


def environment(home: Path) -> dict[str, str]:
    """A plain terminal of a person who has installed Ostinato and nothing else."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    marks = {name: value for name, value in os.environ.items() if name.startswith("OSTINATO_TEST_")}
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", "COLUMNS": "120", **marks}


RUNS = re.compile(
    r"^\| .* \| `(?:python -m examples\.(\w+)\.demo|make demo)` \| \[(\w+)\]\(\2/README\.md\) \|$", re.MULTILINE
)


def test_every_example_is_told_about_and_run_by_a_test() -> None:
    told = {name: module or "support_inbox" for module, name in RUNS.findall((EXAMPLES / "README.md").read_text())}
    there = {each.parent.name for each in EXAMPLES.glob("*/demo.py")}
    assert told == {name: name for name in there}
    tests = "".join(each.read_text() for each in (ROOT / "tests").glob("*/test_*.py"))
    runs = r'"examples\.(\w+)\.demo"|^from examples\.(\w+) import demo(?: as \w+)?$'
    run = set(re.findall(runs, tests, re.MULTILINE))
    assert there - {name for pair in run for name in pair} == set()


def test_every_example_tells_its_story_at_the_top() -> None:
    for demo in EXAMPLES.glob("*/demo.py"):
        assert f"\n\n    python -m examples.{demo.parent.name}.demo" in demo.read_text(), demo
        page = (demo.parent / "README.md").read_text()
        assert f"    python -m examples.{demo.parent.name}.demo\n" in page or "    make demo\n" in page


TESTED_PAGES = [page for page in PAGES if list(examples(page.read_text()))]


@pytest.mark.slow
@pytest.mark.parametrize("page", TESTED_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_the_page_run_as_it_says(page: Path, tmp_path: Path) -> None:
    wrong = run_page(page.read_text(), folder=tmp_path, environment=environment(tmp_path))
    assert not wrong, "\n\n".join(wrong)


def test_an_example_that_prints_or_exits_otherwise_is_found(tmp_path: Path) -> None:
    page = (
        "```console tested\n$ mkdir a && cd a\n$ basename $PWD\na\n$ echo one two\none ...\n$ false  # exit 1\n"
        "$ sleep 60 &\n$ seq 5\n1\n...\n5\n```\ntext\n```console tested\n$ echo b\nc\n$ true  # exit 2\n$ echo x\n```\n"
        "```console\n$ false\n```\n"
    )
    wrong = run_page(page, folder=tmp_path, environment=environment(tmp_path))
    assert [each.splitlines()[0] for each in wrong] == ["$ echo b", "$ true", "$ echo x"]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        *[("", "", True), ("a...c", "abc", True), ("a\n...\nc", "a\nc", True), ("...", "x\ny", True)],
        *[("", "x", False), ("a", "a\nb", False), ("...\nc", "a\nb", False), ("a.c", "abc", False)],
    ],
)
def test_three_dots_stand_for_anything(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
