"""A node with a bug behind two of its doors, for the proof that the judge notices: dropped files that are refused are
deleted, and unknown keys of a request are looked up without asking.

Run by its path in the place of `python -m ostinato.node`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ostinato import node
from ostinato.agents import inbox
from ostinato.domain.errors import OstinatoError
from ostinato.gateway import http
from ostinato.gateway.operation import AnyRoute, read_request
from ostinato.workspace.inbox import InboxFile


def _delete(fleet: Path, file: InboxFile, error: OstinatoError, *, at: int) -> str:
    (fleet / file.file).unlink()
    return file.name


def _read(route: AnyRoute, fields: Mapping[str, Any], **more: Any) -> Any:
    known = {each: each for each in route.request.__struct_encode_fields__}
    return read_request(route, {known[key]: value for key, value in fields.items()}, **more)


if __name__ == "__main__":
    inbox.refuse = _delete
    http.read_request = _read
    sys.exit(node.main(sys.argv[1:]))
