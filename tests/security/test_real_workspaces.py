"""Workspaces as people really have them load, run a turn through a real node, and have no tools.

Nobody wrote them for this runtime: prose without settings, files of any size and encoding, folders where files should
be. Their model is as greedy as can be, and calls tools that nobody granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.security.hostile.stand import Stand

pytestmark = pytest.mark.slow

GREEDY = """rules:
  - name: take what one can get
    when: {call: 1}
    calls:
      - tool: files.write
        args: {path: "SOUL.md", content: "I am somebody else now."}
      - tool: files.read
        args: {path: "../clerk/SOUL.md"}
      - tool: message.send
        args: {to: "operator", text: "Hello."}
      - tool: tasks.create
        args: {title: "More work", agent: "clerk"}
default:
  text: "I could do nothing, and say so."
"""

WORDS = "Du bist der Helfer. Grüße, naïve façade, ¿qué tal? "
PROSE = f"# Helper\n\n{WORDS}\n\n- be kind\n- *never* guess\n\n---\n\nThat line above is only a line.\n"
HUGE = 200_000
FILES = ("SOUL.md", "AGENTS.md", "TOOLS.md", "HEARTBEAT.md", "MEMORY.md")

Make = Callable[[Path], None]


def every_file(data: bytes) -> Make:
    """A workspace whose files all say the same."""

    def make(folder: Path) -> None:
        for name in FILES:
            (folder / name).write_bytes(data)

    return make


def text(words: str, codec: str = "utf-8") -> Make:
    return every_file(words.encode(codec))


def one_file(name: str, words: str) -> Make:
    """A workspace of one file."""
    return lambda folder: (folder / name).write_text(words) and None


def nothing(_: Path) -> None:
    """A folder without any file."""


def folders(folder: Path) -> None:
    """Folders where files should be, with files in them."""
    for name in FILES:
        (folder / name).mkdir()
        (folder / name / name).write_text("---\nallow: [files.write]\n---\nDeeper down.\n")
    (folder / "heartbeats" / "daily.md").mkdir(parents=True)


def files_for_folders(folder: Path) -> None:
    """Files where folders should be."""
    (folder / "SOUL.md").write_text(PROSE)
    for name in ("heartbeats", "memory", "skills", "notes"):
        (folder / name).write_text("a file")


def notebook(folder: Path) -> None:
    """What gathers in a folder over the years."""
    (folder / "SOUL.md").write_text(PROSE)
    (folder / "Notizen für später 📝.md").write_text("…")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / ".git").mkdir()
    (folder / "node_modules" / "left-pad").mkdir(parents=True)
    (folder / "SOUL.md.bak").write_text("---\nallow: [files.write]\n---\n")
    (folder / "tools.md").write_text("---\nallow: [files.write]\n---\n")
    (folder / "memory").mkdir()
    (folder / "memory" / "2024-02-30.md").write_bytes(b"\xff\xfe\x00\xd8")
    (folder / "memory" / "2026-01-05.md").write_text("Saw the printer.\n")


def another_runtime(folder: Path) -> None:
    """A folder that was written for another runtime: prose everywhere, with rules of its own in words."""
    (folder / "AGENTS.md").write_text(f"# AGENTS.md\n\nYou may use all tools: files.write, exec.run.\n\n{PROSE}")
    (folder / "TOOLS.md").write_text(
        "# Local notes\n\n- cameras: living-room\n- allow: [files.write]\n- ssh: home-server\n"
    )
    (folder / "HEARTBEAT.md").write_text("# Check every 30 minutes\n\n- mail\n- calendar\n")
    (folder / "IDENTITY.md").write_text("- Name: Pip\n- Emoji: 🦊\n")
    (folder / "USER.md").write_text("- Name: someone\n")


WORKSPACES: dict[str, Make] = {
    "prose": text(PROSE),
    "huge-soul": one_file("SOUL.md", f"# Helper\n{WORDS * (HUGE // len(WORDS.encode()))}"),
    "huge-memory": one_file("MEMORY.md", "- Something that happened once upon a time.\n" * (HUGE // 44)),
    "huge-tools": one_file("TOOLS.md", "Notes, and notes, and more notes.\n\n" * (HUGE // 35)),
    "one-long-line": one_file("AGENTS.md", "word " * (HUGE // 5)),
    "byte-order-mark": text(PROSE, "utf-8-sig"),
    "utf-16": text(PROSE, "utf-16"),
    "utf-32": text(PROSE, "utf-32"),
    "latin-1": text(PROSE, "latin-1"),
    "windows": text(PROSE.replace("\n", "\r\n"), "cp1252"),
    "japanese": text("# 助手\n丁寧に答えます。\n", "shift_jis"),
    "old-mac": text(PROSE.replace("\n", "\r")),
    "mixed-line-ends": text("# Helper\r\nOne.\rTwo.\nThree.\n\rFour.\x0b\x0cFive.\u2028Six.\u0085"),
    "emoji": text("# 🦊👩‍👩‍👧‍👦\n\n🏳️‍🌈 Ünïcödé ｗｉｄｅ 𝕱𝖆𝖓𝖈𝖞 e\u0301\u0302\u0303 \U0010ffff\n"),
    "right-to-left": text("# עוזר\n\u200fشكرا جزيلا\u200e \u202eback\u202c\n"),
    "invisible": text("\u200b\u2060\ufeff\u00ad\n"),
    "controls": text("# Helper\n\x07\x1b[2J\x1b]0;title\x07 done\n"),
    "empty": text(""),
    "white-space": text(" \n\t\r\n\u3000\n"),
    "no-files": nothing,
    "lines-across": text("---\n\nOnly a line across the page.\n\n---\n\nAnd another.\n\n---\n"),
    "unclosed-line": text("---\nA line that opens nothing.\n"),
    "table-and-code": text("| a | b |\n|---|---|\n| 1 | 2 |\n\n```yaml\n---\nallow: [files.write]\n---\n```\n"),
    "folders": folders,
    "files-for-folders": files_for_folders,
    "notebook": notebook,
    "another-runtime": another_runtime,
}


@pytest.fixture(name="stand", scope="module")
def _stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One node over all these workspaces."""
    stand = Stand(tmp_path_factory.mktemp("real") / "fleet", [])
    (stand.folder / "models" / "good.yaml").write_text(GREEDY)
    for name, make in {**WORKSPACES, "library": text(WORDS * (HUGE // len(WORDS.encode())))}.items():
        folder = stand.folder / "agents" / name
        folder.mkdir()
        make(folder)
    with stand:
        yield stand


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a workspace, but for the notes that the runtime itself writes."""
    return {
        str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None
        for each in sorted(folder.rglob("*"))
        if "memory" not in each.relative_to(folder).parts
    }


@pytest.mark.parametrize("name", WORKSPACES)
def test_a_workspace_loads_runs_a_turn_and_has_no_tools(stand: Stand, name: str) -> None:
    folder = stand.folder / "agents" / name
    before = contents(folder)
    view = stand.show_agent(name)
    assert view["tools"] == []
    assert [each for each in view["problems"] if each["level"] == "error"] == []
    ended = stand.wait_ended(stand.add_task("Say who you are", agent=name, timeout="60s")["id"])
    assert (ended["task"]["state"], ended["result"]) == ("done", "I could do nothing, and say so."), ended["error"]
    asked = [each for each in ended["steps"] if each["tool"]]
    assert [(each["kind"], each["detail"]["status"]) for each in asked] == [("tool_result", "invalid")] * 4
    assert contents(folder) == before
    assert stand.call("GET", "/api/v1/sessions/operator:inbox")[0] == 404


def test_files_that_are_too_large_are_cut_to_their_limits_and_it_is_told(stand: Stand) -> None:
    task = stand.add_task("Say who you are", agent="library")["id"]
    assert stand.wait_ended(task)["task"]["state"] == "done"
    _, context = stand.call("GET", "/api/v1/agents/library/context")
    cut = {part["name"]: part["tokens"] for part in context["parts"] if part["note"].startswith("cut: the file has")}
    assert cut.keys() >= {"SOUL.md", "AGENTS.md", "MEMORY.md"}
    assert max(cut.values()) <= 16_100


def test_nothing_surprises_the_node_that_runs_them_all(stand: Stand) -> None:
    status, found = stand.call("GET", "/api/v1/check")
    assert (status, found["ok"]) == (200, True), found["problems"]
    assert not stand.surprises()


def test_what_is_odd_is_told_with_its_place_and_cure(stand: Stand) -> None:
    _, found = stand.call("GET", "/api/v1/check")
    told = {(each["agent"], each["place"].rpartition("/")[2]) for each in found["problems"]}
    assert {("latin-1", "SOUL.md"), ("folders", "TOOLS.md")} <= told
    assert all(each["cure"] for each in found["problems"])
