"""Every operation, over HTTP on the fleet's socket and in the process: the same request gives the same answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ostinato.domain.errors import OstinatoError
from ostinato.domain.person import NewToken, Role, token_digest
from ostinato.gateway.http import STATUS
from ostinato.gateway.openapi import document
from ostinato.gateway.operation import Operation, Stream
from ostinato.gateway.registry import route_named, routes
from tests.conftest import run
from tests.gateway.ground import NOW, Charge, ask, ask_for, ground, served

SCENARIO: list[tuple[str, dict[str, Any]]] = [
    ("fleet.status", {}),
    ("fleet.check", {}),
    ("fleet.doctor", {}),
    ("fleet.metrics", {}),
    ("agents.review", {}),
    ("agents.review", {"agent": "clerk", "since": "30d"}),
    ("agents.list", {}),
    ("agents.bindings", {}),
    ("agents.show", {"agent": "clerk"}),
    ("agents.show", {"agent": "clrk"}),
    ("agents.context", {"agent": "clerk"}),
    ("agents.scale", {"agent": "clerk", "instances": 3}),
    ("agents.scale", {"agent": "clerk"}),
    ("tasks.list", {}),
    ("tasks.list", {"all": True, "limit": 2}),
    ("tasks.list", {"state": ["failed", "done"], "before": "t3"}),
    ("tasks.list", {"state": ["runing"]}),
    ("tasks.show", {"task": "T1"}),
    ("tasks.show", {"task": "4"}),
    ("tasks.show", {"task": "T99"}),
    ("tasks.explain", {"task": "T5"}),
    ("tasks.why", {"task": "T2"}),
    ("tasks.add", {"title": "Pay", "skills": ["billing"], "not_before": "2h", "key": "k1", "after": ["T3"]}),
    ("tasks.add", {"title": "Pay", "skills": ["billing"], "not_before": "2h", "key": "k1", "after": ["T3"]}),
    ("tasks.add", {"title": "Pay twice", "skills": ["billing"], "key": "k1"}),
    ("tasks.add", {"title": "Nobody"}),
    ("tasks.add", {"title": "Wrong", "agent": "clrk"}),
    ("tasks.comment", {"task": "T4", "text": "The customer has called."}),
    ("tasks.move", {"task": "T4", "priority": 5}),
    ("tasks.move", {"task": "T4"}),
    ("tasks.approve", {"task": "T3"}),
    ("tasks.approve", {"task": "T3"}),
    ("tasks.reject", {"task": "T1", "reason": "no"}),
    ("tasks.retry", {"task": "T2"}),
    ("tasks.retry", {"task": "T7", "more": True}),
    ("tasks.retry", {"task": "T7", "more": True}),
    ("tasks.cancel", {"task": "T2", "reason": "by hand"}),
    ("tasks.tree", {"task": "T5"}),
    ("tasks.tree", {"task": "T999"}),
    ("tasks.plan", {"plan": {"tasks": [{"name": "a", "agent": "clerk"}, {"name": "b", "after": ["a"]}]}, "key": "p"}),
    ("tasks.plan", {"plan": {"tasks": [{"name": "a", "after": ["a"]}]}}),
    ("tasks.edit", {"task": "T1", "goal": "x"}),
    ("tasks.approve_tree", {"task": "T1"}),
    ("tasks.reject_tree", {"task": "T1"}),
    ("tasks.cancel_tree", {"task": "T1"}),
    ("sessions.list", {}),
    ("sessions.show", {"session": "clerk"}),
    ("sessions.show", {"session": "task:1"}),
    ("sessions.show", {"session": "a/b"}),
    ("sessions.send", {"agent": "clerk", "text": "What is open?", "key": "m1"}),
    ("approvals.list", {}),
    ("approvals.list", {"state": "all", "kind": "approval", "agent": "clerk", "task": "T4"}),
    ("approvals.show", {"question": "q1"}),
    ("approvals.edited", {"question": "q1", "arguments": '{"to": "mail:y@example.com", "text": "Hello"}'}),
    ("approvals.allow", {"question": "Q2"}),
    ("approvals.answer", {"question": "Q1", "text": "yes"}),
    ("approvals.allow", {"question": "Q1", "arguments": {"to": "nobody", "text": "Hello"}}),
    ("approvals.allow", {"question": "Q1", "arguments": {"to": "mail:y@example.com", "text": "Hello"}}),
    ("approvals.allow", {"question": "Q1", "always": ["text=Bye*"]}),
    (
        "approvals.allow",
        {"question": "Q1", "arguments": {"to": "operator", "text": "Hello"}, "always": ["text=H*"], "reason": "fine"},
    ),
    ("approvals.permissions", {}),
    ("approvals.revoke", {"permission": "P1"}),
    ("approvals.revoke", {"permission": "P1"}),
    ("approvals.permissions", {"all": True, "agent": "clerk"}),
    ("tools.list", {}),
    ("tools.list", {"agent": "clerk"}),
    ("tools.check", {"agent": "clerk", "tool": "message.send", "arguments": '{"to": "operator", "text": "Hello"}'}),
    (
        "tools.check",
        {"agent": "clerk", "tool": "message.send", "arguments": '{"to": "mail:y@example.com", "text": "."}'},
    ),
    ("tools.check", {"agent": "clerk", "tool": "message.send", "arguments": "{}"}),
    ("tools.check", {"agent": "clerk", "tool": "message.send", "arguments": "[]"}),
    ("tools.check", {"agent": "clerk", "tool": "no.such"}),
    ("tools.check", {"agent": "nobody", "tool": "message.send"}),
    ("tools.check", {"agent": "clerk", "tool": "message.send", "trust": "some"}),
    ("approvals.deny", {"question": "Q1"}),
    ("approvals.answer", {"question": "Q2", "text": "The red one."}),
    ("schedules.list", {}),
    ("schedules.add", {"name": "daily", "agent": "clerk", "text": "Look.", "cron": "0 7 * * *"}),
    ("schedules.add", {"name": "daily", "agent": "clerk", "text": "Look.", "every": "1d"}),
    ("schedules.add", {"name": "once", "agent": "clerk", "text": "Look.", "at": "2h"}),
    ("schedules.add", {"name": "zone", "agent": "clerk", "text": "Look.", "at": "2030-01-01T08:00"}),
    ("schedules.run", {"name": "daily"}),
    ("schedules.remove", {"name": "daily"}),
    ("schedules.remove", {"name": "daily"}),
    ("fleet.wake", {"agent": "billing", "text": "Good morning.", "next": True}),
    ("agents.pause", {"agent": "clerk", "reason": "tea"}),
    ("agents.drain", {"agent": "clerk"}),
    ("agents.kill", {"agent": "clerk", "reason": "wrong"}),
    ("agents.resume", {"agent": "clerk"}),
    ("agents.resume", {"agent": "clerk"}),
    ("agents.trust", {"agent": "clerk"}),
    ("agents.add", {"agent": "sales", "purpose": "Sells.", "skills": ["sales"]}),
    ("agents.add", {"agent": "sales"}),
    ("dead.list", {}),
    ("tasks.add", {"title": "Fail later", "agent": "clerk"}),
    ("dead.show", {"task": "T1"}),
    ("dead.replay", {"task": "T1"}),
    ("dead.dismiss", {"task": "T1"}),
    ("dead.replay_many", {"where": "status:failed"}),
    ("dead.replay_many", {}),
    ("dead.dismiss_many", {"where": "status:failed", "reason": "done by hand"}),
    ("dead.dismiss_many", {"group": "nothing", "reason": " "}),
    ("processes.list", {"all": True}),
    ("processes.show", {"process": "T1"}),
    ("processes.log", {"process": "T1"}),
    ("processes.write", {"process": "T1", "text": "yes"}),
    ("processes.keys", {"process": "T1", "keys": ["enter"]}),
    ("processes.resize", {"process": "T1", "rows": 50, "columns": 160}),
    ("processes.kill", {"process": "T1"}),
    ("cost.show", {"by": "agent", "since": "30d"}),
    ("cost.show", {"by": "colour"}),
    ("audit.list", {"limit": 3}),
    ("audit.check", {}),
    ("events.list", {"since": "1d"}),
    ("events.list", {"name": ["question"], "latest": True, "limit": 2}),
    ("fleet.stop", {"reason": "fire"}),
    ("fleet.start", {}),
    ("fleet.start", {}),
    ("fleet.stop", {"scope": "agents:clerk"}),
    ("fleet.stop", {"scope": "agent:clrk"}),
    ("fleet.stop", {"scope": "session:nobody"}),
    ("fleet.stop", {"scope": "pool:heavy"}),
    ("fleet.stop", {"scope": "T1", "how": "pause"}),
    ("fleet.stop", {"scope": "task:1", "how": "drain", "reason": "slowly"}),
    ("fleet.start", {"scope": "T1"}),
    ("fleet.backup", {"file": "relative.db"}),
    ("fleet.backup", {"file": "FLEET/copy.db"}),
    ("tokens.whoami", {}),
    ("tokens.add", {"person": "bob"}),
    ("tokens.add", {"person": "a b"}),
    ("tokens.list", {}),
    ("tokens.revoke", {"token": "K2"}),
    ("tokens.revoke", {"token": "K1"}),
    ("secrets.list", {}),
    ("secrets.test", {"secret": "NOBODYS_KEY"}),
    ("mcp.list", {}),
    ("breakers.list", {}),
    ("breakers.reset", {"breaker": "agent:nobody"}),
    ("pins.list", {}),
    ("pins.show", {"pin": "mcp.nobody.nothing"}),
    ("pins.accept", {"pin": "mcp.nobody.nothing", "digest": "0" * 12}),
]


def normal(answer: Any, folder: Path) -> Any:
    """An answer without what differs from machine to machine and from moment to moment."""
    if isinstance(answer, dict) and "disk_free_bytes" in answer:
        return {}
    if isinstance(answer, dict) and {"level", "text", "cure", "name"} == set(answer):
        return {"name": answer["name"], "level": answer["level"]}
    if isinstance(answer, dict):
        return {key: normal(value, folder) for key, value in answer.items() if key not in ("size_bytes", "secret")}
    if isinstance(answer, list):
        return [normal(each, folder) for each in answer]
    return answer.replace(str(folder), "FLEET") if isinstance(answer, str) else answer


def filled(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Fields with the fleet's folder put in."""
    return {
        key: value.replace("FLEET", str(folder)) if isinstance(value, str) else value for key, value in fields.items()
    }


async def answers_over_http(folder: Path) -> list[tuple[int, Any]]:
    """What the whole scenario answers over the socket."""
    found = []
    async with ground(folder) as made, served(made):
        for name, fields in SCENARIO:
            status, answer = await asyncio.to_thread(ask_for, folder, route_named(name), filled(fields, folder))
            found.append((status, normal(answer, folder)))
    return found


async def answers_here(folder: Path) -> list[tuple[int, Any]]:
    """What the whole scenario answers in this process."""
    found = []
    async with ground(folder) as made:
        for name, fields in SCENARIO:
            try:
                answer, status = await made.call(route_named(name), filled(fields, folder)), 200
            except OstinatoError as error:
                detail = {"code": error.code, "message": error.message, "place": error.place, "cure": error.cure}
                answer, status = {"error": detail}, STATUS[error.code]
            found.append((status, normal(answer, folder)))
    return found


def without_place(answer: Any) -> Any:
    """An error's place differs where it names the way in: query, body, or request."""
    if isinstance(answer, dict) and set(answer) == {"error"}:
        return {**answer["error"], "place": answer["error"]["place"].partition(",")[2]}
    return answer


@pytest.mark.slow
def test_every_operation_answers_the_same_over_http_and_in_the_process(tmp_path: Path) -> None:
    over_http = run(answers_over_http(tmp_path / "http"))
    here = run(answers_here(tmp_path / "here"))
    for (name, fields), (status, answer), (status_here, answer_here) in zip(SCENARIO, over_http, here, strict=True):
        assert status == status_here, (name, fields, answer, answer_here)
        assert without_place(answer) == without_place(answer_here), (name, fields)


REFUSALS = [
    ("agents.show", "not_found"),
    ("tasks.list", "invalid"),
    ("tasks.show", "not_found"),
    ("tasks.add", "conflict"),
    ("tasks.add", "not_found"),
    ("tasks.move", "invalid"),
    ("tasks.approve", "conflict"),
    ("tasks.reject", "conflict"),
    ("tasks.retry", "conflict"),
    ("tasks.tree", "not_found"),
    ("tasks.plan", "invalid"),
    ("tasks.edit", "conflict"),
    ("tasks.approve_tree", "conflict"),
    ("tasks.reject_tree", "conflict"),
    ("tasks.cancel_tree", "conflict"),
    ("sessions.show", "not_found"),
    ("approvals.edited", "denied"),
    ("approvals.allow", "conflict"),
    ("approvals.answer", "conflict"),
    ("approvals.allow", "invalid"),
    ("approvals.allow", "denied"),
    ("approvals.allow", "invalid"),
    ("approvals.revoke", "conflict"),
    ("tools.check", "invalid"),
    ("tools.check", "not_found"),
    ("tools.check", "not_found"),
    ("tools.check", "invalid"),
    ("approvals.deny", "conflict"),
    ("schedules.add", "conflict"),
    ("schedules.add", "invalid"),
    ("schedules.remove", "not_found"),
    ("agents.resume", "conflict"),
    ("agents.add", "conflict"),
    ("dead.replay", "conflict"),
    ("dead.dismiss", "conflict"),
    ("dead.replay_many", "not_found"),
    ("dead.replay_many", "invalid"),
    ("dead.dismiss_many", "invalid"),
    ("processes.show", "not_found"),
    ("processes.log", "not_found"),
    ("processes.write", "not_found"),
    ("processes.keys", "not_found"),
    ("processes.resize", "not_found"),
    ("processes.kill", "not_found"),
    ("cost.show", "invalid"),
    ("fleet.start", "conflict"),
    ("fleet.stop", "invalid"),
    ("fleet.stop", "not_found"),
    ("fleet.stop", "not_found"),
    ("fleet.stop", "not_found"),
    ("fleet.backup", "invalid"),
    ("tokens.add", "invalid"),
    ("tokens.revoke", "conflict"),
    ("secrets.test", "not_found"),
    ("breakers.reset", "not_found"),
    ("pins.show", "not_found"),
    ("pins.accept", "not_found"),
]
"""What the scenario may not do, in its order."""


@pytest.mark.slow
def test_the_scenario_meets_success_and_refusal_as_expected(tmp_path: Path) -> None:
    found = run(answers_here(tmp_path / "here"))
    refused = [
        (name, answer["error"]["code"])
        for (name, _), (status, answer) in zip(SCENARIO, found, strict=True)
        if status != 200
    ]
    assert refused == REFUSALS


def test_the_scenario_covers_every_operation() -> None:
    assert {name for name, _ in SCENARIO} == {each.name for each in routes() if isinstance(each, Operation)}


def test_names_and_routes_are_unique() -> None:
    assert len({each.name for each in routes()}) == len(routes())
    assert len({(each.method, each.path) for each in routes()}) == len(routes())


def test_everything_that_writes_needs_more_than_a_viewer() -> None:
    assert [each.name for each in routes() if each.writes and each.role < 2] == []


def test_the_openapi_document_names_every_operation_with_its_request_and_response() -> None:
    described = document(routes())
    named = {entry["operationId"]: entry for path in described["paths"].values() for entry in path.values()}
    assert set(named) == {each.name for each in routes()}
    schemas = described["components"]["schemas"]
    for each in routes():
        assert {each.request.__name__, each.response.__name__} <= set(schemas)
        media = "application/x-ndjson" if isinstance(each, Stream) else "application/json"
        assert media in named[each.name]["responses"]["200"]["content"]
        assert named[each.name]["summary"]


def test_health_readiness_and_the_document_are_served(tmp_path: Path) -> None:
    async def look() -> list[tuple[int, bytes]]:
        async with ground(tmp_path / "fleet") as made, served(made):
            return [
                await asyncio.to_thread(ask, made.folder, "GET", path)
                for path in ("/healthz", "/readyz", "/api/v1/openapi.json")
            ]

    (healthy, _), (ready, _), (described, data) = run(look())
    assert (healthy, ready, described) == (200, 200, 200)
    assert msgspec.json.decode(data)["openapi"] == "3.1.0"


def test_a_response_has_every_key_also_where_it_is_empty(tmp_path: Path) -> None:
    async def look() -> tuple[Any, Any]:
        async with ground(tmp_path / "fleet", past=False) as made:
            return await made.call(route_named("tasks.list"), {}), await made.call(route_named("approvals.list"), {})

    assert run(look()) == ({"tasks": [], "next": None}, {"questions": [], "next": None})


def test_lists_are_paged_by_key_without_gaps(tmp_path: Path) -> None:
    async def look() -> list[str]:
        async with ground(tmp_path / "fleet") as made:
            seen: list[str] = []
            before: dict[str, Any] = {}
            while True:
                page = await made.call(route_named("tasks.list"), {"all": True, "limit": 2, **before})
                seen += [each["id"] for each in page["tasks"]]
                if page["next"] is None:
                    return seen
                before = {"before": page["next"]}

    assert run(look()) == ["T7", "T6", "T5", "T4", "T3", "T2", "T1"]


def test_the_person_who_decides_stands_in_the_record(tmp_path: Path) -> None:
    async def look() -> Any:
        async with ground(tmp_path / "fleet") as made, served(made):
            zoe = NewToken(person="zoe", role=Role.OPERATOR, digest=token_digest("ost_zoe"))
            await made.store.run(lambda tx: tx.add_token(zoe, actor="ann", now=NOW))
            target, head = "/api/v1/approvals/Q1/allow", "Bearer ost_zoe"
            await asyncio.to_thread(ask, made.folder, "POST", target, body=b"{}", authorization=head)
            return await made.call(route_named("approvals.show"), {"question": "Q1"})

    assert run(look())["decided_by"] == "zoe"


def test_a_price_that_is_unknown_is_null_and_never_zero(tmp_path: Path) -> None:
    async def look() -> tuple[Any, Any]:
        async with ground(tmp_path / "fleet") as made:
            charge = Charge(
                task=4, agent="clerk", session="task:4", trigger="operator", call=1, provider="x", model="new",
                status=200, input_tokens=10, usd_micros=None,
            )  # fmt: skip
            await made.store.run(lambda tx: tx.charge(charge, now=NOW))
            row = await made.call(route_named("tasks.show"), {"task": "T4"})
            return row["task"]["usd"], (await made.call(route_named("cost.show"), {"by": "model"}))["lines"]

    cost, lines = run(look())
    assert cost is None
    assert {each["name"]: each["usd"] for each in lines} == {"scripted": 0.00012, "new": None}
