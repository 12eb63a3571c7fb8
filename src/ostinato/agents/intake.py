"""What a dropped file becomes, in one transaction: a task, a proposal, or a message that an agent reads by itself.

A file in an agent's own inbox gets a session of its own, so that what one file says can never reach the handling of
another. Knows nothing of folders: the file is already in memory, and is moved away only after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ostinato.agents.unfit import is_unfit
from ostinato.domain.binding import Inbound, binding_of, session_key
from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.message import NewMessage, check_owner
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import Join, NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Attachment, Instant, Origin, Source, Trust, Value, digest_of, to_json
from ostinato.store.port import Reads, TaskFilter, Tx
from ostinato.tools.port import Colleague
from ostinato.tools.proposing import compared
from ostinato.tools.router import Router
from ostinato.workspace.inbox_item import InboxItem, ItemKind, RawAttachment
from ostinato.workspace.inbox_table import InboxSettings
from ostinato.workspace.mail import Mail, mail_as_text, read_mail

WAITS = "waits for the next heartbeat"
"""Why the turn of a dropped file is blocked until its agent's heartbeat."""

FILE_TYPE = "file"
"""Type of the turns that dropped files wait in."""

EXCERPT_BYTES = 16_000
"""How much of a dropped text file an agent is shown at once."""


class Taken(Value):
    """What became of an item: the name of the task or message, or why it is a repetition."""

    name: str
    repeated: bool = False


class _Content(Value):
    """An item's attachment as text, and what is known of its author."""

    text: str
    title: str
    sender: str
    origin: Origin | None = None
    identity: str = ""
    inbound: Inbound = Inbound(channel="file")


class Intake:
    """Turns items into tasks and messages."""

    def __init__(
        self,
        *,
        colleagues: Callable[[], Sequence[Colleague]],
        settings: InboxSettings = InboxSettings(),  # noqa: B008 - frozen
        router: Router | None = None,
    ) -> None:
        self._colleagues = colleagues
        self._router = router or Router()
        self._default_agent = settings.agent
        self._bindings = settings.bindings

    def take(self, tx: Tx, item: InboxItem, *, wakes: bool, now: Instant) -> Taken:
        """Writes one item, once per key. `wakes` False: it waits for the agent's next heartbeat.

        Raises NotFound for an agent or task that does not exist; nothing is written then.
        """
        content = _content(item)
        item, why = self._bound(item, content)
        kept = tuple(_keep(tx, raw, now=now) for raw in item.attachments)
        if item.kind is ItemKind.MESSAGE:
            taken = self._message(tx, item, content, kept=kept, wakes=wakes, now=now)
        else:
            taken = self._task(tx, item, content, kept=kept, now=now)
        reason = f"{item.file}: {'a repetition of' if taken.repeated else 'became'} {taken.name}{why}"
        tx.announce(
            NewEvent(
                name=EventName.FILE_TAKEN,
                agent=item.agent,
                reason=reason,
                data={"file": item.file, "became": taken.name, "repeated": taken.repeated},
            ),
            now=now,
        )
        return taken

    def _bound(self, item: InboxItem, content: _Content) -> tuple[InboxItem, str]:
        """A file of the fleet's inbox that says nothing of itself, as its binding wants it, and why; else as it is."""
        if item.agent is not None or item.trust is not Trust.EXTERNAL or item.kind is not ItemKind.TASK:
            return item, ""
        found = binding_of(content.inbound, self._bindings)
        if found is None:
            return item, ""
        known = [each.id for each in self._colleagues()]
        if found.agent not in known:
            raise NotFound(unknown_name("agent", found.agent, known), place=found.place)
        session = session_key(found, content.inbound)
        key = (
            f"mail:{digest_of(content.identity.encode(errors='surrogatepass'))[:32]}" if content.identity else item.key
        )
        bound = replace(item, kind=ItemKind.MESSAGE, agent=found.agent, session=session or None, key=key)
        return bound, f" for {found.agent}, in {session or 'a session of its own'}, bound by {found.words}"

    def _task(self, tx: Tx, item: InboxItem, content: _Content, *, kept: tuple[Attachment, ...], now: Instant) -> Taken:
        new = self._new_task(item, content, kept=kept)
        new = self._routed(tx, item, compared(tx, new) if new.draft else new, now=now)
        if item.session is not None and new.agent is not None:
            check_owner(item.session, new.agent)
            tx.open_session(item.session, agent=new.agent, now=now)  # or it would read what another agent is told
        before = tx.latest_event()
        task = tx.add_task(new, now=now, actor="inbox")
        return Taken(name=task.name, repeated=task.created_at != now and before == tx.latest_event())

    def _new_task(self, item: InboxItem, content: _Content, *, kept: tuple[Attachment, ...]) -> NewTask:
        return NewTask(
            kind=TaskKind.GOAL,
            title=content.title,
            spec=TaskSpec(
                goal=content.text,
                input=dict(item.input),
                skills=item.skills,
                requester="operator" if item.trust is Trust.OPERATOR else content.sender,
                trust=item.trust,
                private=item.private,
                trigger=Source.FILE,
                origin=content.origin,
                attachments=kept,
                timeout_s=item.timeout_s,
                deadline_at=item.deadline_at,
                cache_s=item.cache_s,
                fresh=item.fresh,
                model=item.model,
                join=Join.ANY if item.any else Join.ALL,
                review=item.review,
                delegation=item.delegation,
                retry=item.failures.retry or RetryPolicy(),
                fallback=item.failures.fallback,
                escalate=item.failures.escalate,
            ),
            depth=item.depth,
            agent=item.agent or (self._default_agent if not item.skills else None),
            session=item.session,
            project=item.project,
            type=item.type,
            priority=item.priority,
            not_before_at=item.not_before_at or 0,
            draft=item.kind is ItemKind.PROPOSAL,
            after=item.after,
            key=item.key,
            # By what was said, not by whom it was routed to: that may change before it is taken again.
            body=digest_of(to_json(replace(item, file=""))),
        )

    def _routed(self, tx: Tx, item: InboxItem, new: NewTask, *, now: Instant) -> NewTask:
        if new.agent is None and not item.skills:
            routed = self._router.place(tx, new, self._colleagues(), now=now)  # a rule may give it to somebody
            return routed if routed.agent else replace(new, blocked="the file names neither an agent nor skills")
        return self._router.place(tx, new, self._colleagues(), now=now)

    def _message(
        self,
        tx: Tx,
        item: InboxItem,
        content: _Content,
        *,
        kept: tuple[Attachment, ...],
        wakes: bool,
        now: Instant,
    ) -> Taken:
        agent = item.agent or self._default_agent or ""
        identity = digest_of((content.identity or item.key).encode(errors="surrogatepass"))[:16]
        if item.session:
            check_owner(item.session, agent)
        session = item.session or f"isolated:{agent}:file:{identity}"
        earlier = [] if item.session else tx.messages(session, limit=1)
        if earlier:
            return Taken(name=f"M{earlier[0].id}", repeated=True)
        message = tx.append_message(
            session,
            NewMessage(
                source=Source.FILE,
                text=content.text,
                sender=content.sender,
                requester="operator" if item.trust is Trust.OPERATOR else content.sender,
                trust=item.trust,
                private=item.private,
                depth=item.depth,
                origin=content.origin,
                attachments=kept,
                client_id=item.key,
                model=item.model,
            ),
            agent=agent,
            now=now,
            wake=wakes,
        )
        if not wakes and not item.session:
            self._wait_for_heartbeat(tx, item, content, agent=agent, session=session, now=now)
        return Taken(name=f"M{message.id}", repeated=message.at != now)

    def _wait_for_heartbeat(
        self, tx: Tx, item: InboxItem, content: _Content, *, agent: str, session: str, now: Instant
    ) -> Task:
        return tx.add_task(
            NewTask(
                kind=TaskKind.TURN,
                title=content.title,
                spec=TaskSpec(requester=content.sender, trust=item.trust, trigger=Source.FILE, origin=content.origin),
                agent=agent,
                session=session,
                type=FILE_TYPE,
                blocked=WAITS,
                key=f"file:{item.key}",
            ),
            now=now,
            actor="inbox",
        )


def waiting_files(tx: Reads, agent: str, *, limit: int) -> list[Task]:
    """Turns of dropped files that wait for a heartbeat of their agent, oldest first."""
    which = TaskFilter(agent=agent, kinds=frozenset({TaskKind.TURN}), states=frozenset({TaskState.BLOCKED}))
    found = [task for task in tx.tasks(which, limit=limit) if task.type == FILE_TYPE and not is_unfit(task)]
    return found[::-1]


def wake_file(tx: Tx, task: Task, message: NewMessage, *, now: Instant) -> None:
    """Gives a waiting file its heartbeat's instructions, and lets its turn run."""
    tx.append_message(task.session or "", message, agent=task.agent or "", now=now, wake=False)
    tx.move_task(task.id, TaskEvent.RELEASE, actor="runtime", reason=f"woken by {message.sender}", now=now)


def _keep(tx: Tx, raw: RawAttachment, *, now: Instant) -> Attachment:
    digest = tx.put_blob(raw.data, now=now)
    return Attachment(name=raw.name, digest=digest, media_type=raw.media_type, size_bytes=len(raw.data))


def _content(item: InboxItem) -> _Content:
    """The text that an agent reads: the item's own, or what its one file says."""
    raw = item.attachments[0] if item.attachments else None
    if raw is None or item.goal:
        return _Content(text=item.goal, title=item.title, sender="operator")
    if raw.media_type == "message/rfc822":
        mail = read_mail(raw.data)
        return _Content(
            text=mail_as_text(mail),
            title=mail.subject[:200] or f"mail from {mail.sender_address or 'nobody'}",
            sender=mail.sender_address or "unknown",
            origin=_mail_origin(mail),
            identity=_identity(mail),
            inbound=_inbound(mail),
        )
    return _Content(text=_excerpt(raw), title=raw.name, sender="file")


def _identity(mail: Mail) -> str:
    """The same mail twice is one; a Message-ID alone is no proof of that, for anybody may write any."""
    return f"{mail.message_id}\n{mail_as_text(mail)}" if mail.message_id else ""


def _inbound(mail: Mail) -> Inbound:
    """By what a binding can tell a mail. Anybody can write any sender: one that a check has refused, or whose answers
    would go to somebody else, is from nobody."""
    is_known = not mail.failed_checks and mail.reply_to == mail.sender_address
    return Inbound(
        channel="mail",
        accounts=mail.accounts,
        peer=mail.sender_address if is_known else "",
        thread=mail.thread,
    )


def _mail_origin(mail: Mail) -> Origin:
    return Origin(channel="mail", peer=mail.reply_to, thread=mail.message_id)


def _excerpt(raw: RawAttachment) -> str:
    """The beginning of a text file; for anything else its name is all there is to read."""
    head = f"{raw.name} ({raw.media_type}, {len(raw.data)} bytes)"
    if b"\0" in raw.data[:EXCERPT_BYTES]:
        return head
    text = raw.data[:EXCERPT_BYTES].decode("utf-8", "replace")
    left_out = len(raw.data) - EXCERPT_BYTES
    return f"{head}\n{text}" + (f"\n[{left_out} more bytes are not shown]" if left_out > 0 else "")
