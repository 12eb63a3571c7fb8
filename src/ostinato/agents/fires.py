"""Fires heartbeats and schedules: decides in one transaction whether an agent is woken or the wake is skipped.

The check is free: it asks counters, never a model. A skip is recorded like a completion, with its reason. Knows nothing
of when something is due (`domain.due` does) or of how a turn runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from ostinato.agents.command_check import Checked, CommandChecks
from ostinato.agents.inbox import InboxTaker
from ostinato.agents.intake import waiting_files, wake_file
from ostinato.agents.unfit import REASON
from ostinato.domain.condition import CompiledCondition
from ostinato.domain.due import Due, due
from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.instant import format_instant
from ostinato.domain.message import OPERATOR, OPERATOR_SESSION, NewMessage, main_session
from ostinato.domain.schedule import Overlap, ScheduleRule, is_active, parse_rule
from ostinato.domain.stalled import STALLED_S
from ostinato.domain.task import UNFINISHED
from ostinato.domain.values import Instant, Source, Trust
from ostinato.engine.lookout import stalled_tasks
from ostinato.engine.port import Clock
from ostinato.store.port import QuestionFilter, Reads, ScheduleRow, Store, Tx
from ostinato.workspace.heartbeat_file import CHECK_VARIABLES, Heartbeat
from ostinato.workspace.registry import Brief, Workspaces

COUNTED_MAX = 1_000
"""A check's counts stop here: beyond it the number changes nothing."""

EACH_MAX = 200
"""Files that one fire of an `each: inbox` heartbeat wakes at most; the rest waits for the next."""

QUIET = frozenset({"paused", "halted", "draining"})

ASLEEP = "outside active hours"
"""A skip that nobody wanted otherwise: it is recorded, and does not count among those in a row."""


class Fires:
    """What the scheduler calls for each row that is due."""

    def __init__(
        self,
        *,
        store: Store,
        workspaces: Workspaces,
        inbox: InboxTaker,
        clock: Clock,
        checks: CommandChecks | None = None,
        skipped: Callable[[str], None] = lambda reason: None,
        stalled_s: float = STALLED_S,
    ) -> None:
        """`skipped` is told why, once it is durable that a time was skipped. Without `checks` no command is run.
        `stalled_s`: seconds without a step after which a running task is stalled."""
        self._checks = checks
        self._skipped = skipped
        self._stalled_s = stalled_s
        self._store = store
        self._workspaces = workspaces
        self._inbox = inbox
        self._clock = clock

    async def fire_together(self, rows: Sequence[ScheduleRow]) -> Sequence[ScheduleRow]:
        """Fires or skips, in one transaction, the due rows of which nothing is asked but the store; returns the others,
        each of which wants a command run or files taken, for `fire`. Raises where any cannot be fired: none is then."""
        fires = [self._look_at(row) for row in rows]
        quick = [each for each in fires if not each.command and not self._has_files(each)]
        if quick:
            await self._store.run(lambda tx: [each.decide(tx) for each in quick])
        for each in quick:
            if each.skipped:
                self._skipped(each.skipped)
        done = {each.row.name for each in quick}
        return [row for row in rows if row.name not in done]

    async def fire(self, row: ScheduleRow) -> bool:
        """Fires or skips one row that is due, once for each nominal time; True where the agent was woken."""
        fire = await self._prepare(row)
        if fire.command and not await self._store.run(fire.hindrance):
            fire.checked = await self._check(row.agent, fire)
        woken = await self._store.run(fire.decide)
        if fire.skipped:
            self._skipped(fire.skipped)
        return woken

    async def fire_now(self, row: ScheduleRow, *, check: bool = False) -> str:
        """Fires one row beside its own times, because a person asked for it: whatever its check and active hours say,
        unless `check`. Why the agent was not woken; empty: it was."""
        fire = await self._prepare(row)
        if check and fire.command:
            fire.checked = await self._check(row.agent, fire)
        return await self._store.run(lambda tx: fire.out_of_turn(tx, check=check))

    async def _check(self, agent: str, fire: _Fire) -> Checked:
        if self._checks is None:
            return Checked(wakes=True, broken="the check is a command, and commands have no place here")
        timeout_s, now = fire.command_timeout_s, self._clock.now()
        return await self._checks.run(agent, fire.command, timeout_s=timeout_s, now=now)

    async def _prepare(self, row: ScheduleRow) -> _Fire:
        fire = self._look_at(row)
        if self._has_files(fire):
            await self._inbox.take_agent(row.agent)
            fire.now = self._clock.now()
        return fire

    def _has_files(self, fire: _Fire) -> bool:
        """True where files may lie in the agent's inbox that are to be taken before the check."""
        return fire.asks_inbox and self._inbox.has_inbox(fire.row.agent)

    def _look_at(self, row: ScheduleRow) -> _Fire:
        broken, agent, heartbeat = "", None, None
        try:
            agent = self._workspaces.brief(row.agent)
            heartbeat = heartbeat_of(agent, row)
        except OstinatoError as error:
            broken = f"{REASON}{error}"
        fire = _Fire(row, heartbeat, agent=agent, broken=broken, now=self._clock.now())
        fire.stalled_s = self._stalled_s
        return fire


def _due_as(row: ScheduleRow) -> ScheduleRow:
    """What is to be done, and when, without what has been."""
    return replace(row, last_at=None, fired_at=None, skips_in_row=0)


def heartbeat_of(agent: Brief, row: ScheduleRow) -> Heartbeat | None:
    """The heartbeat that a row stands for; None for a schedule. Raises Invalid where the file has gone."""
    if not row.name.startswith("heartbeat:"):
        return None
    name = row.name.rpartition(":")[2]
    found = next((each for each in agent.heartbeats if each.name == name), None)
    if found is None:
        raise Invalid(f"{agent.id} has no heartbeat {name!r} any more")
    return found


class _Fire:
    """One decision, inside its transaction."""

    def __init__(
        self, row: ScheduleRow, heartbeat: Heartbeat | None, *, agent: Brief | None, broken: str, now: Instant
    ) -> None:
        self.row = row
        self._said = heartbeat.schedule_row(row.agent) if heartbeat else row
        """What its author says of it: in the file as it is now, where there is one."""
        self._heartbeat = heartbeat
        self._agent = agent
        self._broken = broken
        self.now = now
        self._name = row.name.rpartition(":")[2]
        self._failed_check = ""
        self.skipped = ""
        """Why this time was skipped, once it is decided."""
        self.stalled_s = STALLED_S
        self.asks_inbox = heartbeat is not None and (heartbeat.each or heartbeat.check is not None)
        self.command = heartbeat.command if heartbeat else ()
        self.command_timeout_s = heartbeat.command_timeout_s if heartbeat else 0.0
        self.checked: Checked | None = None
        """What its command said, where it was run."""

    def decide(self, tx: Tx) -> bool:
        """Wakes the agent, or says why not."""
        row, now = self.row, self.now
        self.skipped = ""
        if row.next_at is None or row.next_at > now:  # the clock was set back since it was found due
            return False
        if not self._is_as_seen(tx):  # it has fired at another node, or is due otherwise: whoever looks next sees that
            return False
        plan = due(self._rule(), nominal_at=row.next_at, now=now)
        self._tell_missed(tx, plan)
        nominal_at = plan.fire_at if plan.fire_at is not None else row.next_at
        reason = "missed: no node ran" if plan.fire_at is None else self._why_not(tx, plan.fire_at)
        if not reason:
            return self._wake(tx, nominal_at=nominal_at, next_at=plan.next_at)
        self.skipped = reason
        skips = tx.skip(
            row.name,
            heartbeat=self._name,
            agent=row.agent,
            reason=reason,
            nominal_at=nominal_at,
            next_at=plan.next_at,
            now=now,
            in_row=reason != ASLEEP,
        )
        if reason != ASLEEP:
            self._escalate(tx, skips, reason)
        return False

    def hindrance(self, tx: Tx) -> str:
        """Why its command need not be run now; empty where it must."""
        if self.row.next_at is None or self.row.next_at > self.now:
            return "it is not due"
        plan = due(self._rule(), nominal_at=self.row.next_at, now=self.now)
        return "missed" if plan.fire_at is None else self._why_not(tx, plan.fire_at)

    def out_of_turn(self, tx: Tx, *, check: bool) -> str:
        """Wakes the agent now; with `check`, only where it would be woken by itself. Why not, else."""
        now = self.now
        self.row = tx.schedule_or_none(self.row.name) or self.row
        if self._heartbeat is None:
            self._said = self.row
        why = self._why_not(tx, now) if check else ""
        if why or self._wake(tx, nominal_at=now, next_at=self.row.next_at):
            return why
        return "it has just fired"

    def _is_as_seen(self, tx: Reads) -> bool:
        """False where it was removed or changed, or has fired, since it was seen to be due."""
        found = tx.schedule_or_none(self.row.name)
        return found is not None and _due_as(found) == _due_as(self.row)

    def _rule(self) -> ScheduleRule:
        return self._heartbeat.rule if self._heartbeat else parse_rule(self.row.rule, of=self.row.name)

    def _why_not(self, tx: Tx, at: Instant) -> str:
        """Why this wake would be for nothing; empty where the agent should wake."""
        row, heartbeat = self.row, self._heartbeat
        if self._broken:
            return self._broken
        scopes = {"fleet", f"agent:{row.agent}"}
        quiet = next((flag for flag in tx.flags() if flag.scope in scopes and flag.name in QUIET), None)
        if quiet is not None:
            return f"{quiet.scope} is {quiet.name}"
        rule = self._rule()
        if not is_active(rule, at):
            return ASLEEP
        overlap = rule.overlap or (Overlap.SKIP if heartbeat else Overlap.QUEUE)
        busy = self._busy(tx) if overlap is Overlap.SKIP else ""
        if busy or heartbeat is None:
            return busy
        why = self._counted(tx, heartbeat) if heartbeat.check is not None else ""
        if why or self.checked is None or self.checked.wakes or tx.inbox(main_session(row.agent), limit=1):
            return why
        return f"nothing to do: {self.checked.reason}"

    def _busy(self, tx: Tx) -> str:
        """What the fire before this one, or another in the same session, is still at work on."""
        if self._heartbeat is not None and self._heartbeat.each:  # each file has a turn of its own
            return ""
        if self._said.session == "isolated" and self.row.fired_at is None:
            return ""
        latest = tx.session_tasks(self._session(self.row.fired_at or 0), limit=1)
        if latest and latest[0].state in UNFINISHED:
            return f"still busy with {latest[0].name}"
        return ""

    def _session(self, nominal_at: Instant) -> str:
        row, session = self.row, self._said.session
        match session:
            case "main":
                return main_session(row.agent)
            case "isolated":
                return f"isolated:{row.agent}:{self._name}:{format_instant(nominal_at)}"
            case _:
                return session

    def _counted(self, tx: Tx, heartbeat: Heartbeat) -> str:
        assert heartbeat.check is not None
        facts = check_facts(tx, self.row, now=self.now, check=heartbeat.check, stalled_s=self.stalled_s)
        self._failed_check = ""
        try:
            if heartbeat.check(facts):
                return ""
        except Invalid as error:  # a check that cannot be evaluated wakes, and says so
            self._failed_check = f"the check failed: {error}"
            return ""
        messages = facts.get("inbox", {}).get("messages")
        if tx.inbox(main_session(self.row.agent), limit=1) if messages is None else messages:
            return ""  # somebody left a message for the next heartbeat
        return f"nothing to do: {heartbeat.check.text}"

    def _wake(self, tx: Tx, *, nominal_at: Instant, next_at: Instant | None) -> bool:
        row, now = self.row, self.now
        if not tx.fire(row.name, nominal_at=nominal_at, next_at=next_at, now=now):
            return False
        if self._failed_check:
            tx.announce(NewEvent(name=EventName.HEARTBEAT_FIRED, agent=row.agent, reason=self._failed_check), now=now)
        if self._heartbeat is not None and self._heartbeat.each:
            for waiting in waiting_files(tx, row.agent, limit=COUNTED_MAX)[:EACH_MAX]:  # the oldest of them
                wake_file(tx, waiting, self._message(nominal_at), now=now)
            return True
        session = self._session(nominal_at)
        self._hand_over(tx, session, nominal_at=nominal_at)
        tx.append_message(session, self._message(nominal_at), agent=row.agent, now=now)
        return True

    def _hand_over(self, tx: Tx, session: str, *, nominal_at: Instant) -> None:
        """What the check said, as data beside the instructions; and that it is broken, where it is."""
        checked, row = self.checked, self.row
        if checked is None:
            return
        if checked.broken:
            tx.announce(NewEvent(name=EventName.HEARTBEAT_FIRED, agent=row.agent, reason=checked.broken), now=self.now)
        said = "\n".join(part for part in (checked.broken, checked.said) if part)
        if said:
            message = NewMessage(
                source=Source.HEARTBEAT,
                text=said,
                sender=f"{self._name}.check",
                trust=checked.trust,
                client_id=f"{self._said.name}@{nominal_at}#check",
            )
            tx.append_message(session, message, agent=row.agent, now=self.now, wake=False)

    def _message(self, nominal_at: Instant) -> NewMessage:
        said = self._said
        return NewMessage(
            source=Source.HEARTBEAT if self._heartbeat else Source.SCHEDULE,
            text=said.text or "Do what your files say for this wake.",
            sender=self._name,
            trust=Trust.OPERATOR,
            client_id=f"{said.name}@{nominal_at}",
            model=said.model,
            effort=said.effort,
            retry=said.retry,
            deliver=said.deliver,
        )

    def _tell_missed(self, tx: Tx, plan: Due) -> None:
        if plan.missed:
            tx.announce(
                NewEvent(
                    name=EventName.SCHEDULE_MISSED,
                    agent=self.row.agent,
                    reason=f"{self.row.name}: {plan.missed} times passed unseen",
                    data={"schedule": self.row.name, "missed": plan.missed},
                ),
                now=self.now,
            )

    def _escalate(self, tx: Tx, skips: int, reason: str) -> None:
        most = self._heartbeat.escalate_after if self._heartbeat else None
        if most is None or skips < most or skips % most:
            return
        tx.append_message(
            OPERATOR_SESSION,
            NewMessage(
                source=Source.HEARTBEAT,
                text=f"{self.row.name} was skipped {skips} times in a row. Last reason: {reason}",
                sender=self.row.agent,
                trust=Trust.AGENT,
                client_id=f"{self.row.name}#skips@{self.row.next_at}",
            ),
            agent=OPERATOR,
            now=self.now,
            wake=False,
        )


_PENDING = tuple(state.value for state in UNFINISHED)


def check_facts(
    tx: Reads, row: ScheduleRow, *, now: Instant, check: CompiledCondition, stalled_s: float = STALLED_S
) -> Mapping[str, Mapping[str, int]]:
    """The variables of a check (`CHECK_VARIABLES`), only what it reads of them. `stalled_s`: see `why_stalled`."""
    agent = row.agent
    tally = tx.agent_tally(agent) if {"tasks", "inbox"} & check.names else {}

    def count(variable: str, field: str) -> int:
        match variable, field:
            case "inbox", "files":
                return len(waiting_files(tx, agent, limit=COUNTED_MAX)) if tally.get("blocked") else 0
            case "inbox", _:
                return len(tx.inbox(main_session(agent), limit=COUNTED_MAX))
            case "questions", _:
                return len(tx.questions(QuestionFilter(agent=agent), limit=COUNTED_MAX))
            case "skips", _:
                return row.skips_in_row
            case _, "pending":
                return sum(tally.get(state, 0) for state in _PENDING)
            case _, "stalled":
                return len(stalled_tasks(tx, now=now, after_s=stalled_s, agent=agent))
            case _:
                return tally.get("draft" if field == "drafts" else field, 0)

    known = {name: frozenset(CHECK_VARIABLES[name]) for name in check.names}
    return {
        name: {field: count(name, field) for field in fields & check.fields.get(name, fields)}
        for name, fields in known.items()
    }
