"""Requests to the local API: their bodies, queries, paths, heads and framing.

Left out is whatever would halt the fleet or write outside its folder. Knows nothing of sockets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from urllib.parse import quote, quote_from_bytes

from tests.security.hostile.case import Exchange, Kind, Surface
from tests.security.hostile.form import brackets, encoded, quoted

JSON_TYPE = "application/json"

BODIES = {
    "/api/v1/tasks": {
        "title": '"Hello"',
        "agent": '"spare"',
        "priority": "3",
        "input": '{"a": 1}',
        "project": '"desk"',
    },
    "/api/v1/sessions/send": {"agent": '"spare"', "text": '"Hello"', "session": '"main:spare"'},
    "/api/v1/wake": {"agent": '"spare"', "text": '"Hello"'},
    "/api/v1/tasks/T1/comment": {"text": '"Hello"'},
    "/api/v1/schedules": {
        "name": '"later"',
        "agent": '"spare"',
        "text": '"Hello"',
        "every": '"7d"',
        "session": '"main"',
    },
    "/api/v1/agents/spare/pause": {"reason": '"Hello"'},
    "/api/v1/approvals/Q1/answer": {"text": '"Hello"'},
    "/api/v1/dead/T1/dismiss": {"reason": '"Hello"'},
}
"""Target -> key -> source of its value."""

QUERIES = {
    "/api/v1/tasks": ["state", "agent", "project", "before", "limit"],
    "/api/v1/events": ["since", "until", "agent", "session", "limit"],
    "/api/v1/approvals": ["state", "agent", "before", "limit"],
    "/api/v1/cost": ["since", "until", "limit"],
}
"""Target -> some keys of its query."""

NAMED = [
    "/api/v1/agents/{}", "/api/v1/agents/{}/context", "/api/v1/tasks/{}", "/api/v1/tasks/{}/explain",
    "/api/v1/tasks/{}/why", "/api/v1/sessions/{}", "/api/v1/approvals/{}", "/api/v1/dead/{}", "/api/v1/{}",
    "/api/v1/tasks?agent={}", "/api/v1/tasks?state={}", "/api/v1/events?session={}", "/api/v1/approvals?kind={}",
]  # fmt: skip
NAMES = [
    ("/api/v1/tasks", "agent"), ("/api/v1/tasks", "project"), ("/api/v1/tasks", "key"), ("/api/v1/schedules", "name"),
    ("/api/v1/tasks", "model"), ("/api/v1/sessions/send", "agent"), ("/api/v1/sessions/send", "session"),
    ("/api/v1/sessions/send", "key"), ("/api/v1/wake", "session"),
]  # fmt: skip
"""Target and key of a name in a body."""
NUMBERED = ["/api/v1/tasks?limit={}", "/api/v1/tasks?before={}", "/api/v1/tasks/{}", "/api/v1/events?after={}",
            "/api/v1/approvals/{}", "/api/v1/sessions/main:clerk?turns={}"]  # fmt: skip


TOKEN = "ost_" + "h" * 43
"""Of the honest caller; hostile ones have it too, so that their input is read at all."""


def request(method: str, target: bytes, body: bytes | None = None, *, heads: Sequence[bytes] = ()) -> bytes:
    """A request of one piece; `heads` are further lines."""
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"host: localhost", *heads]
    if not any(each.lower().startswith(b"authorization:") for each in heads):
        lines.append(b"authorization: Bearer " + TOKEN.encode())
    if body is not None:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


class HttpForm:
    """Writes requests."""

    surface = Surface.API

    def __init__(self, random: Random) -> None:
        self._random = random
        self._target = random.choice(list(BODIES))
        self._query = random.choice(list(QUERIES)) if random.randrange(3) == 0 else ""
        """Where the query is tried instead of a body; empty: nowhere."""

    def whole(self) -> bytes:
        return self._json({})

    def keys(self) -> Sequence[str]:
        return QUERIES[self._query] if self._query else list(BODIES[self._target])

    def raw(self, data: bytes) -> Exchange:
        if self._random.randrange(5) == 0:
            return Exchange((data + b"\r\n\r\n",), hangs_up=True)
        return self._post(data)

    def body(self, source: str) -> Exchange:
        return self._post(encoded(source))

    def text(self, text: str) -> Exchange:
        source = quoted(text, self._random)
        if self._random.randrange(3) == 0:
            heads = (
                b"content-type: application/json",
                b"authorization: Bearer " + quote_from_bytes(encoded(text)).encode(),
            )
            return Exchange((request("POST", self._target.encode(), self.whole(), heads=heads),))
        if self._random.randrange(2):
            self._target = "/api/v1/tasks"
            title = " ".join(text.split()) or text
            return Exchange(self._post(self._json({"title": source})).parts, title=title)
        return self._changed(next(key for key in ("text", "reason", "title") if key in BODIES[self._target]), source)

    def named(self, name: str) -> Exchange:
        if self._random.randrange(3) == 0:
            self._target, key = self._random.choice(NAMES)
            return self._changed(key, quoted(name, self._random))
        return self._get(self._random.choice(NAMED), name)

    def path(self, path: str) -> Exchange:
        match self._random.randrange(3):
            case 0:
                return self._get("/api/v1/{}", path)
            case 1:
                return Exchange((request("GET", b"/api/v1/" + encoded(path).replace(b" ", b"+")),), hangs_up=True)
            case _:
                body = (
                    b'{"file": ' + encoded(quoted(path if path.startswith("/") else f"./{path}", self._random)) + b"}"
                )
                return self._post(body, target="/api/v1/backup")

    def moment(self, text: str) -> Exchange:
        if self._random.randrange(2):
            return self._get(self._random.choice(["/api/v1/events?since={}", "/api/v1/cost?until={}"]), text)
        self._target = self._random.choice(["/api/v1/tasks", "/api/v1/schedules"])
        keys = (
            ["not_before", "deadline", "timeout"] if self._target.endswith("tasks") else ["every", "active", "timezone"]
        )
        return self._changed(self._random.choice(keys), quoted(text, self._random))

    def expression(self, text: str) -> Exchange:
        if self._random.randrange(3) == 0:
            return self._get("/api/v1/events?name={}", text)
        self._target = "/api/v1/schedules"
        return self._changed(self._random.choice(["cron", "weekdays", "misfire"]), quoted(text, self._random))

    def number(self, source: str) -> Exchange:
        if self._random.randrange(2):
            return self._get(self._random.choice(NUMBERED), source)
        self._target = "/api/v1/tasks"
        return self._changed("priority", source)

    def literal(self, source: str) -> Exchange:
        return self._changed(self._random.choice(list(BODIES[self._target])), source)

    def key(self, name: str) -> Exchange:
        if self._query:
            return self._get(f"{self._query}?{{}}=x", name)
        return self._post(self._json({})[:-1] + b", " + encoded(quoted(name, self._random)) + b': "x"}')

    def nested(self, depth: int) -> Exchange:
        value = brackets(depth, self._random)
        if self._random.randrange(3) == 0:
            return self._post(encoded(value))
        self._target = "/api/v1/tasks"
        return self._changed("input", f'{{"a": {value}}}')

    def sized(self, size: int) -> Exchange:
        # Who sends a head without end may be hung up on before the answer is read.
        match self._random.randrange(4):
            case 0:
                return self._changed(self._random.choice(list(BODIES[self._target])), f'"{"x" * size}"')
            case 1:
                return Exchange((request("GET", b"/api/v1/status", heads=(b"x: " + b"y" * size,)),), hangs_up=True)
            case 2:
                return Exchange((request("GET", b"/api/v1/status", heads=(b"a: b",) * (size // 10)),), hangs_up=True)
            case _:
                return Exchange((request("GET", b"/api/v1/tasks?text=" + b"x" * size),), hangs_up=True)

    def twice(self, times: int) -> Exchange:
        key = self._random.choice(list(BODIES[self._target]))
        pair = f'"{key}": {BODIES[self._target][key]}'
        again = encoded("{" + ", ".join([pair] * times) + "}")
        sized = (b"content-type: application/json", *(b"content-length: %d" % (4 + number) for number in range(times)))
        return self._random.choice(
            [
                self._post(again),
                Exchange((request("POST", self._target.encode(), again, heads=sized),), hangs_up=True),
                Exchange((request("GET", b"/api/v1/tasks?" + b"&".join([b"limit=1"] * times)),)),
                Exchange((request("GET", b"/api/v1/status", heads=(b"host: other",) * times),), hangs_up=True),
                Exchange((request("GET", b"/api/v1/status") * times,)),
                self._post(self.whole(), heads=(b"content-type: text/plain",) * times),
            ]
        )

    def other_kind(self, kind: Kind, random: Random) -> Exchange:
        body, target = self.whole(), self._target.encode()
        method = random.choice(["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "DELETE"])
        kinds = [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "application/yaml",
        ]
        typed = (f"content-type: {random.choice(kinds)}".encode(),)
        heads = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x00\x01\x02\r\n\r\n",
            b"USER root\r\n",
            b"GET  /  HTTP/1.1\r\n\r\n",
        ]
        upgrade = (
            b"connection: upgrade",
            b"upgrade: websocket",
            b"sec-websocket-version: 13",
            b"sec-websocket-key: eA==",
        )
        return random.choice(
            [
                Exchange((request(method, target, body, heads=(b"content-type: application/json",)),)),
                Exchange((request("POST", target, body, heads=typed),)),
                Exchange((random.choice(heads),), hangs_up=True),
                Exchange((request("GET", b"/api/v1/status", heads=upgrade),)),
                Exchange((request("GET", b"/api/v1/tasks", body),)),
                Exchange((request("POST", target + b"?title=x", body, heads=(b"content-type: application/json",)),)),
            ]
        )

    def moving(self, random: Random) -> Exchange:
        body, line = self.whole(), b"POST " + self._target.encode() + b" HTTP/1.1\r\nhost: x\r\n"
        head = line + b"content-type: application/json\r\n"
        chunked = head + b"transfer-encoding: chunked\r\n\r\n"
        middle = len(body) // 2
        pieces = tuple(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:middle], body[middle:]))
        return random.choice(
            [
                Exchange((chunked, *pieces, b"0\r\n\r\n")),
                Exchange((chunked, pieces[0]), hangs_up=True),
                Exchange((chunked, b"ffffffffff\r\nx"), hangs_up=True),
                Exchange((chunked, b"-5\r\nx\r\n0\r\n\r\n"), hangs_up=True),
                Exchange((head + b"content-length: 500\r\n\r\n", body), hangs_up=True),
                Exchange((head + b"content-length: -5\r\n\r\n", body), hangs_up=True),
                Exchange((head + b"content-length: 4\r\n\r\n", body), hangs_up=True),
                Exchange((head + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", *pieces), hangs_up=True),
                Exchange((head + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body), body)),
                Exchange((line[:-20],), hangs_up=True),
                Exchange(tuple(bytes([each]) for each in head + b"content-length: %d\r\n\r\n" % len(body) + body)),
            ]
        )

    def _json(self, changes: dict[str, str]) -> bytes:
        found = {**BODIES[self._target], **changes}
        return encoded("{" + ", ".join(f"{json.dumps(key)}: {source}" for key, source in found.items()) + "}")

    def _changed(self, key: str, source: str) -> Exchange:
        return self._post(self._json({key: source}))

    def _post(self, body: bytes, *, target: str = "", heads: Sequence[bytes] = ()) -> Exchange:
        heads = heads or (b"content-type: application/json",)
        return Exchange((request("POST", (target or self._target).encode(), body, heads=heads),))

    def _get(self, pattern: str, word: str) -> Exchange:
        return Exchange((request("GET", pattern.replace("{}", quote(encoded(word), safe="")).encode()),))
