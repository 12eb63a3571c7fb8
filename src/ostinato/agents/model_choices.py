"""Whom a turn asks: the first model of the wanted tier that can be had, and what is learned from asking it.

Knows nothing of how models are asked, nor of what a journal means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.model_choice import ModelRule, Wish, wish_of
from ostinato.domain.step import Chosen, Entry, ModelAnswer, ModelIntent
from ostinato.domain.task import Task
from ostinato.domain.values import Instant, Value
from ostinato.engine.breakers import Breakers, Refusal, Trouble
from ostinato.models.port import Model, ModelFailed, Models
from ostinato.store.port import Tx
from ostinato.workspace.agent import AgentDefinition

TRANSIENT = frozenset({"transient", "rate_limited"})
"""Classes of failures that speak against a model: another may be asked, or the same journal goes on later."""


OVERLOADED = 529
"""The status of a server whose model has no room: Anthropic's own."""

REASON_MAX = 200
"""Characters of a failure that a breaker keeps."""


class Pick(Value):
    """One model that may be asked now, and why it is this one."""

    model: str
    wanted: str | None
    chosen: Chosen = Chosen.ASKED
    why: str = ""
    effort: str | None = None


class ModelChoices:
    """Chooses for all turns of a node."""

    def __init__(
        self,
        models: Models,
        *,
        rules: Sequence[ModelRule] = (),
        escalates: bool = True,
        breakers: Breakers | None = None,
    ) -> None:
        self._models = models
        self._rules = tuple(rules)
        self._escalates = escalates
        self._breakers = breakers if breakers is not None else Breakers()
        self._guards_of: dict[str, Sequence[str]] = {}
        """Name of a model -> the breakers that it must pass."""

    def wish(self, tx: Tx, task: Task, agent: AgentDefinition, *, now: Instant) -> Wish:
        """What a new turn wants; a rule that cannot be judged is told of."""
        wish = wish_of(task, model=agent.model, effort=agent.effort, rules=self._rules)
        for each in wish.missed:
            event = NewEvent(name=EventName.RULE_MISSED, task=task.id, agent=task.agent, reason=each)
            tx.announce(event, now=now)
        return wish

    def model(self, name: str | None) -> Model:
        """A model by tier or name. Raises Invalid with the known names."""
        return self._models.resolve(name)

    def version(self, wanted: str | None) -> str | None:
        """What a result depends on, of whoever is asked; None: on what nobody can tell."""
        model = self._models.resolve(wanted)
        return f"{wanted or ''} {model.name} {model.model}"

    def begin_with(self, task: Task, agent: AgentDefinition, journal: Sequence[Entry]) -> Model:
        """The model that a turn in this state is about to ask, as far as its journal says; else what its task or its
        agent names. Raises Invalid for a name that nobody knows."""
        asked = last_intent(journal)
        if asked is not None and self.is_known(asked.model):
            return self._models.resolve(asked.model)
        return self._models.resolve(task.spec.model or agent.model)

    def named_by(self, then: AgentDefinition, now: AgentDefinition) -> AgentDefinition:
        """Whose model a turn asks: that of the files which it began with, unless the fleet's file has it no more."""
        return then if then.model is None or self.is_known(then.model) else now

    def is_known(self, name: str) -> bool:
        """False where a model is gone from the fleet's file."""
        return bool(self._models.chain(name))

    def can_escalate(self, name: str) -> bool:
        """True where a stronger model than this one can take over."""
        if not self._escalates:
            return False
        strongest = self._models.strongest()
        return strongest is not None and strongest != name

    def first(self, tx: Tx, pick: Pick, *, task: Task, now: Instant, without: Sequence[str] = ()) -> Pick | Refusal:
        """The first model that can be had: the picked one, then the others of its chain, but for those that have been
        tried (`without`)."""
        if not without and self._breakers.are_closed(tx, self._guards(pick.model), now=now):
            return pick
        refusals: list[Refusal] = []
        for name in _candidates(pick, self._models.chain(pick.wanted)):
            if name in without:
                continue
            refusal = self._breakers.admit(tx, self._guards(name), who=task.name, now=now)
            if refusal is not None:
                refusals.append(refusal)
            elif name == pick.model:
                return pick
            else:
                why = f"instead of {pick.model}: {refusals[0].reason if refusals else pick.why}"
                return replace(pick, model=name, chosen=Chosen.FALLBACK, why=why)
        if not refusals:
            return Refusal(reason=pick.why, until_at=now)
        names = tuple(dict.fromkeys(name for each in refusals for name in each.breakers))
        until_at = min(each.until_at for each in refusals)
        return Refusal(reason=refusals[0].reason, until_at=until_at, breakers=names)

    def is_admitted(self, tx: Tx, name: str, *, task: Task, now: Instant) -> bool:
        """True where a call that was intended may still go."""
        return self._breakers.admit(tx, self._guards(name), who=task.name, now=now) is None

    def went_well(self, tx: Tx, model: Model, *, task: Task, now: Instant) -> None:
        """Called in the commit of a reply."""
        self._breakers.went_well(tx, self._guards(model.name), who=task.name, now=now)

    def went_wrong(self, tx: Tx, model: Model, failure: ModelFailed, *, task: Task, now: Instant, down: bool) -> None:
        """Called in the commit of a failed call. `down`: the host did not answer, or answered that it cannot."""
        if failure.error_class not in TRANSIENT:
            self.went_well(tx, model, task=task, now=now)  # it answered, and that is all that a breaker asks
            return
        trouble = Trouble(reason=told_of(model.name, failure.message)[:REASON_MAX], asked_s=failure.after_s or 0.0)
        name, *host = guards_of(model)
        self._breakers.went_wrong(tx, name, trouble, who=task.name, now=now, task=task.id)
        if down:
            for each in host:
                self._breakers.went_wrong(tx, each, trouble, who=task.name, now=now, task=task.id)
        else:
            self._breakers.went_well(tx, host, who=task.name, now=now)

    def _guards(self, name: str) -> Sequence[str]:
        found = self._guards_of.get(name)
        if found is None:
            found = self._guards_of[name] = guards_of(self._models.resolve(name))
        return found


def guards_of(model: Model) -> tuple[str, ...]:
    """The breakers that a call of this model must pass."""
    return (f"model:{model.name}", f"host:{model.host}") if model.host else (f"model:{model.name}",)


def is_down(failure: ModelFailed, status: int) -> bool:
    """True where a failed call speaks against the whole host: no answer, or an error without a word about when to come
    again. One that is overloaded (529), or says when to come again, is up, and its other models may be."""
    return status == 0 or (status >= 500 and status != OVERLOADED and failure.after_s is None)


def told_of(name: str, words: str) -> str:
    """What is told of a model, where its name is said already."""
    return words.removeprefix(f"Model {name!r}: ")


def last_intent(journal: Sequence[Entry]) -> ModelIntent | None:
    """The model that a turn has asked last, or is about to ask."""
    return next((each for each in reversed(journal) if isinstance(each, ModelIntent)), None)


def tried(journal: Sequence[Entry]) -> list[str]:
    """The models that have been asked for the reply that is missing, latest first."""
    found = []
    for each in reversed(journal):
        if isinstance(each, ModelAnswer):
            break
        if isinstance(each, ModelIntent):
            found.append(each.model)
    return found


def _candidates(pick: Pick, chain: Sequence[str]) -> Iterator[str]:
    yield pick.model
    yield from (name for name in chain if name != pick.model)
