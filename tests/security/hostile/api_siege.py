"""Hostile requests on the node's real socket, byte for byte: always an answer below 500, never a wait without end."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Sequence

from ostinato.gateway.server import socket_address
from tests.security.hostile.case import Case, Exchange
from tests.security.hostile.judge import faults_of_reply
from tests.security.hostile.placing import HANG_S
from tests.security.hostile.result import Result, by_family
from tests.security.hostile.stand import Stand

HALF_OPEN = 12
"""Callers that begin a request and say no more, during the whole siege."""


UNTOLD = b'{"error": {"code": "", "message": "the answer to HEAD", "place": "", "cure": "has no words"}}'
"""What stands for the body that an answer to HEAD must not have."""


class NoAnswerError(Exception):
    """The connection was closed without a word."""


Reply = tuple[int, str, bytes]
"""Status, content type, body."""


def besiege_api(stand: Stand, cases: Sequence[Case]) -> Result:
    """All cases, family by family; after each family a valid request works, beside callers who keep their connections
    half open."""
    result = Result()
    idle = [_connected(stand) for _ in range(HALF_OPEN)]
    try:
        for number, opened in enumerate(idle):
            opened.sendall(b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"[: 5 + 7 * number])
        for family, members in by_family(cases):
            for case in members:
                result.add(case, *_judged(stand, case))
            result.blame(members[-1], _works_again(stand, f"after {family}"))
    finally:
        for opened in idle:
            opened.close()
    return result


def _judged(stand: Stand, case: Case) -> tuple[str, list[str]]:
    assert isinstance(case.sent, Exchange)
    try:
        status, kind, data = exchange(stand, case.sent)
    except NoAnswerError:
        return "not answered", [] if case.sent.hangs_up else ["the connection is closed without an answer"]
    except TimeoutError:
        return "hung", ["the request hangs"]
    except (http.client.HTTPException, OSError) as error:
        return "broken", [f"the answer is broken: {type(error).__name__}: {error}"]
    if not data and case.sent.parts[0].startswith(b"HEAD "):
        data = UNTOLD
    faults = list(faults_of_reply(status, kind, data, hints=case.hints))
    if status == 200 and case.sent.title is not None and json.loads(data)["title"] != case.sent.title:
        faults.append(f"the accepted title {case.sent.title!r} became {json.loads(data)['title']!r}")
    return "refused" if status >= 300 else "accepted", faults


def exchange(stand: Stand, sent: Exchange) -> Reply:
    """The answer to one exchange. Raises NoAnswerError, TimeoutError, or what the standard library says of an answer
    that is none."""
    with _connected(stand) as opened:
        try:
            for part in sent.parts:
                opened.sendall(part)
            if sent.hangs_up:
                opened.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough; what it said is still there
        return _reply(opened, method="HEAD" if sent.parts[0].startswith(b"HEAD ") else "GET")


def _reply(opened: socket.socket, *, method: str) -> Reply:
    reply = http.client.HTTPResponse(opened, method=method)
    try:
        try:
            reply.begin()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            raise NoAnswerError from None
        return reply.status, reply.getheader("content-type", ""), reply.read()
    finally:
        reply.close()


def _connected(stand: Stand) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.settimeout(HANG_S)
    try:
        with socket_address(stand.state_dir) as address:
            opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened


def _works_again(stand: Stand, title: str) -> Iterator[str]:
    status, found = stand.call("POST", "/api/v1/tasks", {"title": title, "agent": "clerk"})
    if (status, found.get("title")) != (200, title):
        yield f"a valid request does not work afterwards: {status}, {found}"
