"""TASKS.md as text and on the disk: what is written is read again, and nothing that a person wrote is lost."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.workspace.tasks_file import (
    TASKS_FILE,
    Entry,
    Remark,
    Unclear,
    Wish,
    keys_of,
    parse_tasks,
    same_but_for_the_mark,
    write_tasks,
)
from ostinato.workspace.tasks_place import NEW, read_leftover, read_tasks, replace_tasks

words = st.lists(
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(str.isprintable),
    min_size=1,
    max_size=6,
)
names = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=40)
wishes = st.builds(
    Wish,
    raw=st.just(""),
    title=words.map(" ".join).filter(lambda text: not text.startswith(("[", "<!--")) and len(text) <= 200),
    goal=st.lists(words.map(" ".join), max_size=3).map("\n".join),
    agent=st.none() | names,
    skills=st.lists(names, unique=True, max_size=3).map(tuple),
    project=words.map(" ".join).filter(lambda text: '"' not in text) | st.just(""),
    priority=st.integers(-100, 100),
)
GENERATED = "# Tasks of shop\n\n1 ready.\n\n## Ready\n\n- [ ] T1 Look"


TOKEN = re.compile(r"[@#]\S+|project:.*|priority:.*")


def wish_line(wish: Wish) -> str:
    """A wish as a person would write it; reading it gives the same wish."""
    words = wish.title.split(" ")
    if words[-1].startswith("\\") or TOKEN.fullmatch(words[-1]):
        words[-1] = f"\\{words[-1]}"
    tokens = [f"@{wish.agent}"] if wish.agent else []
    tokens += [f"#{each}" for each in wish.skills]
    tokens += [f'project:"{wish.project}"' if re.search(r"\s", wish.project) else f"project:{wish.project}"] * bool(
        wish.project
    )
    tokens += [f"priority:{wish.priority}"] if wish.priority else []
    goal = [f"  {line}" if line else "" for line in wish.goal.split("\n")] if wish.goal else []
    return "\n".join([" ".join(["-", *words, *tokens]), *goal])


def plain(entries: tuple[Entry, ...]) -> list[Entry]:
    """What a person would see: without blank lines, and without where a line came from."""
    some = [each if isinstance(each, Remark) else replace(each, origin="") for each in entries]
    return [each for each in some if each.raw.strip()]


@pytest.mark.slow
@given(wishes)
def test_a_wish_that_is_written_as_a_line_is_read_as_the_same_wish(wish: Wish) -> None:
    line = wish_line(wish)
    (found,) = plain(parse_tasks(write_tasks(GENERATED, [Remark(raw=line)], after="", salt="")).entries)
    assert found == replace(wish, raw=line)


@pytest.mark.slow
@given(st.lists(lines, max_size=12).map("\n".join))
def test_whatever_is_written_below_stays_and_is_read_alike_after_a_rendering(text: str) -> None:
    first = parse_tasks(write_tasks(GENERATED, [Remark(raw=text)], after="", salt="1"))
    again = parse_tasks(write_tasks(GENERATED, first.entries, after="", salt="2"))
    assert plain(again.entries) == plain(first.entries)
    assert not again.edited
    kept = [line for each in plain(first.entries) for line in each.raw.split("\n") if line.strip()]
    assert kept == [line for line in text.split("\n") if line.strip() and "<!-- not taken (" not in line]


@pytest.mark.slow
@given(lines)
def test_a_change_of_what_the_runtime_wrote_is_noticed(text: str) -> None:
    written = write_tasks(GENERATED, [], after="", salt="")
    changed = written.replace("T1 Look", text, 1)
    assert parse_tasks(changed).edited == (changed.partition("## Proposed")[0] != written.partition("## Proposed")[0])


def test_a_line_is_known_again_in_every_rendering_that_it_was_written_into() -> None:
    bare = write_tasks(GENERATED, [], after="", salt="1")
    stale = bare + "\n- Call Bob\n- Call Bob\n"
    (one, two) = keys_of(each for each in parse_tasks(stale).entries if isinstance(each, Wish))
    assert one != two
    later = write_tasks(GENERATED, [], after="", salt="2") + "\n- Call Bob  \n"
    (three,) = keys_of(each for each in parse_tasks(later).entries if isinstance(each, Wish))
    assert three not in (one, two)


def test_a_refused_line_keeps_its_origin_until_somebody_corrects_it() -> None:
    first = parse_tasks(write_tasks(GENERATED, [], after="", salt="1") + "\n- [x] Call Bob\n")
    text = write_tasks(GENERATED, first.entries, after="", salt="2")
    assert first.mark is not None
    (kept,) = plain(parse_tasks(text).entries)
    assert isinstance(kept, Unclear)
    assert [each.origin for each in parse_tasks(text).entries if isinstance(each, Unclear)] == [first.mark.name]
    fixed = parse_tasks(text.replace("[x]", "[ ]"))
    (wish,) = [each for each in fixed.entries if isinstance(each, Wish)]
    assert fixed.mark is not None
    assert wish.origin == fixed.mark.name


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Call Bob", 'Begin the line with "- "'),
        ("- ", "no item of a list"),
        ("- [x] Call Bob", "ticked already"),
        ("- @clerk", "does not say what is to be done"),
        ("- Call Bob @clerk @mate", "More than one agent"),
        ("- Call Bob @Clerk!", "write a \\ before it"),
        ("- Fix #1.2", "cannot be a skill"),
        ("- Call Bob priority:high", "is no priority"),
        ("- Call Bob priority:101", "-100 to 100"),
        ("- Mend it review:nobody", "Unknown reviewer"),
        ('- Mend it review:"command:git push"', "tested by a command"),
        ("- Call Bob project:", "has no name"),
        ("- Call Bob project:a project:b", "twice"),
        (f"- {'long ' * 50}", "longer than 200"),
    ],
)
def test_a_line_that_cannot_be_taken_says_why_and_what_to_do(line: str, why: str) -> None:
    (entry,) = plain(parse_tasks(write_tasks(GENERATED, [Remark(raw=line)], after="", salt="")).entries)
    assert isinstance(entry, Unclear)
    assert why in entry.why


def test_lines_right_below_the_heading_leave_nothing_behind_once_they_are_taken() -> None:
    text = empty = write_tasks("# Tasks", (), after="", salt="1")
    for number in range(3):
        text = text.replace("## Proposed\n", f"## Proposed\n\n- wish {number}\n\n")
        entries = parse_tasks(text).entries
        assert [each.raw for each in entries if isinstance(each, Wish)] == [f"- wish {number}"]
        left = [each for each in entries if not isinstance(each, Wish)]
        text = write_tasks("# Tasks", left, after="", salt="1")
        assert same_but_for_the_mark(text, empty)


def test_comments_fences_and_other_sections_below_are_nobodys_proposals() -> None:
    text = "<!-- - a\n- b -->\n```\n- c\n```\n### From Ann\n- d\n\n## Notes\n- e\n"
    entries = parse_tasks(write_tasks(GENERATED, [Remark(raw=text)], after="", salt="")).entries
    assert [each.title for each in entries if isinstance(each, Wish)] == ["d"]
    assert not [each for each in entries if isinstance(each, Unclear)]


def test_a_file_of_somebodys_own_is_told_from_ours() -> None:
    assert not parse_tasks("# My list\n\n- buy milk\n").ours
    assert parse_tasks("## Proposed\n- buy milk\n").ours


# --- on the disk ---


def test_the_first_file_is_given_only_where_there_is_none(tmp_path: Path) -> None:
    assert replace_tasks(tmp_path, "ours\n", before=None)
    assert replace_tasks(tmp_path, "again\n", before=None) is None
    assert (tmp_path / TASKS_FILE).read_text() == "ours\n"
    assert not (tmp_path / NEW).exists()


def test_what_was_written_since_it_was_read_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / TASKS_FILE
    file.write_text("old\n")
    before = read_tasks(tmp_path)
    file.write_text("new\n")  # in place, and of the same size
    assert replace_tasks(tmp_path, "ours\n", before=before) is None
    (tmp_path / "other").write_text("old\n")
    os.replace(tmp_path / "other", file)  # as editors do, even with the same words
    assert replace_tasks(tmp_path, "ours\n", before=before) is None
    assert file.read_text() == "old\n"


def test_a_file_that_an_editor_has_open_for_writing_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / TASKS_FILE
    file.write_text("old\n")
    before = read_tasks(tmp_path)
    with file.open("a") as editor:
        assert replace_tasks(tmp_path, "ours\n", before=before) is None
        editor.write("- mine\n")
    assert file.read_text() == "old\n- mine\n"
    file.chmod(0o600)
    assert replace_tasks(tmp_path, "ours\n", before=read_tasks(tmp_path))
    assert file.read_text() == "ours\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_left_beside_the_file_is_found(tmp_path: Path) -> None:
    assert read_leftover(tmp_path) is None
    (tmp_path / NEW).write_text("left\n")
    assert read_leftover(tmp_path) == "left\n"
    assert replace_tasks(tmp_path, "ours\n", before=None) is None  # first it is read


def test_a_link_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.md").write_text("x\n")
    (tmp_path / TASKS_FILE).symlink_to("elsewhere.md")
    with pytest.raises(Invalid, match="no plain file"):
        read_tasks(tmp_path)
    (tmp_path / TASKS_FILE).unlink()
    (tmp_path / TASKS_FILE).mkdir()
    with pytest.raises(Invalid, match="no plain file"):
        read_tasks(tmp_path)


def test_two_files_differ_only_by_what_a_person_would_read() -> None:
    one, two = (write_tasks(GENERATED, [], after="", salt=salt) for salt in "12")
    assert one != two
    assert same_but_for_the_mark(one, two)
    assert not same_but_for_the_mark(one, two.replace("T1", "T2"))
