"""A small world in which a turn is played: a model that follows a script, tools that keep a log, and people who answer.

Writes its journal one entry at a time and can be killed after each, so that the laws of `ostinato.domain.turn` are
tested without any runner. Knows nothing of stores, agents or prompts; it shares no code with the real turn runner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from ostinato.domain.chat import ToolCall, Usage
from ostinato.domain.step import (
    Answered,
    Decision,
    Effect,
    Entry,
    Input,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.turn import (
    FINISH_TOOL,
    Action,
    AskLimit,
    AskUnknown,
    CallModel,
    Finish,
    Park,
    PendingCall,
    RunTools,
    Stage,
    next_action,
)
from ostinato.domain.values import Limits, digest_of, to_json

EFFECTS = {
    "look": Effect.READ,
    "put": Effect.IDEMPOTENT,
    "move": Effect.REVERSIBLE,
    "send": Effect.IRREVERSIBLE,
    FINISH_TOOL: Effect.READ,
}
"""The tools of this world."""

ACTIONS_MAX = 2_000
"""More than any scripted turn needs; a turn that takes more goes round in circles."""


class Killed(BaseException):  # none of Exception, so that nothing catches it by accident
    """The process ended here; nothing but the journal, the questions and the world's log is left."""


@dataclass(frozen=True)
class Wish:
    """One call of the scripted model, and what gate and people will say to it."""

    tool: str = "look"
    arguments: dict[str, Any] | None = field(default_factory=dict)
    verdict: Decision = Decision.ALLOW
    answer: str = "allow"
    edited: dict[str, Any] | None = None
    settled: tuple[str, ...] = ("answered",)
    """Answers to "it may have happened", one after the other; the last one stands."""


@dataclass(frozen=True)
class Line:
    """One reply of the scripted model."""

    text: str = ""
    wishes: tuple[Wish, ...] = ()
    problem: str = ""
    tokens: int = 10


@dataclass(frozen=True)
class Story:
    """What model and people will say. When the lines are over, the model repeats the last one, or says goodbye."""

    lines: tuple[Line, ...]
    more: tuple[str, ...] = ()
    """Answers to "a limit is reached", in order; then `deny`."""
    endless: bool = False
    limits: Limits = field(default_factory=Limits)
    last_first: bool = False
    """People answer the newest question first, and parallel tools end in reverse order."""

    def line(self, call: int) -> Line:
        """The reply to model call number `call`, from 1."""
        if call <= len(self.lines):
            return self.lines[call - 1]
        return self.lines[-1] if self.endless and self.lines else Line(text="That was all.")

    def wish(self, call_id: str) -> Wish:
        """What stands behind a call."""
        call, _, index = call_id.partition(".")
        return self.line(int(call)).wishes[int(index)]


@dataclass(frozen=True)
class Deed:
    """One thing that really happened in the world."""

    call_id: str
    tool: str
    arguments: str
    key: str


@dataclass
class World:
    """What outlives a kill: the journal, the questions and the log of deeds."""

    story: Story
    journal: list[Entry] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    questions: dict[str, int] = field(default_factory=dict)
    """Subject -> id."""
    doubts_asked: Counter[str] = field(default_factory=Counter)
    model_calls: int = 0


class Player:
    """A runner that does what `next_action` says. `lives`: points (entries and deeds) until it is killed."""

    def __init__(self, world: World, *, lives: int | None = None) -> None:
        self.world = world
        self.story = world.story
        self.lives = lives
        self.points = 0

    def play(self) -> Finish:
        """Plays to the end of the turn; people answer whenever it parks."""
        if not self.world.journal:
            self._write(Input(messages=(1,)))
        for _ in range(ACTIONS_MAX):
            action = next_action(self.world.journal, self.story.limits)
            if isinstance(action, Finish):
                return action
            self.take(action)
        raise AssertionError("the turn neither ends nor parks")

    def take(self, action: Action) -> None:
        """Does one action; where the turn parks, a person answers."""
        match action:
            case CallModel():
                self._call_model(action)
            case RunTools():
                self._run_tools(action.calls)
            case AskUnknown():
                self._ask_unknown(action)
            case AskLimit():
                self._ask_limit(action)
            case Park():
                self._answer(action.questions)
            case Finish():
                pass
            case _:
                assert_never(action)

    def _point(self) -> None:
        self.points += 1
        if self.lives is not None and self.points > self.lives:
            raise Killed

    def _write(self, entry: Entry) -> None:
        self.world.journal.append(entry)
        self._point()

    def _call_model(self, action: CallModel) -> None:
        if not action.resumed:
            self._write(ModelIntent(call=action.call, model="scripted"))
        self.world.model_calls += 1
        line = self.story.line(action.call)
        calls = tuple(_call(f"{action.call}.{n}", wish) for n, wish in enumerate(line.wishes))
        usage = Usage(input_tokens=line.tokens)
        self._write(
            ModelAnswer(
                call=action.call,
                model="scripted",
                text=line.text,
                calls=calls,
                usage=usage,
                problem=line.problem,
                usd_micros=line.tokens,
            )
        )

    def _run_tools(self, calls: Sequence[PendingCall]) -> None:
        """Intents first, then the deeds at the same time: their results come in any order."""
        begun: list[tuple[PendingCall, ToolIntent]] = []
        for each in calls:
            match each.stage:
                case Stage.JUDGE:
                    self._judge(each)
                case Stage.PERFORM:
                    intent = self._intent(each)
                    self._write(intent)
                    begun.append((each, intent))
                case Stage.REPEAT:
                    begun.append((each, self._intent(each)))
                case Stage.REFUSE:
                    self._write(_outcome(each.call, ResultStatus.DENIED, each.refusal))
                case _:
                    assert_never(each.stage)
        for each, intent in reversed(begun) if self.story.last_first else begun:
            self._perform(each, intent)

    def _judge(self, each: PendingCall) -> None:
        call, wish = each.call, self.story.wish(each.call.id)
        if call.arguments is None or call.name not in EFFECTS:
            self._write(_outcome(call, ResultStatus.INVALID, "no such call"))
            return
        question = self._question(f"approval {call.id}") if wish.verdict is Decision.ASK else None
        self._write(
            Judged(call_id=call.id, tool=call.name, decision=wish.verdict, reason="as written", question=question)
        )

    def _intent(self, each: PendingCall) -> ToolIntent:
        assert each.arguments is not None, "a call without arguments must not be performed"
        effect = EFFECTS[each.call.name]
        key = digest_of(each.call.id.encode())[:8]
        return ToolIntent(call_id=each.call.id, tool=each.call.name, effect=effect, arguments=each.arguments, key=key)

    def _perform(self, each: PendingCall, intent: ToolIntent) -> None:
        arguments = to_json(intent.arguments).decode()
        self.world.deeds.append(Deed(each.call.id, intent.tool, arguments, intent.key))
        self._point()
        self._write(_outcome(each.call, ResultStatus.OK, f"{intent.tool} {arguments}"))

    def _ask_unknown(self, action: AskUnknown) -> None:
        """Each doubt is a question of its own, and is asked once."""
        call = action.call
        intents = sum(isinstance(each, ToolIntent) and each.call_id == call.id for each in self.world.journal)
        subject = f"unknown {call.id} {intents}"
        self.world.doubts_asked[subject] += 1
        question = self._question(subject)
        self._write(Judged(call_id=call.id, tool=call.name, decision=Decision.ASK, reason="unknown", question=question))

    def _ask_limit(self, action: AskLimit) -> None:
        asked = sum(isinstance(each, LimitReached) for each in self.world.journal)
        self._write(
            LimitReached(
                limit=action.limit, value=action.value, used=action.used, question=self._question(f"limit {asked}")
            )
        )

    def _answer(self, questions: Sequence[int]) -> None:
        """A person answers one of the questions that the turn waits for."""
        subjects = {number: subject for subject, number in self.world.questions.items()}
        question = questions[-1 if self.story.last_first else 0]
        kind, _, subject = subjects[question].partition(" ")
        if kind == "limit":
            number = int(subject)
            decision = self.story.more[number] if number < len(self.story.more) else "deny"
            self._write(Answered(question=question, decision=decision, by="operator"))
            return
        if kind == "unknown":
            call_id, _, number = subject.partition(" ")
            said = self.story.wish(call_id).settled
            decision = said[min(int(number), len(said)) - 1]
            self._write(Answered(question=question, decision=decision, by="operator", call_id=call_id, text="looked"))
            return
        wish = self.story.wish(subject)
        self._write(
            Answered(question=question, decision=wish.answer, by="operator", call_id=subject, arguments=wish.edited)
        )

    def _question(self, subject: str) -> int:
        """The id of the one question about a subject."""
        return self.world.questions.setdefault(subject, len(self.world.questions) + 1)


def played(story: Story) -> World:
    """The turn without interruption."""
    world = World(story)
    Player(world).play()
    return world


def played_with_kills(story: Story, lives: Sequence[int]) -> World:
    """The turn, killed after so many points, resumed, killed again, and at last left in peace."""
    world = World(story)
    for each in lives:
        try:
            Player(world, lives=each).play()
        except Killed:
            continue
        return world
    Player(world).play()
    return world


def points_of(story: Story) -> int:
    """How many points an uninterrupted turn has: each is a place to be killed at."""
    player = Player(World(story))
    player.play()
    return player.points


def ordered(world: World) -> list[Any]:
    """The journal without the order that parallel calls may take: what is left must be equal in every run.

    Each call's own entries keep their order, and each model call comes after what it was told.
    """
    subjects = {number: subject for subject, number in world.questions.items()}
    rounds: list[Any] = []
    calls: dict[str, list[Any]] = {}
    for entry in world.journal:
        plain = _plain(entry, subjects)
        call_id = getattr(entry, "call_id", "")
        if call_id:
            calls.setdefault(call_id, []).append(plain)
            continue
        rounds.append((sorted(calls.items()), plain))
        calls = {}
    return [*rounds, sorted(calls.items())]


def _plain(entry: Entry, subjects: dict[int, str]) -> tuple[str, str]:
    """An entry as text, with questions named by what they ask, since ids go by the order of asking."""
    question = getattr(entry, "question", None)
    return to_json(entry).decode().replace(f'"question":{question}', '"question":0'), subjects.get(question or 0, "")


def _call(call_id: str, wish: Wish) -> ToolCall:
    return ToolCall(id=call_id, name=wish.tool, arguments=wish.arguments, raw="" if wish.arguments is not None else "{")


def _outcome(call: ToolCall, status: ResultStatus, text: str) -> ToolOutcome:
    return ToolOutcome(call_id=call.id, tool=call.name, status=status, text=text)
