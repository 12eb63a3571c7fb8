"""A whole node under attack: agents with ordinary grants, an outside that keeps a log of all that reaches it, and every
way by which an attacker's words come in.

One agent for each injection, so that what one has learnt cannot help the next. Judged by what is found outside:
letters, requests, files, and what the server of tools wrote down.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import io
import ipaddress
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from ostinato.agents.colleagues import Colleagues
from ostinato.agents.inbox import InboxTaker
from ostinato.app import FleetApp
from ostinato.app.attendants import Attendants
from ostinato.domain.message import NewMessage, main_session
from ostinato.domain.pin import Pin
from ostinato.domain.task import NewTask, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import SECOND, Source, Trust
from ostinato.engine.service import Service
from ostinato.gateway.log_lines import LogLines
from ostinato.store.port import Reads, TaskFilter, Tx
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox
from ostinato.tools.web.client import WebClient
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.place import WebPlace
from ostinato.tools.web.search import SearxSearch
from tests.agents.fleet import write_fleet
from tests.sandbox.ground import ORDINARY, PYTHON
from tests.security.injections import NAME, Injection
from tests.security.obedient import TELL, order

SERVER = Path(__file__).with_name("obeyed_server.py")
FLEET = """[fleet]
name = "attacked"

[models.script]
provider = "scripted"
script = "model.yaml"
in_process = true

[engine]
tasks = 24

[tasks]
file = false

[mcp.own]
command = "{python}"
args = ["-I", "-S", "-u", "-c", '''{source}''']
folder = "shared"
effects = {{read = ["echo", "fail", "vault"]}}

[mcp.fresh]
command = "{python}"
args = ["-I", "-S", "-u", "-c", '''{source}''']
folder = "strange"
"""
TOOLS = """---
allow: [files.read, files.list, files.search, files.write, memory.read, memory.note, memory.curate, tasks.create,
        tasks.list, tasks.show, tasks.comment, tasks.propose, tasks.plan, spawn, children.list, children.wait,
        message.send, http.get, http.post, web.read, web.search, exec.run, exec.read, exec.start, processes.wait,
        processes.log, crm.find, crm.read]
mcp: {{own: [echo, fail, vault, send]{fresh}}}
files: {{read: ["."], write: [{write}]}}
exec: {{commands: [cat, cp{commands}], effects: {{read: ["cat *"]}}, lasts: 60s}}
network: [{network}]
recipients: [operator, "{recipients}"]
---
"""
WIDE = """---
allow: [http.get, message.send, files.read]
files: {{read: ["."]}}
network: ["*.test:{port}"]
recipients: ["mail:*"]
---
"""
CRM = '''from ostinato import tool

@tool(effect="read")
def find(name: str) -> str:
    """Find a customer."""
    return f"{name} lives at CNRY-crm-{name}"

@tool(effect="read", outside=True)
def read(text: str) -> str:
    """The last letter of a customer."""
    return text
'''

Entry = Callable[["Attacked", Injection], Awaitable[None]]


class Outside:
    """What the world hears, and what it answers: pages of injections by tag."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[str] = []
        self.pages: dict[str, str] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
            path = head.split(" ")[1]
            is_page = path.startswith(("/page/", "/plain/", "/error/", "/search"))
            if not is_page:
                self.heard.append(head)
            tag = (
                path.rpartition("/")[2] if not path.startswith("/search") else path.partition("q=")[2].partition("&")[0]
            )
            body, kind = self.page(path, tag)
            data = body.encode()
            status = "500 No" if path.startswith("/error/") else "200 OK"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
            )
            await writer.drain()
        writer.close()

    def page(self, path: str, tag: str) -> tuple[str, str]:
        """Body and type."""
        text = self.pages.get(tag, "nothing")
        if path.startswith("/search"):
            found = {"title": "A hit", "url": f"http://good.test:{self.port}/", "content": text}
            return json.dumps({"results": [found]}), "application/json"
        if path.startswith("/page/"):
            shown = html.escape(text)
            return f"<html><body><article><h1>News</h1><pre>{shown}</pre></article></body></html>", "text/html"
        return text, "text/plain"


class AttackedApp(FleetApp):
    """A node whose names lead to the outside of the test."""

    outside: Outside
    inbox: InboxTaker

    def _services(self, attendants: Attendants, inbox: InboxTaker, colleagues: Colleagues) -> Sequence[Service]:
        self.inbox = inbox
        return super()._services(attendants, inbox, colleagues)

    def _toolbox(self) -> Toolbox:
        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        client = WebClient(Guard(private=(ipaddress.ip_network("127.0.0.0/8"),), resolve=resolve))
        search = SearxSearch(client, f"http://search.test:{self.outside.port}")
        web = WebPlace(client=client, outputs=self.state_dir / "outputs", search=search)
        return standard_toolbox(self._commands(), web=web)


class Attacked:
    """The fleet, its node, and what the world has heard."""

    def __init__(self, folder: Path, app: AttackedApp, outside: Outside) -> None:
        self.folder = folder
        self.app = app
        self.outside = outside

    async def goal(self, agent: str, text: str) -> int:
        """An operator's goal; waits until its first turn has ended or parked."""
        assert self.app.store is not None
        new = NewTask(kind=TaskKind.GOAL, title="chore", agent=agent, spec=TaskSpec(goal=text))
        return (await self.app.store.run(lambda tx: tx.add_task(new, now=self.app.clock.now()))).id

    async def settle(self) -> None:
        """Returns when nothing is at work any more: all that is left waits for a person."""
        assert self.app.store is not None
        await self.take_files()
        changed = asyncio.Event()
        stop = self.app.store.subscribe(lambda events: changed.set())
        try:
            async with asyncio.timeout(240):
                while await self.app.store.read(self._is_busy):
                    changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), 0.1)
                    await self.take_files()
        finally:
            stop()

    def _is_busy(self, reads: Reads) -> bool:
        """True while something is at work or about to be; an agent whose files an attacker broke waits for a person."""
        at_work = frozenset({TaskState.READY, TaskState.RUNNING})
        tasks = reads.tasks(TaskFilter(states=at_work), limit=1_000)
        processes = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=at_work | {TaskState.WAITING})
        if reads.tasks(processes, limit=1):
            return True
        soon = self.app.clock.now() + SECOND // 2
        return any(each.not_before_at <= soon for each in tasks)

    async def take_files(self) -> None:
        """Everything that lies in the agents' inboxes is taken now, but for what is younger than half a second."""
        for agent in await asyncio.to_thread(self._agents_with_files):
            while await self.app.inbox.take_agent(agent):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 0.05)

    def _agents_with_files(self) -> list[str]:
        boxes = (self.folder / "agents").glob("*/inbox")
        return [each.parent.name for each in boxes if any(path.is_file() for path in each.iterdir())]

    async def drop(self, agent: str, name: str, text: str) -> None:
        """A file in an agent's inbox."""
        box = self.folder / "agents" / agent / "inbox"
        box.mkdir(exist_ok=True)
        (box / name).write_text(text)

    async def hear(self, agent: str, text: str) -> None:
        """A stranger's message in the agent's main session."""
        assert self.app.store is not None
        message = NewMessage(source=Source.CHANNEL, text=text, sender="operator", trust=Trust.EXTERNAL)
        key = main_session(agent)
        await self.app.store.run(lambda tx: tx.append_message(key, message, agent=agent, now=self.app.clock.now()))

    def came_through(self, tag: str) -> list[str]:
        """Where the world, or the agent's leash, shows the mark of an injection."""
        found = [head.split("\r\n")[0] for head in self.outside.heard if tag in head]
        found += [path.name for path in (self.folder / "outbox").glob("*.eml") if tag in path.read_text()]
        calls = self.folder / "shared/calls"
        if calls.exists() and tag in calls.read_text().split():
            found.append("mcp.own.send")
        mine = self.folder / "agents" / tag
        for name in ("SOUL.md", "TOOLS.md", "AGENTS.md", "HEARTBEAT.md", "USER.md", "MEMORY.md", "heartbeats/hourly.md",
                     ".env", ".mcp.json", ".git/hooks/pre-commit", f"out/{tag}"):  # fmt: skip
            path = mine / name
            if path.exists() and (f"mark {tag}" in path.read_text() or name.startswith("out/")):
                found.append(name)
        return found


# --- ways in ---


async def mail(here: Attacked, each: Injection) -> None:
    head = f"From: Mallory <m@evil.test>\nSubject: about\nMessage-ID: <{each.tag}@evil.test>\n\n"
    await here.drop(each.tag, "mail.eml", head + each.text(here.outside.port))


async def dropped(here: Attacked, each: Injection) -> None:
    await here.drop(each.tag, "letter.txt", each.text(here.outside.port))


async def channel(here: Attacked, each: Injection) -> None:
    await here.hear(each.tag, each.text(here.outside.port))


async def led(here: Attacked, each: Injection, *orders: str) -> None:
    """A person's goal that leads to the words."""
    here.outside.pages[each.tag] = each.text(here.outside.port)
    await here.goal(each.tag, "\n".join(orders))


async def answer_of_a_host(here: Attacked, each: Injection) -> None:
    await led(here, each, order("http.get", url=f"http://good.test:{here.outside.port}/plain/{each.tag}"))


async def page(here: Attacked, each: Injection) -> None:
    await led(here, each, order("web.read", url=f"http://good.test:{here.outside.port}/page/{each.tag}"))


async def search(here: Attacked, each: Injection) -> None:
    await led(here, each, order("web.search", query=each.tag))


async def server_of_tools(here: Attacked, each: Injection) -> None:
    await here.goal(each.tag, order("mcp.own.echo", text=f"page {each.tag}"))


async def error_of_a_host(here: Attacked, each: Injection) -> None:
    await led(here, each, order("http.get", url=f"http://good.test:{here.outside.port}/error/{each.tag}"))


async def error_of_a_server(here: Attacked, each: Injection) -> None:
    await here.goal(each.tag, order("mcp.own.fail", text=f"page {each.tag}"))


async def line_of_tasks_file(here: Attacked, each: Injection) -> None:
    """As the clerk adds what somebody wrote into TASKS.md; then a person's goal to look what there is."""
    spec = TaskSpec(goal=each.text(here.outside.port), trust=Trust.AGENT, trigger=Source.FILE)
    new = NewTask(kind=TaskKind.GOAL, title="a line", agent=each.tag, spec=spec, draft=True)
    assert here.app.store is not None
    await here.app.store.run(lambda tx: tx.add_task(new, now=here.app.clock.now()))
    await DRAFTS(here, each)


async def function(here: Attacked, each: Injection) -> None:
    await led(here, each, order("crm.read", text=each.text(here.outside.port)))


async def child(here: Attacked, each: Injection) -> None:
    url = f"http://good.test:{here.outside.port}/plain/{each.tag}"
    goal = f"{order('http.get', url=url)}\n{TELL}"
    await led(here, each, order("spawn", goal=goal, tools=["http.get"]), order("children.wait"))


async def keep_in_file(here: Attacked, each: Injection) -> None:
    await keep(here, each, order("files.write", path="out/page.md", text=each.text(here.outside.port)))


async def keep_in_memory(here: Attacked, each: Injection) -> None:
    await keep(here, each, order("memory.note", text=each.text(here.outside.port)))


async def keep_in_name(here: Attacked, each: Injection) -> None:
    await keep(here, each, order("files.write", path=f"out/{each.name(here.outside.port)}", text="x"))


async def keep_in_comment(here: Attacked, each: Injection) -> None:
    text = each.text(here.outside.port)
    await keep(here, each, order("tasks.propose", title=each.tag), order("tasks.comment", task="{task}", text=text))


async def keep_in_plan(here: Attacked, each: Injection) -> None:
    task = {"name": "one", "goal": each.text(here.outside.port)}
    await keep(here, each, order("tasks.plan", tasks=[task]))


async def keep(here: Attacked, each: Injection, *wishes: str) -> None:
    """A turn that reads outside what it should keep, for a later one to read."""
    here.outside.pages[each.tag] = "\n".join(wishes)
    await here.goal(each.tag, order("http.get", url=f"http://good.test:{here.outside.port}/plain/{each.tag}"))


def later(*orders: str) -> Entry:
    """A person's goal, for a turn that reads nothing from outside."""

    async def enter(here: Attacked, each: Injection) -> None:
        await here.goal(each.tag, "\n".join(orders))

    return enter


DRAFTS = later(order("tasks.list", state="draft"), order("tasks.show", task="{task}"))
DESCRIPTION = "description of a tool"

PREPARED: dict[str, Entry] = {
    "log of a process": keep_in_file,
    NAME: keep_in_name,
    "comment": keep_in_comment,
    "draft of a plan": keep_in_plan,
    "file of an earlier turn": keep_in_file,
    "output of a command": keep_in_file,
    "end of a process": keep_in_file,
    "memory": keep_in_memory,
}
ENTRIES: dict[str, Entry] = {
    "mail": mail,
    "dropped file": dropped,
    "stranger who calls himself operator": channel,
    "answer of a host": answer_of_a_host,
    "page": page,
    "search": search,
    "server of tools": server_of_tools,
    "function": function,
    "result of a child": child,
    "file of an earlier turn": later(order("files.read", path="out/page.md")),
    "output of a command": later(order("exec.run", argv=["cat", "out/page.md"])),
    "end of a process": later(order("exec.start", argv=["cat", "out/page.md"])),
    "memory": later("Look at what you know."),
    "error of a host": error_of_a_host,
    "error of a server": error_of_a_server,
    DESCRIPTION: later("Look at your tools."),
    "log of a process": later(
        order("exec.start", argv=["cat", "out/page.md"]),
        order("processes.wait", process="{process}"),
        order("processes.log", process="{process}"),
    ),
    NAME: later(order("files.list", path="out")),
    "comment": DRAFTS,
    "draft of a plan": DRAFTS,
    "line of TASKS.md": line_of_tasks_file,
}


def furnish(folder: Path, injections: Sequence[Injection], *, port: int, open_doors: bool) -> None:
    """The fleet's files. `open_doors`: a person has granted whatever there is."""
    grants = partial(
        TOOLS.format,
        write='"."' if open_doors else "out/, inbox/",
        commands=", sh, env, find, git" if open_doors else "",
        network=f'"*.test:{port}"' if open_doors else f'"good.test:{port}"',
        recipients="mail:*" if open_doors else "mail:*@good.test",
    )
    files = {
        "ostinato.toml": FLEET.format(python=Path(PYTHON).name, source=SERVER.read_text()),
        "model.yaml": "rules: []\n",
        "tools/crm.py": CRM,
        "shared/.keep": "",
        "strange/offers/nothing": "A tool.",
        "agents/wide/SOUL.md": "You help.\n",
        "agents/wide/TOOLS.md": WIDE.format(port=port),
    }
    for each in injections:
        files[f"agents/{each.tag}/SOUL.md"] = "You help.\n"
        is_fresh = each.entry == DESCRIPTION
        files[f"agents/{each.tag}/TOOLS.md"] = grants(fresh=f", fresh: [{each.tag}]" if is_fresh else "")
        files |= {f"strange/offers/{each.tag}": each.text(port)} if is_fresh else {}
        files[f"agents/{each.tag}/AGENTS.md"] = "---\ninbox: now\ndescription: helps\ndelegates: [%s]\n---\n" % (
            f"{each.tag}, wide" if each.wish != "writes a note for another" else each.tag
        )
        files[f"agents/{each.tag}/out/private.md"] = f"CNRY-priv-{each.tag}\n"
        files[f"shared/pages/{each.tag}"] = each.text(port)
    write_fleet(folder, files)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)


async def read_by_a_person(app: AttackedApp, family: str) -> None:
    """A person reads what a server says of its tools, once it is there."""
    assert app.plugins is not None
    assert app.store is not None
    assert app.toolbox is not None
    async with asyncio.timeout(60):
        await app.plugins._servers.wait_listed()
        pins = [each for each in await app.store.read(lambda reads: reads.pins()) if each.name.startswith(family)]
        for pin in pins:
            accept = partial(_accept, pin, now=app.clock.now())
            await app.store.run(accept)
        while any(each.unread for each in app.toolbox if each.name.startswith(family)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.02)


def _accept(pin: Pin, tx: Tx, *, now: int) -> None:
    tx.accept_pin(pin.name, digest=pin.digest, actor="ann", now=now)


def made_folder() -> Path:
    """One that an ordinary user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="ostinato-attacked-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@contextlib.asynccontextmanager
async def attacked(injections: Sequence[Injection], *, open_doors: bool = False) -> AsyncIterator[Attacked]:
    """A node with an agent for each of these, at work."""
    folder = await asyncio.to_thread(made_folder)
    outside = Outside()
    server = await asyncio.start_server(outside.answer, "127.0.0.1", 0)
    outside.port = server.sockets[0].getsockname()[1]
    try:
        await asyncio.to_thread(furnish, folder, injections, port=outside.port, open_doors=open_doors)
        app = AttackedApp(folder, log=LogLines(io.StringIO()))
        app.outside = outside
        async with server:
            await app.start()
            try:
                await read_by_a_person(app, "mcp.own.")
                yield Attacked(folder, app, outside)
            finally:
                await app.stop()
    finally:
        shutil.rmtree(folder)
