"""The name in the first message of TLS: a tunnel is for the host that was judged, not for its neighbour at the same
address.

Pure. What is no TLS, or names nobody, is left alone: the tunnel still ends at an address of that host. Source: RFC
8446, section 4.1.2; RFC 6066, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator


def foreign_name(first: bytes, host: str) -> bool:
    """True where `first` begins TLS with somebody else than `host`, or in a way that hides with whom."""
    if first[:1] != b"\x16":
        return False
    try:
        names = list(_names(first))
    except IndexError:
        return True  # cut short, or spread over several records, as no usual client does
    return any(each.lower().rstrip(b".") != host.encode() for each in names)


def _names(data: bytes) -> Iterator[bytes]:
    record = _part(data, 3, 2)
    if record[0] != 1:
        return
    hello = _part(record, 1, 3)
    at = 34  # version and random
    for width in (1, 2, 1):  # session, ciphers, compression
        at += width + len(_part(hello, at, width))
    if at == len(hello):
        return
    extensions, at = _part(hello, at, 2), 0
    while at < len(extensions):
        kind, body = extensions[at : at + 2], _part(extensions, at + 2, 2)
        at += 4 + len(body)
        if kind == b"\0\0":
            names, inner = _part(body, 0, 2), 0
            while inner < len(names):
                name = _part(names, inner + 1, 2)
                inner += 3 + len(name)
                yield name


def _part(data: bytes, at: int, width: int) -> bytes:
    """What follows a length of `width` bytes. Raises IndexError where not all of it is there."""
    size = int.from_bytes(data[at : at + width])
    end = at + width + size
    if len(data) < end or len(data) < at + width:
        raise IndexError(at)
    return data[at + width : end]
