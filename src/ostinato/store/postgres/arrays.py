r"""Many values of a column as one array in PostgreSQL's own notation, made by the JSON encoder.

JSON's list and PostgreSQL's array differ in their brackets, in `true`, and in what a backslash may stand before: JSON
writes a line's end as `\n`, which an array reads as the letter. Texts with such an escape, or with a backslash, are few
and written here; a driver that writes each value by itself takes ten times as long. Knows nothing of statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ostinato.store.postgres.wire import FLOAT8, INT8, text_of

_encode = msgspec.json.Encoder().encode


def array(values: Sequence[Any], *, of: int) -> bytes:
    """Values of one type of the server's, as an array. Raises OverflowError and UnicodeEncodeError for what no column
    holds."""
    if of == FLOAT8:  # JSON has no infinity
        return b"{%b}" % ",".join("NULL" if each is None else repr(each) for each in values).encode()
    listed = _encode(values)
    if of == INT8:
        if b"e" in listed:  # true or false
            listed = listed.replace(b"true", b"1").replace(b"false", b"0")
    elif listed.count(b"\\") != listed.count(b'\\"'):  # a backslash before something else than a quote
        return b"{%b}" % b",".join(map(_quoted, values))
    return b"{%b}" % listed[1:-1]


def _quoted(value: object) -> bytes:
    return b"NULL" if value is None else b'"%b"' % text_of(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
