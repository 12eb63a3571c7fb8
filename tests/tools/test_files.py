"""The tools for files do what they say, once for each call, and say in words what they cannot do.

That no path leads out of the folder is tried in tests/security.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Denied, Exhausted, OstinatoError
from ostinato.domain.file_rules import AUTORUN, FileRules, autorun_granted, check_read, check_write, parts_of
from ostinato.domain.step import ResultStatus
from ostinato.tools.files import FOUND_MAX, SHOWN_BYTES_MAX, shown_lines
from ostinato.tools.port import OutsideTool
from ostinato.tools.safe_files import FILE_BYTES_MAX, LIST_MAX, READ_BYTES_MAX, TRASH_MAX, SafeFolder
from tests.tools.conftest import Scene
from tests.tools.desk import RULES, Desk

Play = Callable[[Scene], None]
OK = ResultStatus.OK


def no_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without extended attributes."""

    def refuse(*_: object) -> bytes:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "getxattr", refuse)
    monkeypatch.setattr(os, "setxattr", refuse)


def test_a_file_is_made_read_changed_and_deleted(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        made = await desk.call("files.write", {"path": "notes/a/today.md", "text": "one\ntwo\n"})
        assert (made.status, made.text) == (OK, "wrote notes/a/today.md, 8 bytes")
        replaced = await desk.call("files.write", {"path": "./notes//a/today.md", "text": "one\ntwo\n"})
        assert replaced.text.startswith("wrote")
        await desk.call("files.append", {"path": "notes/a/today.md", "text": "three\n"})
        await desk.call("files.edit", {"path": "notes/a/today.md", "old": "two", "new": "2"})
        read = await desk.call("files.read", {"path": "notes/a/today.md"})
        assert read.text == "one\n2\nthree\n"
        gone = await desk.call("files.delete", {"path": "notes/a/today.md"})
        kept = gone.text.rpartition(" ")[2]
        assert (desk.workspace / kept).read_text() == "one\n2\nthree\n"
        missing = await desk.call("files.read", {"path": "notes/a/today.md"})
        assert missing.status is ResultStatus.ERROR
        assert missing.text == "notes/a/today.md does not exist. files.list shows what there is."

    at_desk(scene)


CALLS = [
    ("files.write", {"path": "log.md", "text": "begin\n"}),
    ("files.append", {"path": "log.md", "text": "line\n"}),
    ("files.append", {"path": "new.md", "text": "line\n"}),
    ("files.edit", {"path": "log.md", "old": "begin", "new": "begin begin"}),
    ("files.edit", {"path": "log.md", "old": "begin", "new": ""}),
    ("files.delete", {"path": "log.md"}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
@pytest.mark.parametrize("remembers", [True, False])
def test_a_call_that_is_repeated_is_done_once(
    at_desk: Play, monkeypatch: pytest.MonkeyPatch, *, name: str, arguments: dict[str, Any], remembers: bool
) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "log.md").write_text("begin\nline\n" if remembers else "begin\n")
        if not remembers:
            no_marks(monkeypatch)
        first = desk.context()
        done = await desk.call(name, arguments, first)
        assert done.status is OK, done.text
        after = {each.name: each.read_bytes() for each in desk.workspace.iterdir() if each.is_file()}
        if not remembers and arguments.get("new") == "begin begin":
            return  # such a disk cannot tell, and the text occurs twice: it is refused, not done again
        again = await desk.call(name, arguments, desk.context(key=first.key, call_id=first.call_id, repeated=True))
        assert again.status is OK, again.text
        assert {each.name: each.read_bytes() for each in desk.workspace.iterdir() if each.is_file()} == after

    at_desk(scene)


def test_two_calls_with_the_same_words_are_two(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        for _ in range(3):
            await desk.call("files.append", {"path": "log.md", "text": "tick\n"})
        assert (desk.workspace / "log.md").read_text() == "tick\n" * 3

    at_desk(scene)


def test_parallel_calls_that_were_all_interrupted_are_each_done_once(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        calls = [desk.context() for _ in range(6)]
        for _ in range(2):
            for each in calls:
                await desk.call("files.append", {"path": "log.md", "text": "tick\n"}, each)
        await desk.call("files.edit", {"path": "log.md", "old": "tick\n" * 6, "new": "rewritten\n"})
        for each in calls:
            await desk.call("files.append", {"path": "log.md", "text": "tick\n"}, each)
        assert (desk.workspace / "log.md").read_text() == "rewritten\n"

    at_desk(scene)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_an_append_that_was_cut_anywhere_is_completed(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "log.md"
    path.write_bytes(b"before\n")
    with SafeFolder(folder, RULES) as safe:
        safe.append("log.md", text, key="k")
        cut = data.draw(st.integers(0, len(text)))
        os.truncate(path, len(b"before\n") + cut)
        safe.append("log.md", text, key="k")
    assert path.read_bytes() == b"before\n" + text


def test_an_append_that_a_power_cut_left_holes_in_is_made_whole(tmp_path: Path) -> None:
    """Sectors that were not written read as zeros, also at its beginning."""
    path, text = tmp_path / "log.md", b"a line that is longer than a sector\n"
    path.write_bytes(b"before\n")
    with SafeFolder(tmp_path, RULES) as safe:
        safe.append("log.md", text, key="k")
        for hole in (slice(0, 10), slice(5, 20), slice(0, len(text))):
            with path.open("r+b") as file:
                file.seek(len(b"before\n") + hole.start)
                file.write(bytes(hole.stop - hole.start))
            safe.append("log.md", text, key="k")
            assert path.read_bytes() == b"before\n" + text


@pytest.mark.slow
def test_nothing_is_lost_where_many_write_at_once(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "log.md").write_text("count 0\n")

        async def add(number: int) -> None:
            await desk.call("files.append", {"path": "log.md", "text": f"line {number}\n"})
            edited = await desk.call(
                "files.edit", {"path": "log.md", "old": f"line {number}\n", "new": f"n{number};\n"}
            )
            assert edited.status is OK, edited.text

        await asyncio.gather(*(add(number) for number in range(40)))
        lines = (desk.workspace / "log.md").read_text().splitlines()
        assert sorted(lines) == sorted(["count 0", *(f"n{number};" for number in range(40))])

    at_desk(scene)


FULL = [
    (step, name, more)
    for name, more, steps in (
        ("files.write", {"text": "after"}, ("write", "fsync", "replace")),
        ("files.edit", {"old": "before", "new": "after"}, ("write", "fsync", "replace")),
        ("files.append", {"text": "more"}, ("write", "fsync")),
        ("files.delete", {}, ("rename",)),
    )
    for step in steps
]


@pytest.mark.parametrize(("step", "name", "more"), FULL)
def test_a_disk_that_fills_up_leaves_everything_as_it_was(
    at_desk: Play, monkeypatch: pytest.MonkeyPatch, *, step: str, name: str, more: dict[str, Any]
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    async def scene(desk: Desk) -> None:
        (desk.workspace / "a.md").write_text("before\n")
        with monkeypatch.context() as broken:
            broken.setattr(os, step, full)
            result = await desk.call(name, {"path": "a.md", **more})
        assert (result.status, result.text) == (ResultStatus.ERROR, "a.md: no room on the disk")
        assert (desk.workspace / "a.md").read_text() == "before\n"
        assert not list(desk.workspace.glob(".ostinato-*"))
        assert (await desk.call(name, {"path": "a.md", **more})).status is OK

    at_desk(scene)


def test_a_text_that_is_not_there_once_is_not_changed(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "a.md").write_text("x y x\n")
        twice = await desk.call("files.edit", {"path": "a.md", "old": "x", "new": "z"})
        assert twice.text == "a.md holds that text 2 times. Give more of what is around it."
        never = await desk.call("files.edit", {"path": "a.md", "old": "q", "new": "z"})
        assert never.text == "a.md does not hold that text. Read it again; nothing was changed."
        assert (desk.workspace / "a.md").read_text() == "x y x\n"
        huge = await desk.call("files.edit", {"path": "a.md", "old": "y", "new": "y" * 1_000_000})
        assert huge.status is OK

    at_desk(scene)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfwith a mark\r\n", "with a mark\r\n"),
        ("wide \N{SNOWMAN}\n".encode("utf-16"), "wide \N{SNOWMAN}\n"),
        ("grüße".encode("latin-1"), "gr\ufffd\ufffde"),
        (b"", ""),
        (b"no end of line", "no end of line"),
        ("🎉 emoji\n".encode(), "🎉 emoji\n"),
    ],
)
def test_text_is_read_in_whatever_encoding_it_comes(at_desk: Play, *, data: bytes, text: str) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "a.md").write_bytes(data)
        read = await desk.call("files.read", {"path": "a.md"})
        assert (read.status, read.text) == (OK, text)

    at_desk(scene)


def test_what_is_no_text_is_refused_with_its_size(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "picture.png").write_bytes(b"\x89PNG\r\n\0\0")
        read = await desk.call("files.read", {"path": "picture.png"})
        assert read.text == "picture.png is not text. It has 8 bytes, some of them zero."

    at_desk(scene)


def test_a_long_file_is_read_in_parts_that_say_how_to_go_on(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        lines = [f"line {number} {'x' * 50}" for number in range(1, 3_001)]
        (desk.workspace / "long.md").write_text("\n".join(lines))
        collected: list[str] = []
        start = 1
        for _ in range(10):
            part = await desk.call("files.read", {"path": "long.md", "from": start})
            *body, last = part.text.splitlines()
            collected += body
            if "go on with from: " not in last:
                break
            start = int(last.partition("from: ")[2].rstrip("]"))
        assert collected == lines
        some = await desk.call("files.read", {"path": "long.md", "from": 10, "lines": 2})
        assert some.text.endswith("[lines 10 to 11 of 3000; go on with from: 12]")
        beyond = await desk.call("files.read", {"path": "long.md", "from": 3_001})
        assert beyond.text == "There is no line 3001. The last line is 3000."

    at_desk(scene)


def test_a_line_that_is_longer_than_a_result_is_cut() -> None:
    cut = shown_lines("é" * SHOWN_BYTES_MAX + "\nnext\n")
    assert f"[line cut: {SHOWN_BYTES_MAX + 1} characters]" in cut
    assert cut.endswith("[lines 1 to 1 of 2; go on with from: 2]")
    assert shown_lines("") == ""


@pytest.mark.slow
def test_a_file_that_is_too_large_is_read_in_part_and_grows_no_further(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        big = desk.workspace / "big.md"
        big.write_text("line\n" * (READ_BYTES_MAX // 5 + 100))
        read = await desk.call("files.read", {"path": "big.md", "lines": 1})
        assert f"only the first {READ_BYTES_MAX} bytes" in read.text
        edited = await desk.call("files.edit", {"path": "big.md", "old": "zz", "new": "y"})
        assert "larger than" in edited.text
        with big.open("ab") as file:
            file.truncate(FILE_BYTES_MAX)
        added = await desk.call("files.append", {"path": "big.md", "text": "x"})
        assert added.text.startswith("The file would grow beyond")
        (desk.workspace / "full.md").write_text("a" + "b" * (READ_BYTES_MAX - 1))
        grown = await desk.call("files.edit", {"path": "full.md", "old": "a", "new": "cc"})
        assert "would grow beyond" in grown.text

    at_desk(scene)


def test_a_listing_shows_what_can_be_asked_for(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        for name in ("b.md", "notes/deep/c.md", ".env", ".git/config", ".ostinato/x", "SOUL.md"):
            (desk.workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (desk.workspace / name).write_text("text")
        (desk.workspace / "link").symlink_to("/etc")
        (desk.workspace / os.fsdecode(b"bad\xff.md")).write_text("text")
        top = await desk.call("files.list", {})
        names = [line.split(" ")[0] for line in top.text.splitlines()]
        assert names == ["SOUL.md", "b.md", "link", "notes/"]
        assert "link (link or device; cannot be opened)" in top.text
        everything = await desk.call("files.list", {"recursive": True, "path": "notes"})
        assert [line.split(" ")[0] for line in everything.text.splitlines()] == ["notes/deep/", "notes/deep/c.md"]
        empty = desk.workspace / "empty"
        empty.mkdir()
        assert (await desk.call("files.list", {"path": "empty"})).text == "(empty)"
        assert "is no folder" in (await desk.call("files.list", {"path": "b.md"})).text

    at_desk(scene)


@pytest.mark.slow
def test_a_listing_ends_at_its_limit_and_says_so(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        for number in range(LIST_MAX + 5):
            (desk.workspace / f"{number:05}.md").touch()
        listed = await desk.call("files.list", {})
        assert listed.text.endswith(f"[more than {LIST_MAX} entries; list a folder below]")
        assert len(listed.text.splitlines()) == LIST_MAX + 1

    at_desk(scene)


def test_an_agent_is_shown_only_what_leads_to_what_it_may_read(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        for name in ("notes/a/x.md", "notes/b/y.md", "secret/z.md"):
            (desk.workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (desk.workspace / name).write_text("needle")
        rules = FileRules(read=("notes/a/",))
        listed = await desk.call("files.list", {"recursive": True}, files=rules)
        assert [line.split(" ")[0] for line in listed.text.splitlines()] == ["notes/", "notes/a/", "notes/a/x.md"]
        found = await desk.call("files.search", {"text": "needle"}, files=rules)
        assert found.text == "notes/a/x.md:1: needle"
        assert "outside what you may read" in (await desk.call("files.list", {"path": "secret"}, files=rules)).text

    at_desk(scene)


def test_a_search_finds_lines_in_any_case_and_knows_its_limits(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "a.md").write_text("Straße\nREFUND for Ann\n" + "x" * 1_000 + " refund\n")
        (desk.workspace / "b.png").write_bytes(b"\0refund")
        (desk.workspace / "link.md").symlink_to("a.md")
        found = await desk.call("files.search", {"text": "refund"})
        assert found.text.splitlines()[0] == "a.md:2: REFUND for Ann"
        assert len(found.text.splitlines()) == 2
        assert len(found.text.splitlines()[1]) < 300
        assert (await desk.call("files.search", {"text": "STRASSE"})).text == "a.md:1: Straße"
        assert (await desk.call("files.search", {"text": "refund", "path": "a.md"})).text.count("a.md") == 2
        assert (await desk.call("files.search", {"text": "(a+)+$"})).text == "nothing found"
        (desk.workspace / "many.md").write_text("needle\n" * 500)
        many = await desk.call("files.search", {"text": "needle"})
        assert many.text.endswith(f"[more than {FOUND_MAX} lines; search for something narrower]")

    at_desk(scene)


def test_the_rights_of_a_file_survive_its_replacement(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        path = desk.workspace / "run.sh"
        path.write_text("old")
        path.chmod(0o4751)
        await desk.call("files.write", {"path": "run.sh", "text": "new"})
        assert stat.S_IMODE(path.stat().st_mode) == 0o751

    at_desk(scene)


@pytest.mark.slow
def test_the_trash_keeps_the_newest(tmp_path: Path) -> None:
    with SafeFolder(tmp_path, RULES) as folder:
        for number in range(TRASH_MAX + 20):
            folder.write("a.md", str(number).encode(), key=f"w{number}")
            folder.delete("a.md", key=f"d{number}")
    kept = {each.read_text() for each in (tmp_path / ".ostinato" / "trash").iterdir()}
    assert len(kept) == TRASH_MAX
    assert str(TRASH_MAX + 19) in kept
    assert stat.S_IMODE((tmp_path / ".ostinato").stat().st_mode) == 0o700


def test_a_probe_tells_whether_a_deletion_took_place(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "a.md").write_text("x")
        tool = desk.box.get("files.delete")
        assert isinstance(tool, OutsideTool)
        assert tool.probe is not None
        context = desk.context()
        assert await tool.probe(context, {"path": "a.md"}) is False
        await desk.call("files.delete", {"path": "a.md"}, context)
        assert await tool.probe(context, {"path": "a.md"}) is True
        assert await tool.probe(desk.context(), {"path": "a.md"}) is False

    at_desk(scene)


def test_a_temporary_file_of_a_killed_attempt_is_replaced(tmp_path: Path) -> None:
    with SafeFolder(tmp_path, RULES) as folder:
        folder.write("a.md", b"one", key="k")
        name = next(iter(_temporary_names(tmp_path, folder)))
        (tmp_path / name).write_text("half of it")
        folder.write("a.md", b"two", key="k")
        assert not (tmp_path / name).exists()
    assert (tmp_path / "a.md").read_bytes() == b"two"


def _temporary_names(root: Path, folder: SafeFolder) -> set[str]:
    """The names that a write uses on its way, seen at the moment of its renaming."""
    seen: set[str] = set()
    real = os.replace

    def spy(source: str, target: str, **more: Any) -> None:
        seen.update(each.name for each in root.iterdir() if each.name.startswith(".ostinato-"))
        real(source, target, **more)

    os.replace = spy  # type: ignore[assignment]  # put back below
    try:
        folder.write("a.md", b"one", key="k")
    finally:
        os.replace = real
    return seen


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot be opened"):
        SafeFolder(tmp_path / "nowhere", RULES)


def test_a_folder_that_the_disk_does_not_take_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fsync", refuse)
    with SafeFolder(tmp_path, RULES) as folder, pytest.raises((OSError, OstinatoError)):
        folder.write("notes/deep/down.md", b"x", key="k")
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("path", ["a.md/b.md", "notes"])
def test_a_folder_and_a_file_cannot_stand_for_each_other(at_desk: Play, path: str) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "a.md").write_text("x")
        (desk.workspace / "notes").mkdir()
        for name, arguments in [("write", {"text": "y"}), ("append", {"text": "y"}), ("delete", {}), ("read", {})]:
            result = await desk.call(f"files.{name}", {"path": path, **arguments})
            assert result.status is ResultStatus.ERROR
            assert "is a folder" in result.text or "no folder" in result.text

    at_desk(scene)


def test_a_workspace_of_another_user_gets_files_of_that_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        return  # only root has anything to give
    os.chown(tmp_path, 12_345, 12_346)
    with SafeFolder(tmp_path, RULES) as folder:
        folder.write("notes/a.md", b"x", key="k")
        folder.append("b.md", b"x", key="k")
    for name in ("notes", "notes/a.md", "b.md"):
        found = (tmp_path / name).stat()
        assert (found.st_uid, found.st_gid) == (12_345, 12_346)


def test_more_than_a_limit_is_exhausted_not_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"x")
    os.truncate(tmp_path / "a.md", FILE_BYTES_MAX)
    with SafeFolder(tmp_path, RULES) as folder, pytest.raises(Exhausted):
        folder.append("a.md", b"y", key="k")


def test_what_makes_other_programs_run_something_is_written_only_where_it_is_named() -> None:
    for name in AUTORUN:
        for path in (name, f"{name}/settings.json", f"notes/{name}", name.upper(), f"notes/{name}\u200b/x"):
            for write in ((".",), ("notes/", "."), (f"{name}x", ".")):
                with pytest.raises(Denied, match="makes other programs run something"):
                    check_write(parts_of(path), FileRules(write=write))
            check_read(parts_of(path), FileRules())
        named = FileRules(write=(".", f"{name}/", f"notes/{name}"))
        for path in (name, f"{name}/settings.json", f"notes/{name}/deep/x"):
            check_write(parts_of(path), named)
        with pytest.raises(Denied):
            check_write(parts_of(f"{name}/{name}"), named)
        assert autorun_granted(named) == {name}
        assert autorun_granted(FileRules(write=(".", f"{name}/settings.json", f"notes/{name}"))) == frozenset()
