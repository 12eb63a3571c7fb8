"""What strace wrote down is read as it happened, though threads' calls are woven into one another."""

from __future__ import annotations

from pathlib import Path

from tests.power.calls import Make, Reader


def test_a_descriptor_that_another_thread_opens_while_its_close_returns_is_the_new_file(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()

    def coded(text: object) -> str:
        return '"' + "".join(f"\\x{each:02x}" for each in str(text).encode()) + '"'

    record = tmp_path / "fleet.strace"
    record.write_text(
        f"11 openat(AT_FDCWD, {coded(tmp_path)}, O_RDONLY) = 17\n"
        "11 close(17 <unfinished ...>\n"
        f"12 openat(AT_FDCWD, {coded(folder)}, O_RDONLY) = 17\n"
        "11 <... close resumed>) = 0\n"
        f"12 openat(17, {coded('notes.md')}, O_WRONLY|O_CREAT) = 18\n"
    )
    assert Reader(folder).read(record) == [Make(path=str(folder / "notes.md"))]
