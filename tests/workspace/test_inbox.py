"""Dropped files: each taken once, whole, and by the book; what cannot be taken is set aside with its reason."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.domain.instant import parse_instant
from ostinato.domain.task import After, Condition
from ostinato.domain.values import Trust
from ostinato.workspace.inbox import (
    FILE_BYTES_MAX,
    LOOK_MAX,
    InboxFile,
    Look,
    inbox_folder,
    look,
    prune,
    put_away,
    read_items,
    readable_name,
    refuse,
)
from ostinato.workspace.inbox_item import ITEM_KEYS, InboxItem, ItemKind, ItemSource, parse_items
from tests.conftest import wait_until
from tests.workspace.hostile import FAMILIES

AT = parse_instant("2026-03-01T12:00:00Z")


@pytest.fixture(name="inbox")
def _inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def ready(fleet: Path, agent: str | None = None) -> tuple[InboxFile, ...]:
    """The files that can be taken now, without waiting for them to settle."""
    return look(fleet, agent, settle_s=0.0).ready


def only(fleet: Path, agent: str | None = None) -> InboxFile:
    """The one file that can be taken."""
    (file,) = ready(fleet, agent)
    return file


def items_of(text: str, name: str = "a.md", **more: str) -> tuple[InboxItem, ...]:
    """What a file with this text says."""
    return parse_items(text.encode(), ItemSource(name=name, file=f"inbox/{name}", key="file:1", **more))


def test_markdown_with_front_matter_is_a_task() -> None:
    (item,) = items_of(
        "---\nagent: billing\ntitle: Refund order 7\npriority: 5\nproject: shop\ntype: refund\nskills: [billing]\n"
        "after: [T12, 13]\nnot_before: 2026-03-02T08:00\ndeadline: 2026-03-03\ntimeout: 15m\nmodel: strong\n"
        "input: {order: 7}\n---\nPlease look at the order.\n",
        timezone="Europe/Zurich",
    )
    assert item == InboxItem(
        kind=ItemKind.TASK,
        agent="billing",
        title="Refund order 7",
        goal="Please look at the order.",
        priority=5,
        project="shop",
        type="refund",
        skills=("billing",),
        after=(12, 13),
        not_before_at=parse_instant("2026-03-02T07:00Z"),
        deadline_at=parse_instant("2026-03-02T23:00Z"),
        timeout_s=900.0,
        model="strong",
        input={"order": 7},
        key="file:1",
        file="inbox/a.md",
    )
    assert item.trust is Trust.OPERATOR


def test_json_is_one_task_or_several() -> None:
    (item,) = items_of('{"title": "One", "goal": "Do one."}', "a.json")
    assert (item.title, item.goal, item.key) == ("One", "Do one.", "file:1")
    items = items_of('[{"title": "One"}, {"goal": "Two\\nmore", "kind": "proposal"}]', "a.json")
    assert [(each.title, each.kind.value, each.key) for each in items] == [
        ("One", "task", "file:1#1"),
        ("Two", "proposal", "file:1#2"),
    ]


@pytest.mark.parametrize(("name", "text"), [("a.eml", "Subject: x\n\nHi"), ("a.md", "# Prose alone"), ("a", "{}")])
def test_any_other_file_is_an_attachment_that_instructs_nobody(name: str, text: str) -> None:
    (item,) = items_of(text, name)
    assert (item.kind, item.title, item.goal, item.trust) == (ItemKind.TASK, name, "", Trust.EXTERNAL)
    assert [(each.name, each.data) for each in item.attachments] == [(name, text.encode())]
    (item,) = items_of(text, name, agent="triage")
    assert (item.kind, item.agent) == (ItemKind.MESSAGE, "triage")


def test_a_file_in_an_agents_own_inbox_is_trusted_no_further_than_the_agent() -> None:
    (item,) = items_of("---\ntitle: x\n---\n", agent="triage")
    assert (item.agent, item.trust) == ("triage", Trust.AGENT)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.md", "---\ntitel: x\n---\n", "inbox/a.md:2, key 'titel': Unknown key 'titel'"),
        ("a.md", "---\ntitle: x\n", "The front matter has no end"),
        ("a.md", "---\nagent: x\n---\n", "The item says nothing"),
        ("a.md", "---\ngoal: x\n---\ny\n", "twice"),
        ("a.md", "---\nkind: mesage\ntitle: x\n---\n", "Did you mean 'message'?"),
        ("a.md", "---\nkind: message\ntitle: x\n---\n", "The message is for nobody"),
        ("a.md", "---\ntitle: x\npriority: 101\n---\n", "It can be -100 to 100."),
        ("a.md", "---\ntitle: x\nafter: soon\n---\n", "Name tasks like this: [T12, T13:failure]."),
        ("a.md", "---\ntitle: x\nafter: ['T1:failur']\n---\n", "Did you mean 'failure'?"),
        ("a.md", "---\ntitle: x\ndeadline: soon\n---\n", "key 'deadline': 'soon' is not a time"),
        ("a.md", "---\ntitle: x\nagent: ../x\n---\n", "cannot be the name of an agent"),
        ("a.md", "---\ntitle: x\nsession: 'a b'\n---\n", "cannot be the key of a session"),
        ("a.json", "{", "This is not JSON"),
        ("a.json", "[]", "0 items"),
        ("a.json", "[1]", "inbox/a.json: 1 has no keys of its own"),
        ("a.json", '[{"title": "x"}, {"titel": "x"}]', "inbox/a.json, item 2, key 'titel'"),
        ("a.json", '[{"title": "x", "key": "k"}, {"title": "y", "key": "k"}]', "Two items have the same key"),
        ("a.json", "[" * 100_000, "This is not JSON"),
        ("a.json", '{"title": "x", "input": {"a": ' + "[" * 60 + "]" * 60 + "}}", "Nested deeper"),
        ("a.json", "NaN", "This is not JSON"),
    ],
)
def test_a_malformed_file_is_answered_with_place_and_cure(name: str, text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        items_of(text, name)
    assert message in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ITEM_KEYS), inner, max_size=5),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(ITEM_KEYS), json_values, max_size=8))
def test_any_values_of_any_keys_are_taken_or_refused(entry: dict[str, object]) -> None:
    try:
        items = parse_items(msgspec.json.encode(entry), ItemSource(name="a.json", file="inbox/a.json", key="k"))
    except Invalid:
        return
    assert items[0].title
    assert msgspec.json.encode(items)


def test_a_file_is_found_read_and_put_away_and_then_is_gone(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.md").write_text("---\ntitle: x\n---\n")
    file = only(tmp_path)
    (item,) = read_items(tmp_path, file, timezone="UTC")
    assert (item.title, item.file) == ("x", "inbox/a.md")
    moved = put_away(tmp_path, file, at=AT)
    assert moved == "20260301T120000-a.md"
    assert (inbox / "taken" / moved).read_text().startswith("---")
    assert ready(tmp_path) == ()
    assert put_away(tmp_path, file, at=AT) is None


def test_a_crash_between_commit_and_move_finds_the_same_key_again(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.eml").write_text("Subject: x")
    keys = {read_items(tmp_path, only(tmp_path), timezone="UTC")[0].key for _ in range(3)}
    assert len(keys) == 1


def test_the_same_words_dropped_again_are_another_thing(tmp_path: Path, inbox: Path) -> None:
    keys = set()
    for _ in range(3):
        (inbox / "a.eml").write_text("Subject: x")
        file = only(tmp_path)
        keys.add(read_items(tmp_path, file, timezone="UTC")[0].key)
        put_away(tmp_path, file, at=AT)
    assert len(keys) == 3
    assert sorted(each.name for each in (inbox / "taken").iterdir()) == [
        "20260301T120000-a-2.eml",
        "20260301T120000-a-3.eml",
        "20260301T120000-a.eml",
    ]


def test_a_file_may_wait_for_a_failure_for_any_end_and_for_any_one() -> None:
    (item,) = items_of("---\ntitle: x\nafter: [T1, 'T2:failure', '3:always']\nany: true\n---\n")
    assert item.after == (1, After(task=2, on=Condition.FAILURE), After(task=3, on=Condition.ALWAYS))
    assert item.any


def test_a_file_that_changes_after_the_look_is_left_for_the_next(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.txt").write_text("one")
    file = only(tmp_path)
    (inbox / "a.txt").write_text("one, and more")
    assert read_items(tmp_path, file, timezone="UTC") == ()
    assert put_away(tmp_path, file, at=AT) is None
    assert read_items(tmp_path, only(tmp_path), timezone="UTC")[0].attachments[0].data == b"one, and more"
    (inbox / "a.txt").unlink()
    assert read_items(tmp_path, file, timezone="UTC") == ()
    assert refuse(tmp_path, file, Invalid("x"), at=AT) is None


def test_a_file_that_somebody_writes_waits_until_it_is_closed(tmp_path: Path, inbox: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1], 'w'); f.write('half'); f.flush(); print(flush=True);"
         "sys.stdin.read(1); f.write(' and half'); f.close(); print(flush=True); sys.stdin.read()", inbox / "a.txt"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        found = look(tmp_path, None, settle_s=0.0)
        assert (found.ready, found.waiting) == ((), 1)
        writer.stdin.write(b"x")
        writer.stdout.readline()
        assert read_items(tmp_path, only(tmp_path), timezone="UTC")[0].attachments[0].data == b"half and half"
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.slow
def test_a_writer_that_opens_a_file_while_one_looks_does_not_end_the_process(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.txt").write_text("x")
    command = "import sys\nfor _ in range(20000): open(sys.argv[1], 'a').close()"
    writer = subprocess.Popen([sys.executable, "-c", command, inbox / "a.txt"])
    try:
        looks = 0
        while writer.poll() is None:
            found = look(tmp_path, None, settle_s=0.0)
            assert found.waiting + len(found.ready) == 1
            looks += 1
        assert looks
    finally:
        writer.kill()
        writer.wait()


def test_a_file_is_left_alone_until_it_has_settled(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.txt").write_text("x")
    assert look(tmp_path, None, settle_s=60.0).waiting == 1
    assert wait_until(lambda: look(tmp_path, None, settle_s=0.05).ready)


def test_an_old_time_does_not_make_a_new_file_old(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.txt").write_text("x")
    os.utime(inbox / "a.txt", (1_000_000_000, 1_000_000_000))
    assert look(tmp_path, None, settle_s=60.0).waiting == 1


@pytest.mark.parametrize("name", [".a.md", "a.md.part", "a.tmp", "a.txt~", "#a#", "a.crdownload", ".a.swp", "a.PART"])
def test_names_of_unfinished_files_are_not_touched(tmp_path: Path, inbox: Path, name: str) -> None:
    (inbox / name).write_text("x")
    found = look(tmp_path, None, settle_s=0.0)
    assert (found.ready, found.waiting) == ((), 1)


def test_an_empty_file_is_given_time(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.md").touch()
    assert look(tmp_path, None, settle_s=0.0).waiting == 1


def test_folders_stay(tmp_path: Path, inbox: Path) -> None:
    for name in ("more", "taken", "refused"):
        (inbox / name).mkdir()
    assert look(tmp_path, None, settle_s=0.0) == Look()


def test_a_refused_file_is_set_aside_with_its_reason(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.json").write_text('{"titel": "x"}')
    file = only(tmp_path)
    with pytest.raises(Invalid) as caught:
        read_items(tmp_path, file, timezone="UTC")
    moved = refuse(tmp_path, file, caught.value, at=AT)
    assert moved is not None
    assert (inbox / "refused" / moved).read_text() == '{"titel": "x"}'
    why = (inbox / "refused" / f"{moved}.why.txt").read_text()
    assert "2026-03-01T12:00:00+00:00 a.json was not taken." in why
    assert "Did you mean 'title'?" in why
    assert ready(tmp_path) == ()


PUTS: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("put", PUTS)
def test_what_is_no_plain_file_is_refused_and_set_aside(tmp_path: Path, inbox: Path, put: str) -> None:
    PUTS[put](inbox / "a.md")
    file = only(tmp_path)
    with pytest.raises(Invalid) as caught:
        read_items(tmp_path, file, timezone="UTC")
    assert refuse(tmp_path, file, caught.value, at=AT) == "20260301T120000-a.md"
    assert ready(tmp_path) == ()


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, inbox: Path) -> None:
    with (inbox / "a.bin").open("wb") as stream:
        stream.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(Invalid, match="too many"):
        read_items(tmp_path, only(tmp_path), timezone="UTC")


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.txt", b"a\nb.txt", b"\x1b[31m.txt", b"x" * 250 + b".md", "\u202etxt.exe".encode()]
)
def test_any_name_can_be_taken_shown_and_put_away(tmp_path: Path, inbox: Path, name: bytes) -> None:
    with open(os.fsencode(inbox) + b"/" + name, "wb") as stream:
        stream.write(b"hello")
    file = only(tmp_path)
    (item,) = read_items(tmp_path, file, timezone="UTC")
    assert item.title.isprintable()
    assert item.file.isprintable()
    assert item.attachments[0].name == readable_name(file.name)
    assert put_away(tmp_path, file, at=AT) is not None
    assert len(os.listdir(inbox / "taken")) == 1


def test_a_file_in_an_agents_inbox_is_the_agents(tmp_path: Path) -> None:
    folder = inbox_folder(tmp_path, "triage")
    folder.mkdir(parents=True)
    (folder / "a.eml").write_text("Subject: x")
    file = only(tmp_path, "triage")
    (item,) = read_items(tmp_path, file, timezone="UTC")
    assert (item.agent, item.file) == ("triage", "agents/triage/inbox/a.eml")
    assert put_away(tmp_path, file, at=AT) is not None
    assert (folder / "taken").is_dir()


def test_an_agents_inbox_that_leads_elsewhere_is_not_looked_into(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.md").write_text("---\ntitle: x\n---\n")
    (tmp_path / "agents" / "triage").mkdir(parents=True)
    inbox_folder(tmp_path, "triage").symlink_to("../../inbox")
    assert ready(tmp_path, "triage") == ()
    assert len(ready(tmp_path)) == 1


def test_an_inbox_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert ready(tmp_path) == ()
    assert ready(tmp_path, "nobody") == ()


def test_files_are_taken_in_the_order_in_which_they_came_and_not_all_at_once(tmp_path: Path, inbox: Path) -> None:
    names = [f"{number:04d}.txt" for number in range(LOOK_MAX + 20)]
    for name in names:
        (inbox / name).write_text("x")
    found = ready(tmp_path)
    assert [each.name for each in found] == names[:LOOK_MAX]


def test_what_was_taken_long_ago_is_deleted(tmp_path: Path, inbox: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (inbox / name).write_text("x")
        put_away(tmp_path, only(tmp_path), at=AT)
    assert prune(tmp_path, None, keep_s=3_600.0) == 0
    assert prune(tmp_path, None, keep_s=-1.0, most=1) == 1
    assert prune(tmp_path, None, keep_s=-1.0) == 1
    assert prune(tmp_path, "nobody", keep_s=0.0) == 0


def test_an_empty_name_that_a_death_left_among_the_taken_files_is_deleted(tmp_path: Path, inbox: Path) -> None:
    (inbox / "a.txt").write_text("x")
    assert put_away(tmp_path, only(tmp_path), at=AT)
    (inbox / "taken" / "20260301T115959-b.txt").touch()  # made for a file that was not moved there any more
    assert prune(tmp_path, None, keep_s=3_600.0) == 1
    assert [each.name for each in (inbox / "taken").iterdir()] == ["20260301T120000-a.txt"]


@pytest.mark.parametrize("family", FAMILIES)
def test_after_any_hostile_file_the_next_one_is_taken(tmp_path: Path, inbox: Path, family: str) -> None:
    for number, suffix in enumerate(["md", "json", "bin"]):
        data = FAMILIES[family](random.Random(f"{family} {suffix}")) or b" "
        (inbox / f"{number}.{suffix}").write_bytes(data)
    (inbox / "9.md").write_text("---\ntitle: good\n---\n")
    taken: list[InboxItem] = []
    for file in ready(tmp_path):
        try:
            taken.extend(read_items(tmp_path, file, timezone="UTC"))
            put_away(tmp_path, file, at=AT)
        except OstinatoError as error:
            refuse(tmp_path, file, error, at=AT)
    assert taken[-1].title == "good"
    assert sorted(os.listdir(inbox)) in (["refused", "taken"], ["taken"])
    kept = (
        len(os.listdir(inbox / "taken"))
        + len(list(inbox.glob("refused/*")))
        - len(list(inbox.glob("refused/*.why.txt")))
    )
    assert kept == 4
