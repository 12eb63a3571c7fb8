"""What is built and shipped: the wheel holds every file that the package needs, and says which version it is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ostinato
from tests.tidy.rule import NOT_OURS, ROOT


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"ostinato-{ostinato.__version__}-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(f"ostinato-{ostinato.__version__}.dist-info/METADATA").decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    source = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "ostinato").rglob("*")
        if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts)
    }
    assert packed == source
    assert "License-Expression: Apache-2.0" in metadata
