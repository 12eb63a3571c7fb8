"""Workspaces on a real disk: re-read when they change, cheap when they do not, and safe whatever lies in them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.domain.errors import Invalid, NotFound, OstinatoError
from ostinato.domain.values import Limits
from ostinato.workspace.agent import FleetDefaults
from ostinato.workspace.file_text import FILE_BYTES_MAX
from ostinato.workspace.registry import Workspaces


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "agents" / "triage"
    folder.mkdir(parents=True)
    (folder / "SOUL.md").write_text("# Triage\nSorts.")
    (folder / "AGENTS.md").write_text("---\nskills: [a]\n---\nHow.")
    return folder


def settle(folder: Path) -> None:
    """Make every file as old as files mostly are: what changed just now is read once more to be sure."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def test_a_change_is_seen_at_the_next_look_however_soon_it_comes(tmp_path: Path, folder: Path) -> None:
    workspaces = Workspaces(tmp_path)
    for number in range(60):
        (folder / "AGENTS.md").write_text(f"---\nskills: [a{number:02d}]\n---\n")
        assert workspaces.current("triage").skills == (f"a{number:02d}",)


def replace(path: Path, text: str) -> None:
    """As careful editors do it: write beside it, then rename."""
    (path.parent / "new").write_text(text)
    (path.parent / "new").replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file that comes": lambda folder: (folder / "TOOLS.md").write_text("---\nallow: [files.read]\n---\n"),
    "a file that goes": lambda folder: (folder / "SOUL.md").unlink(),
    "a file that is replaced": lambda folder: replace(folder / "SOUL.md", "another"),
    "a file that grows": lambda folder: (folder / "SOUL.md").write_text("# Triage\nSorts. And more."),
    "a heartbeat that comes": lambda folder: (folder / "heartbeats" / "b.md").write_text("---\nevery: 1h\n---\n"),
    "a heartbeat that changes": lambda folder: (folder / "heartbeats" / "a.md").write_text("---\nevery: 2h\n---\n"),
    "a file that a link leads to": lambda folder: (folder / "shared.md").write_text("another memory"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_makes_another_version(tmp_path: Path, folder: Path, change: str) -> None:
    (folder / "heartbeats").mkdir()
    (folder / "heartbeats" / "a.md").write_text("---\nevery: 1h\n---\n")
    (folder / "shared.md").write_text("a memory")
    (folder / "MEMORY.md").symlink_to("shared.md")
    settle(folder)
    workspaces = Workspaces(tmp_path)
    before = workspaces.current("triage")
    assert workspaces.refresh_all() == []
    CHANGES[change](folder)
    assert workspaces.current("triage").version != before.version


def test_an_agent_that_has_not_changed_is_the_same_value_and_quick(tmp_path: Path, folder: Path) -> None:
    (folder / "heartbeats").mkdir()
    settle(folder)
    workspaces = Workspaces(tmp_path)
    first = workspaces.current("triage")
    best = min(_seconds(lambda: workspaces.current("triage")) for _ in range(200))
    assert workspaces.current("triage") is first
    assert best < 200e-6  # 10 to 20 microseconds on an idle machine


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_a_touched_file_with_the_same_contents_leaves_the_agent_as_it_is(tmp_path: Path, folder: Path) -> None:
    settle(folder)
    workspaces = Workspaces(tmp_path)
    first = workspaces.current("triage")
    (folder / "SOUL.md").write_text((folder / "SOUL.md").read_text())
    assert workspaces.current("triage") is first


def test_a_broken_agent_is_refused_and_reported_until_it_is_mended(tmp_path: Path, folder: Path) -> None:
    workspaces = Workspaces(tmp_path)
    assert workspaces.refresh_all() == ["triage"]
    (folder / "AGENTS.md").write_text("---\nskils: [a]\n---\n")
    for _ in range(2):
        with pytest.raises(Invalid, match="skils"):
            workspaces.current("triage")
    (problem,) = workspaces.problems()
    assert (problem.agent, problem.level) == ("triage", "error")
    assert problem.place == "agents/triage/AGENTS.md:2, key 'skils'"
    assert "Did you mean 'skills'" in problem.message
    (folder / "AGENTS.md").write_text("---\nskills: [b]\n---\n")
    assert workspaces.current("triage").skills == ("b",)
    assert workspaces.problems() == ()


def test_a_warning_is_reported_and_keeps_nobody_from_working(tmp_path: Path, folder: Path) -> None:
    (folder / "TOOLS.md").write_text("---\nallow: ['*']\n---\n")
    (folder / "MEMORY.md").write_bytes("Grüße".encode("latin-1"))
    workspaces = Workspaces(tmp_path)
    assert workspaces.current("triage").prompt_files["MEMORY.md"] == "Grüße"
    assert {(each.level, each.code) for each in workspaces.problems()} == {
        ("warning", "encoding"),
        ("warning", "wildcard-tools"),
    }


def test_a_sweep_tells_what_is_new_changed_broken_mended_and_gone(tmp_path: Path, folder: Path) -> None:
    workspaces = Workspaces(tmp_path)
    assert workspaces.refresh_all() == ["triage"]
    assert workspaces.refresh_all() == []
    (tmp_path / "agents" / "sales").mkdir()
    assert workspaces.refresh_all() == ["sales"]
    (folder / "AGENTS.md").write_text("---\nskills: [b\n---\n")
    assert workspaces.refresh_all() == ["triage"]
    assert workspaces.refresh_all() == []
    (folder / "AGENTS.md").write_text("---\nskills: [b]\n---\n")
    assert workspaces.refresh_all() == ["triage"]
    (folder / "AGENTS.md").unlink()
    (folder / "SOUL.md").unlink()
    folder.rmdir()
    assert workspaces.refresh_all() == ["triage"]
    assert workspaces.ids() == ["sales"]


def test_an_unknown_agent_is_answered_with_the_nearest(tmp_path: Path, folder: Path) -> None:
    assert folder.is_dir()
    workspaces = Workspaces(tmp_path)
    with pytest.raises(NotFound, match="Did you mean 'triage'"):
        workspaces.current("triag")
    for name in ("", ".", "..", "../triage", "triage/", "Triage", "a" * 200, "x\0y", "triage\n"):
        with pytest.raises(NotFound):
            workspaces.current(name)


def test_only_folders_with_a_proper_name_are_agents(tmp_path: Path, folder: Path) -> None:
    for name in ("Big", ".hidden", "with space", "-x", "ü", "a" * 64):
        (folder.parent / name).mkdir()
    (folder.parent / "readme").write_text("no agent")
    assert Workspaces(tmp_path).ids() == ["triage"]
    assert Workspaces(tmp_path / "nothing").ids() == []


def test_an_empty_folder_is_an_agent_without_tools(tmp_path: Path) -> None:
    (tmp_path / "agents" / "empty").mkdir(parents=True)
    agent = Workspaces(tmp_path).current("empty")
    assert (agent.policy.tools, agent.heartbeats, dict(agent.prompt_files)) == ((), (), {})


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_out(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _link_up(path: Path) -> None:
    path.symlink_to("../../ostinato.toml")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing.md")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_a_link(path: Path) -> None:
    (path.parent / "other.md").symlink_to("SOUL.md")
    path.symlink_to("other.md")


def _too_large(path: Path) -> None:
    path.write_bytes(b"x" * (FILE_BYTES_MAX + 1))


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


IN_ITS_PLACE = [
    _pipe,
    _link_out,
    _link_up,
    _link_to_nothing,
    _link_to_itself,
    _link_to_a_link,
    _too_large,
    _device,
]


@pytest.mark.parametrize("name", ["AGENTS.md", "TOOLS.md", "MEMORY.md", "heartbeats/daily.md"])
def test_a_folder_in_the_place_of_a_file_says_nothing_and_is_reported(tmp_path: Path, folder: Path, name: str) -> None:
    (folder / "heartbeats").mkdir()
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    workspaces = Workspaces(tmp_path)
    agent = workspaces.current("triage")
    assert (agent.policy.tools, agent.heartbeats) == ((), ())
    assert [(each.code, each.place) for each in workspaces.problems()] == [("folder", f"agents/triage/{name}")]
    (folder / name).rmdir()
    (folder / name).write_text(
        "---\nsummary: all is well again\n---\n" if name != "heartbeats/daily.md" else "every day"
    )
    assert Workspaces(tmp_path).current("triage").findings == workspaces.current("triage").findings == ()


@pytest.mark.parametrize("put", IN_ITS_PLACE, ids=lambda put: put.__name__.strip("_"))
@pytest.mark.parametrize("name", ["TOOLS.md", "MEMORY.md", "heartbeats/daily.md"])
def test_what_is_no_plain_file_is_refused_with_its_name(
    tmp_path: Path, folder: Path, put: Callable[[Path], None], name: str
) -> None:
    (folder / "heartbeats").mkdir()
    put(folder / name)
    with pytest.raises(Invalid) as caught:
        Workspaces(tmp_path).current("triage")
    assert caught.value.place.startswith(f"agents/triage/{name}")
    assert caught.value.cure


@pytest.mark.parametrize("put", [_pipe, _link_out, lambda path: path.write_text("x")], ids=["pipe", "link", "file"])
def test_a_heartbeats_folder_that_is_none_is_refused_or_empty(
    tmp_path: Path, folder: Path, put: Callable[[Path], None]
) -> None:
    put(folder / "heartbeats")
    assert Workspaces(tmp_path).current("triage").heartbeats == ()


def test_heartbeats_are_not_read_through_a_link(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.md").write_text("---\nevery: 1s\n---\n")
    (folder / "heartbeats").symlink_to("../../elsewhere")
    with pytest.raises(Invalid, match="The folder heartbeats/ cannot be read"):
        Workspaces(tmp_path).current("triage")


def test_a_file_may_have_a_second_name_in_its_folder(tmp_path: Path, folder: Path) -> None:
    (folder / "shared.md").write_text("Shared words.")
    (folder / "MEMORY.md").symlink_to("shared.md")
    assert Workspaces(tmp_path).current("triage").prompt_files["MEMORY.md"] == "Shared words."


def test_a_file_that_may_not_be_read_is_refused_unless_one_is_root(tmp_path: Path, folder: Path) -> None:
    (folder / "SOUL.md").chmod(0)
    workspaces = Workspaces(tmp_path)
    if os.geteuid() == 0:
        assert workspaces.current("triage").prompt_files["SOUL.md"]
    else:
        with pytest.raises(Invalid, match="cannot be read"):
            workspaces.current("triage")


def test_large_files_and_emoji_are_what_they_are(tmp_path: Path, folder: Path) -> None:
    text = "\N{GRINNING FACE} Viele Wörter. " * 10_000
    (folder / "MEMORY.md").write_text(text)
    assert Workspaces(tmp_path).current("triage").prompt_files["MEMORY.md"] == text.strip()


def test_an_agent_of_kept_texts_equals_the_one_on_the_disk(tmp_path: Path, folder: Path) -> None:
    (folder / "HEARTBEAT.md").write_bytes(b"\xef\xbb\xbf---\r\nevery: 15m\r\n---\r\nLook.")
    workspaces = Workspaces(tmp_path, defaults=FleetDefaults(timezone="Asia/Tokyo", limits=Limits(steps=3)))
    agent = workspaces.current("triage")
    assert workspaces.from_texts("triage", agent.texts) == agent
    with pytest.raises(OstinatoError):
        workspaces.from_texts("triage", {"AGENTS.md": "---\nskils: x\n---\n"})


def test_the_newest_daily_notes_are_shown_oldest_first(tmp_path: Path, folder: Path) -> None:
    memory = folder / "memory"
    memory.mkdir()
    for day in range(1, 8):
        (memory / f"2026-03-0{day}.md").write_text(f"day {day}")
    (memory / "2026-03-08.md").write_text("  \n")
    (memory / "2026-03-09.md").symlink_to("/etc/hostname")
    (memory / "2026-03-10.md").write_bytes(b"\0\0")
    (memory / "notes.md").write_text("other")
    workspaces = Workspaces(tmp_path)
    assert dict(workspaces.daily_notes("triage")) == {
        "memory/2026-03-06.md": "day 6",
        "memory/2026-03-07.md": "day 7",
    }
    assert list(workspaces.daily_notes("triage")) == ["memory/2026-03-06.md", "memory/2026-03-07.md"]
    version = workspaces.current("triage").version
    (memory / "2026-03-11.md").write_text("day 11")
    assert workspaces.current("triage").version == version
    assert workspaces.daily_notes("unknown") == {}


def test_no_more_agents_are_kept_than_asked_for(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / "agents" / f"a{number:02d}").mkdir(parents=True)
        (tmp_path / "agents" / f"a{number:02d}" / "SOUL.md").write_text(f"I am {number}.")
        settle(tmp_path / "agents" / f"a{number:02d}")
    workspaces = Workspaces(tmp_path, kept_max=5)
    assert len(workspaces.refresh_all()) == 40
    assert workspaces.refresh_all() == []
    first = workspaces.current("a00")
    assert workspaces.current("a00") is first
    for number in range(1, 6):
        workspaces.current(f"a{number:02d}")
    assert workspaces.current("a00") is not first
    assert workspaces.current("a00") == first


@pytest.mark.slow
def test_many_threads_see_whole_agents_while_files_change(tmp_path: Path, folder: Path) -> None:
    (folder / "AGENTS.md").write_text("---\nskills: [s0]\n---\ns0")
    workspaces = Workspaces(tmp_path)
    stop, seen, wrong = threading.Event(), set[str](), list[BaseException]()

    def read() -> None:
        try:
            while not stop.is_set():
                agent = workspaces.current("triage")
                assert agent.skills[0] == agent.prompt_files["AGENTS.md"]
                seen.add(agent.version)
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=read) for _ in range(3)] + [
        threading.Thread(target=lambda: [workspaces.refresh_all() for _ in range(50)])
    ]
    for each in threads:
        each.start()
    for number in range(300):
        replace(folder / "AGENTS.md", f"---\nskills: [s{number}]\n---\ns{number}")
    stop.set()
    for each in threads:
        each.join()
    assert not wrong
    assert seen
