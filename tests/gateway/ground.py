"""A fleet with a past, for tests of the gateway: real files, a real store, a clock that stands still, no engine.

The same past is written into every ground, so that two of them answer alike.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ostinato.agents.live import LiveText
from ostinato.agents.rehearsal import Rehearsal
from ostinato.app import definitions_of, make_state_folder
from ostinato.cli.client import UnixConnection
from ostinato.domain.chat import StopReason, ToolCall, Usage
from ostinato.domain.ledger import Charge
from ostinato.domain.message import NewMessage
from ostinato.domain.person import NewToken, Role, token_digest
from ostinato.domain.question import Action, NewQuestion, QuestionKind
from ostinato.domain.step import (
    Decision,
    Effect,
    Input,
    Judged,
    ModelAnswer,
    ModelIntent,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.task import Done, Fail, NewTask, Park, TaskKind, TaskResult, TaskSpec, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, Source
from ostinato.gateway.context import Caller, Context, NodeFacts
from ostinato.gateway.http import HttpSettings, make_app
from ostinato.gateway.operation import AnyRoute, Operation, read_request
from ostinato.gateway.server import LocalServer
from ostinato.store.port import Claim, ClaimRequest, ScheduleRow, Store, Tx
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from ostinato.tools.standard import standard_toolbox
from ostinato.workspace.fleet_file import read_fleet
from ostinato.workspace.init import add_agent, init_fleet
from ostinato.workspace.registry import Workspaces

NOW = ManualClock().now()
SECRET = "ost_ann"
ANN = NewToken(person="ann", role=Role.ADMIN, digest=token_digest(SECRET))
AS_ANN = {"authorization": f"Bearer {SECRET}"}


def make_fleet(folder: Path) -> Path:
    """Two agents: `clerk` of the template, and `billing` with a skill."""
    folder.mkdir(parents=True, exist_ok=True)
    init_fleet(folder, name="test")
    add_agent(folder, "billing", purpose="Answers questions about invoices.", skills=["billing"])
    return folder


class Ground:
    """A context over a store with a past."""

    def __init__(self, folder: Path, store: Store, context: Context) -> None:
        self.folder = folder
        self.store = store
        self.context = context

    async def call(self, route: AnyRoute, fields: dict[str, Any]) -> Any:
        """In this process; the answer as plain values."""
        assert isinstance(route, Operation)
        return msgspec.json.decode(msgspec.json.encode(await route.handler(self.context, read_request(route, fields))))


@asynccontextmanager
async def ground(folder: Path, *, past: bool = True) -> AsyncIterator[Ground]:
    """A fleet in `folder` and its store."""
    make_fleet(folder)
    state_dir = folder / ".ostinato"
    make_state_folder(state_dir)
    store, clock, settings = open_store(state_dir), ManualClock(), read_fleet(folder)
    workspaces = Workspaces(folder, defaults=settings.defaults)

    async def fire(row: ScheduleRow, check: bool) -> str:
        return "" if row.text and not check else "there is nothing to do"

    context = Context(
        store=store,
        clock=clock,
        definitions=definitions_of(folder, settings, workspaces),
        state_dir=state_dir,
        caller=Caller(name="ann", role=Role.ADMIN),
        fire=fire,
        node=NodeFacts(pid=7, version="test", started_at=clock.now()),
        live=LiveText(),
        rehearsal=lambda: Rehearsal(store=store, workspaces=workspaces, toolbox=standard_toolbox()),
    )
    try:
        if past:
            await store.run(write_past)
        await store.run(lambda tx: tx.add_token(ANN, actor="ann", now=NOW))
        yield Ground(folder, store, context)
    finally:
        await store.close()


@asynccontextmanager
async def served(made: Ground) -> AsyncIterator[LocalServer]:
    """The same over HTTP, on the fleet's socket. A surprise inside fails the test."""
    surprises: list[tuple[str, BaseException]] = []
    closing = asyncio.Event()
    http_settings = HttpSettings(
        made.context,
        unready=lambda: "",
        surprised=lambda name, error: surprises.append((name, error)),
        closing=closing,
    )
    server = LocalServer(make_app(http_settings), state_dir=made.folder / ".ostinato", closing=closing)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert not surprises, surprises


def ask(folder: Path, method: str, target: str, *, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """One raw request over the socket, by Ann; status and body."""
    connection = UnixConnection(folder / ".ostinato")
    try:
        kind = {"content-type": "application/json"} if body is not None else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body=body, headers={**AS_ANN, **kind, **named})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (ConnectionError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def ask_for(folder: Path, route: AnyRoute, fields: dict[str, Any]) -> tuple[int, Any]:
    """An operation by its fields, as any HTTP client would ask for it; status and decoded answer."""
    left = dict(fields)
    path = route.path
    for key in route.path_keys:
        path = path.replace(f"{{{key}}}", quote(str(left.pop(key)), safe=""))
    if route.writes and route.method != "DELETE":
        status, data = ask(folder, route.method, path, body=msgspec.json.encode(left))
    else:
        pairs = [
            (key, str(each).lower() if isinstance(each, bool) else str(each))
            for key, value in left.items()
            for each in (value if isinstance(value, list) else [value])
        ]
        status, data = ask(folder, route.method, f"{path}?{urlencode(pairs)}")
    return status, msgspec.json.decode(data)


# --- a past ---


def write_past(tx: Tx) -> None:
    """T1 done, T2 dead, T3 a draft, T4 waiting for Q1, T5 that nobody can do, T6 a turn with an unread message, T7 at a
    limit; Q2 an agent's question; a schedule; a node that ended in order."""
    node = tx.start_node(pid=7, host="here", version="test", lease_s=60.0, exclusive=True, now=NOW)
    _done(tx, node.id)
    _failed(tx, node.id)
    _add(tx, "Order paper", agent="clerk", draft=True)
    _parked(tx, node.id)
    _add(tx, "Sing", blocked="no agent has the skill singing", skills=("singing",))
    tx.append_message("main:clerk", NewMessage(source=Source.OPERATOR, text="Hello"), agent="clerk", now=NOW)
    _limited(tx, node.id)
    row = ScheduleRow(name="weekly", agent="clerk", rule={"every": "7d"}, text="Report.", next_at=NOW + 3_600 * SECOND)
    tx.put_schedule(row, now=NOW)
    tx.end_node(node.id, now=NOW)


def _add(
    tx: Tx,
    title: str,
    *,
    agent: str | None = None,
    draft: bool = False,
    blocked: str = "",
    skills: tuple[str, ...] = (),
) -> int:
    spec = TaskSpec(goal=f"{title}, please.", skills=skills)
    new = NewTask(kind=TaskKind.GOAL, title=title, agent=agent, draft=draft, blocked=blocked, spec=spec)
    return tx.add_task(new, now=NOW).id


def _claimed(tx: Tx, node: int, title: str) -> Claim:
    number = _add(tx, title, agent="clerk")
    request = ClaimRequest(node=node, most=1, agent_limit_default=99, kinds=(TaskKind.GOAL,))
    (task,) = tx.claim(request, now=NOW)
    assert task.id == number
    return Claim(task=task.id, token=task.token)


def _done(tx: Tx, node: int) -> None:
    claim = _claimed(tx, node, "Write a note")
    call = ToolCall(id="1.0", name="memory.note", arguments={"text": "hi"})
    entries = (
        Input(files={"SOUL.md": "0" * 64}, agent_version="1"),
        ModelIntent(call=1, model="scripted"),
        ModelAnswer(call=1, model="scripted", calls=(call,), stop=StopReason.TOOLS, usage=Usage(input_tokens=10)),
        Judged(call_id="1.0", tool="memory.note", decision=Decision.ALLOW, reason="granted"),
        ToolIntent(call_id="1.0", tool="memory.note", effect=Effect.IDEMPOTENT, arguments={"text": "hi"}, key="k"),
        ToolOutcome(call_id="1.0", tool="memory.note", status=ResultStatus.OK, text="noted"),
    )
    tx.record_steps(claim, entries, now=NOW)
    charge = Charge(
        task=claim.task, agent="clerk", session=f"task:{claim.task}", trigger="operator", call=1, provider="scripted",
        model="scripted", status=200, input_tokens=10, output_tokens=2, usd_micros=120, duration_ms=3.0,
    )  # fmt: skip
    tx.charge(charge, now=NOW)
    tx.finish(claim, Done(result=TaskResult(text="The note is written.")), now=NOW)


def _failed(tx: Tx, node: int) -> None:
    claim = _claimed(tx, node, "Call the bank")
    outcome = ToolOutcome(call_id="1.0", tool="bank.call", status=ResultStatus.ERROR, text="no answer")
    tx.record_steps(claim, (Input(), outcome), now=NOW)
    tx.finish(claim, Fail(error="The bank does not answer"), now=NOW)


def _parked(tx: Tx, node: int) -> None:
    claim = _claimed(tx, node, "Write to a customer")
    action = Action(tool="message.send", arguments={"to": "x@example.com", "text": "Hello"}, agent="clerk")
    session = f"task:{claim.task}"
    asked = tx.ask(
        NewQuestion(
            kind=QuestionKind.APPROVAL, text="Send it?", agent="clerk", task=claim.task, session=session,
            call_id="1.0", action=action, reason="message.send is irreversible", gate="irreversible",
            expires_at=NOW + 86_400 * SECOND,
        ),
        now=NOW,
    )  # fmt: skip
    tx.ask(
        NewQuestion(kind=QuestionKind.ASK, text="Which one?", agent="clerk", task=claim.task, session=session), now=NOW
    )
    wait = Wait(kind=WaitKind.QUESTION, refs=(asked.name,))
    task = tx.finish(claim, Park(wait=wait, reason="waits for a person"), now=NOW)
    assert task.state is TaskState.WAITING


def _limited(tx: Tx, node: int) -> None:
    claim = _claimed(tx, node, "Read everything")
    question = NewQuestion(
        kind=QuestionKind.BUDGET, text="40 steps are used. Go on?", agent="clerk", task=claim.task,
        session=f"task:{claim.task}",
    )  # fmt: skip
    asked = tx.ask(question, now=NOW)
    wait = Wait(kind=WaitKind.QUESTION, refs=(asked.name,))
    tx.finish(claim, Park(wait=wait, reason="waits at a limit"), now=NOW)
