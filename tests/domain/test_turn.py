"""The laws of the turn: a resumed turn equals an uninterrupted one, and nothing acts without leave.

Played in the world of `turn_player`; no runner, store or model takes part.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.chat import ToolCall, Usage
from ostinato.domain.step import (
    REPEATABLE,
    WITHDRAWN,
    Answered,
    Decision,
    Effect,
    Entry,
    Input,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    Note,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
    entry_from_json,
    entry_to_json,
    sent_on,
)
from ostinato.domain.turn import (
    FINISH_TOOL,
    REPAIRS_MAX,
    AskLimit,
    AskUnknown,
    CallModel,
    Finish,
    Park,
    RunTools,
    Stage,
    TurnView,
    next_action,
)
from ostinato.domain.values import Limits, Trust
from tests.domain.turn_player import (
    EFFECTS,
    Killed,
    Line,
    Player,
    Story,
    Wish,
    World,
    ordered,
    played,
    played_with_kills,
    points_of,
)

REPEATABLE_TOOLS = sorted(tool for tool, effect in EFFECTS.items() if effect in REPEATABLE)
small_arguments = st.dictionaries(st.sampled_from("ab"), st.integers(0, 1), max_size=1)


def wishes(tools: list[str]) -> st.SearchStrategy[Wish]:
    """Calls of the model, with verdicts and answers of every kind."""
    return st.builds(
        Wish,
        tool=st.sampled_from([*tools, "nonsense"]),
        arguments=st.none() | small_arguments,
        verdict=st.sampled_from(Decision),
        answer=st.sampled_from(["allow", "deny", "expired"]),
        edited=st.none() | st.just({"edited": True}),
        settled=st.lists(st.sampled_from(["allow", "answered", "deny", "expired"]), min_size=1, max_size=3).map(tuple),
    )


def stories(tools: list[str]) -> st.SearchStrategy[Story]:
    """Whole turns: replies, answers of people, and limits narrow enough to be met."""
    lines = st.builds(
        Line,
        text=st.sampled_from(["", "so be it"]),
        wishes=st.lists(wishes(tools), max_size=3).map(tuple),
        problem=st.sampled_from(["", "", "", "cut off in the middle"]),
        tokens=st.integers(0, 50),
    )
    limits = st.builds(
        Limits, steps=st.integers(1, 6), tokens=st.integers(20, 200), usd_micros=st.integers(20, 200),
        identical=st.integers(1, 4),
    )  # fmt: skip
    return st.builds(
        Story,
        lines=st.lists(lines, max_size=4).map(tuple),
        more=st.lists(st.sampled_from(["allow", "deny", "expired"]), max_size=3).map(tuple),
        endless=st.booleans(),
        limits=limits,
        last_first=st.booleans(),
    )


def is_doubtful(intent: ToolIntent) -> bool:
    """True where a lost result leaves the question whether it happened."""
    return intent.effect not in REPEATABLE


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(stories(REPEATABLE_TOOLS), st.lists(st.integers(0, 40), max_size=4))
def test_a_turn_killed_anywhere_and_resumed_writes_the_journal_of_an_uninterrupted_one(
    story: Story, lives: list[int]
) -> None:
    calm = played(story)
    killed = played_with_kills(story, lives)
    assert ordered(killed) == ordered(calm)
    assert {*killed.deeds} == {*calm.deeds}
    assert next_action(killed.journal, story.limits) == next_action(calm.journal, story.limits)


@pytest.mark.slow
@given(stories(REPEATABLE_TOOLS))
def test_that_holds_for_a_kill_at_every_single_point(story: Story) -> None:
    calm = ordered(played(story))
    for lives in range(min(points_of(story), 60)):
        assert ordered(played_with_kills(story, [lives])) == calm


@pytest.mark.slow
@given(stories(sorted(EFFECTS)), st.lists(st.integers(0, 40), max_size=6))
def test_what_may_have_happened_is_never_done_again_without_a_persons_leave_for_that_very_time(
    story: Story, lives: list[int]
) -> None:
    world = played_with_kills(story, lives)
    open_intents: set[str] = set()
    for entry in world.journal:
        if isinstance(entry, ToolIntent) and is_doubtful(entry):
            assert entry.call_id not in open_intents, "begun again although nobody has said that it did not happen"
            open_intents.add(entry.call_id)
        elif isinstance(entry, Answered) and entry.decision == "allow":
            open_intents.discard(entry.call_id)
    intents = Counter(each.call_id for each in world.journal if isinstance(each, ToolIntent) and is_doubtful(each))
    deeds = Counter(each.call_id for each in world.deeds if EFFECTS[each.tool] not in REPEATABLE)
    assert all(deeds[call] <= intents[call] for call in deeds), "a deed without an intent of its own"
    asked_again = [subject for subject, count in world.doubts_asked.items() if count > 1 + len(lives)]
    assert not asked_again


@pytest.mark.slow
@given(stories(sorted(EFFECTS)), st.lists(st.integers(0, 40), max_size=6))
def test_no_call_is_performed_without_leave_of_the_gate_or_of_a_person(story: Story, lives: list[int]) -> None:
    world = played_with_kills(story, lives)
    for deed in world.deeds:
        wish = story.wish(deed.call_id)
        call, _, _ = deed.call_id.partition(".")
        assert not story.line(int(call)).problem, "a malformed reply must not be acted on"
        assert wish.verdict is Decision.ALLOW or (wish.verdict is Decision.ASK and wish.answer == "allow")
        if wish.verdict is Decision.ASK and wish.edited is not None:
            assert deed.arguments == '{"edited":true}', "a person has changed the arguments"


@pytest.mark.slow
@given(stories(sorted(EFFECTS)), st.lists(st.integers(0, 40), max_size=4))
def test_every_turn_ends_and_asks_the_model_no_more_often_than_its_limits_and_people_allow(
    story: Story, lives: list[int]
) -> None:
    world = played_with_kills(story, lives)
    view = TurnView(world.journal)
    assert view.model_calls <= view.granted("steps", story.limits.steps)
    assert view.granted("steps", story.limits.steps) <= story.limits.steps * (1 + story.more.count("allow"))
    most_tokens = max([10, *(line.tokens for line in story.lines)])
    assert view.tokens < view.granted("tokens", story.limits.tokens) + most_tokens
    assert world.model_calls <= view.model_calls + len(lives), "a reply that is in the journal is not asked for again"


@pytest.mark.slow
@given(stories(sorted(EFFECTS)), st.lists(st.integers(0, 40), max_size=4))
def test_each_call_of_a_sound_reply_has_exactly_one_result_at_the_end(story: Story, lives: list[int]) -> None:
    world = played_with_kills(story, lives)
    results = Counter(each.call_id for each in world.journal if isinstance(each, ToolOutcome))
    replies = [each for each in world.journal if isinstance(each, ModelAnswer) and not each.problem]
    assert results == Counter(call.id for reply in replies for call in reply.calls)


ids = st.sampled_from(["1.0", "1.1", "2.0"])
questions = st.none() | st.integers(1, 3)
tools = st.sampled_from(sorted(EFFECTS))
calls = st.builds(ToolCall, id=ids, name=tools, arguments=st.none() | small_arguments)
any_entry: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Input, messages=st.lists(st.integers(1, 9), max_size=2).map(tuple)),
    st.builds(ModelIntent, call=st.integers(1, 3), model=st.just("m")),
    st.builds(
        ModelAnswer,
        call=st.integers(1, 3),
        model=st.just("m"),
        text=st.sampled_from(["", "x"]),
        calls=st.lists(calls, max_size=3, unique_by=lambda call: call.id).map(tuple),
        usage=st.builds(Usage, input_tokens=st.integers(0, 9)),
        usd_micros=st.none() | st.integers(0, 9),
        problem=st.sampled_from(["", "torn"]),
    ),
    st.builds(
        Judged, call_id=ids, tool=tools, decision=st.sampled_from(Decision), reason=st.just("r"), question=questions
    ),
    st.builds(
        ToolIntent, call_id=ids, tool=tools, effect=st.sampled_from(Effect), arguments=small_arguments, key=st.just("k")
    ),
    st.builds(ToolOutcome, call_id=ids, tool=tools, status=st.sampled_from(ResultStatus)),
    st.builds(
        Answered,
        question=st.integers(1, 3),
        decision=st.sampled_from(["allow", "deny", "expired", "answered", ""]),
        by=st.just("p"),
        call_id=st.just("") | ids,
        arguments=st.none() | small_arguments,
    ),
    st.builds(LimitReached, limit=st.sampled_from(["steps", "identical"]), value=st.floats(0, 9), question=questions),
    st.builds(Note, text=st.just("n"), by=st.sampled_from(["runtime", "p"])),
)


@pytest.mark.slow
@given(st.lists(any_entry, max_size=14), st.builds(Limits, steps=st.integers(0, 3), identical=st.integers(1, 2)))
def test_whatever_a_journal_says_there_is_a_next_action_and_it_performs_only_what_is_allowed(
    journal: list[Entry], limits: Limits
) -> None:
    action = next_action(journal, limits)
    assert action == next_action(list(journal), limits)
    if not isinstance(action, RunTools):
        return
    replies = [each for each in journal if isinstance(each, ModelAnswer)]
    assert not replies[-1].problem
    for each in action.calls:
        assert not [done for done in journal if isinstance(done, ToolOutcome) and done.call_id == each.call.id]
        if each.stage is Stage.PERFORM:
            assert is_allowed(journal, each.call.id), "performed without leave"
        if each.stage is Stage.REPEAT:
            last = [one for one in journal if isinstance(one, ToolIntent) and one.call_id == each.call.id][-1]
            assert not is_doubtful(last), "repeated what may have happened"


def is_allowed(journal: list[Entry], call_id: str) -> bool:
    """Says, in the plainest way, whether the gate or a person has allowed this call as it stands."""
    first: dict[int, Answered] = {}
    for entry in journal:
        if isinstance(entry, Answered):
            first.setdefault(entry.question, entry)
    begun = [n for n, each in enumerate(journal) if isinstance(each, ToolIntent) and each.call_id == call_id]
    since = journal[begun[-1] :] if begun else []
    if begun:  # it may have happened: only a person who has looked since then can send it off again
        said = [each for each in since if isinstance(each, Answered) and each.call_id == call_id]
        said = [each for each in said if first[each.question] is each]
        return bool(said) and said[-1].decision == "allow"
    verdict = [each for each in journal if isinstance(each, Judged) and each.call_id == call_id][-1]
    if verdict.decision is Decision.ASK:
        return verdict.question in first and first[verdict.question].decision == "allow"
    return verdict.decision is Decision.ALLOW


@given(any_entry)
def test_every_entry_comes_back_from_the_store_as_it_was(entry: Entry) -> None:
    assert entry_from_json(entry_to_json(entry)) == entry


# --- cases --------------------------------------------------------------------------------------------------------

LOOK, SEND, ASKED = Wish(), Wish(tool="send"), Wish(tool="send", verdict=Decision.ASK)


def story_of(*rounds: Wish | tuple[Wish, ...], **options: Any) -> Story:
    """A turn in which each round is one call, or several at once."""
    lines = tuple(Line(wishes=each if isinstance(each, tuple) else (each,)) for each in rounds)
    return Story(lines=lines, **options)


def end_of(world: World) -> Finish:
    """How a played turn ended."""
    action = next_action(world.journal, world.story.limits)
    assert isinstance(action, Finish)
    return action


def answers(world: World) -> list[tuple[str, str]]:
    """What people were asked, in order, and what they said."""
    subjects = {number: subject for subject, number in world.questions.items()}
    return [(subjects[each.question], each.decision) for each in world.journal if isinstance(each, Answered)]


def test_a_new_turn_asks_the_model() -> None:
    assert next_action([], Limits()) == CallModel(call=1, resumed=False)


def test_a_reply_without_calls_is_the_result() -> None:
    assert end_of(played(Story(lines=(Line(text="Done."),)))) == Finish(text="Done.")


def test_a_message_that_came_meanwhile_is_answered_before_the_turn_ends() -> None:
    journal = [*played(Story(lines=(Line(text="Done."),))).journal, Input(messages=(2,))]
    assert next_action(journal, Limits()) == CallModel(call=2, resumed=False)


def test_the_finish_tool_ends_the_turn_once_its_neighbours_have_their_results() -> None:
    finish = Wish(tool=FINISH_TOOL)
    world = played(story_of((finish, ASKED)))
    assert end_of(world).text == "finish {}"
    assert world.model_calls == 1
    assert [deed.tool for deed in world.deeds] == ["finish", "send"]


def test_a_refused_finish_does_not_end_the_turn() -> None:
    world = played(story_of(Wish(tool=FINISH_TOOL, verdict=Decision.DENY)))
    assert world.model_calls == 2


def test_a_model_call_without_a_reply_is_made_again_under_the_same_number() -> None:
    journal: list[Entry] = [Input(), ModelIntent(call=1, model="m")]
    assert next_action(journal, Limits()) == CallModel(call=1, resumed=True)


def test_people_are_asked_once_and_their_no_reaches_the_model() -> None:
    for said, told in (("deny", "operator said no"), ("expired", "nobody answered in time")):
        world = played(story_of(Wish(tool="send", verdict=Decision.ASK, answer=said)))
        [outcome] = [each for each in world.journal if isinstance(each, ToolOutcome)]
        assert outcome.status is ResultStatus.DENIED
        assert outcome.text == told
        assert not world.deeds


def test_a_denial_by_the_gate_gives_its_reason() -> None:
    world = played(story_of(Wish(verdict=Decision.DENY)))
    [outcome] = [each for each in world.journal if isinstance(each, ToolOutcome)]
    assert outcome.text == "as written"
    assert not world.deeds


def test_edited_arguments_are_the_ones_used_and_stay_so_when_the_deed_is_repeated() -> None:
    put = Wish(tool="put", arguments={"a": 1}, verdict=Decision.ASK, edited={"a": 2})
    story = story_of(put)
    for lives in range(points_of(story)):
        assert {deed.arguments for deed in played_with_kills(story, [lives]).deeds} == {'{"a":2}'}


def test_of_parallel_calls_those_that_may_run_do_while_others_wait() -> None:
    world = World(story_of((LOOK, ASKED, LOOK)))
    while not isinstance(action := next_action(world.journal, Limits()), Park):
        Player(world).take(action)
    assert action == Park(questions=(1,))
    assert [deed.call_id for deed in world.deeds] == ["1.0", "1.2"]


def test_several_questions_of_one_reply_can_be_answered_in_any_order() -> None:
    for last_first in (False, True):
        world = played(story_of((ASKED, LOOK, ASKED), last_first=last_first))
        asked = ["approval 1.0", "approval 1.2"]
        assert [subject for subject, _ in answers(world)] == (asked[::-1] if last_first else asked)
        assert Counter(deed.tool for deed in world.deeds) == {"send": 2, "look": 1}


def test_a_pending_result_in_a_shared_session_lets_the_turn_go_on() -> None:
    call = ToolCall(id="1.0", name="send", arguments={})
    journal: list[Entry] = [
        ModelIntent(call=1, model="m"),
        ModelAnswer(call=1, model="m", calls=(call,)),
        Judged(call_id="1.0", tool="send", decision=Decision.ASK, reason="r", question=7),
        ToolOutcome(call_id="1.0", tool="send", status=ResultStatus.PENDING, text="pending Q7"),
    ]
    assert next_action(journal, Limits()) == CallModel(call=2, resumed=False)


@pytest.mark.parametrize("tool", ["move", "send"])
def test_an_intent_without_a_result_asks_a_person_whether_it_happened(tool: str) -> None:
    story = story_of(Wish(tool=tool))
    journal = killed_before_result(story).journal
    action = next_action(journal, Limits())
    assert isinstance(action, AskUnknown)
    assert action.intent.tool == tool


@pytest.mark.parametrize("tool", ["look", "put"])
def test_an_intent_without_a_result_is_repeated_where_that_is_harmless(tool: str) -> None:
    world = killed_before_result(story_of(Wish(tool=tool)))
    action = next_action(world.journal, Limits())
    assert isinstance(action, RunTools)
    assert [each.stage for each in action.calls] == [Stage.REPEAT]


def killed_before_result(story: Story) -> World:
    """Killed after the deed of the first call, before its result was written."""
    for lives in range(points_of(story)):
        world = World(story)
        with pytest.raises(Killed):
            Player(world, lives=lives).play()
        if world.deeds:
            break
    assert isinstance(world.journal[-1], ToolIntent)
    return world


def test_while_one_doubt_waits_other_calls_go_on_and_nobody_is_asked_twice() -> None:
    world = killed_before_result(story_of((SEND, ASKED, ASKED)))
    while not isinstance(action := next_action(world.journal, Limits()), Park):
        Player(world).take(action)
    assert len(action.questions) == 3
    Player(world).take(action)
    assert world.doubts_asked == {"unknown 1.0 1": 1}
    Player(world).play()
    assert world.doubts_asked == {"unknown 1.0 1": 1}


def test_an_approval_before_the_deed_does_not_answer_whether_it_happened() -> None:
    world = killed_before_result(story_of(ASKED))
    assert isinstance(next_action(world.journal, Limits()), AskUnknown)


def test_one_leave_to_do_it_again_is_good_for_one_time() -> None:
    world = killed_before_result(story_of(Wish(tool="send", settled=("allow", "answered"))))
    with pytest.raises(Killed):
        Player(world, lives=3).play()  # past the question, its answer and the second intent, up to the second deed
    assert len(world.deeds) == 2
    assert isinstance(next_action(world.journal, Limits()), AskUnknown)
    Player(world).play()
    assert len(world.deeds) == 2


def test_a_person_who_says_it_happened_ends_the_doubt() -> None:
    world = killed_before_result(story_of(SEND))
    Player(world).play()
    assert len(world.deeds) == 1
    assert answers(world) == [("unknown 1.0 1", "answered")]


def test_a_gate_that_asks_without_a_question_holds() -> None:
    call = ToolCall(id="1.0", name="send", arguments={})
    journal: list[Entry] = [
        ModelAnswer(call=1, model="m", calls=(call,)),
        Judged(call_id="1.0", tool="send", decision=Decision.ASK, reason="r"),
    ]
    action = next_action(journal, Limits())
    assert isinstance(action, RunTools)
    assert action.calls[0].stage is Stage.REFUSE


def test_the_first_answer_to_a_question_stands() -> None:
    call = ToolCall(id="1.0", name="send", arguments={})
    journal: list[Entry] = [
        ModelAnswer(call=1, model="m", calls=(call,)),
        Judged(call_id="1.0", tool="send", decision=Decision.ASK, reason="r", question=1),
        Answered(question=1, decision="deny", by="operator", call_id="1.0"),
        Answered(question=1, decision="allow", by="operator", call_id="1.0"),
    ]
    action = next_action(journal, Limits())
    assert isinstance(action, RunTools)
    assert action.calls[0].stage is Stage.REFUSE


# --- malformed replies --------------------------------------------------------------------------------------------


def test_a_malformed_reply_is_not_acted_on_even_where_a_call_in_it_looks_sound() -> None:
    world = played(Story(lines=(Line(wishes=(SEND,), problem="two calls with one id"),)))
    assert not world.deeds
    assert world.model_calls == 2


@pytest.mark.parametrize("bad", [Line(problem="torn"), Line(wishes=(Wish(arguments=None),))])
def test_replies_that_stay_malformed_end_the_turn(bad: Line) -> None:
    world = played(Story(lines=(bad,), endless=True))
    assert world.model_calls == 1 + REPAIRS_MAX
    assert "malformed after 2 repairs" in end_of(world).failed
    assert not world.deeds


def test_a_sound_reply_between_malformed_ones_gives_the_repairs_back() -> None:
    bad, good = Line(problem="torn"), Line(wishes=(LOOK,))
    world = played(Story(lines=(bad, bad, good, bad, bad, Line(text="At last."))))
    assert end_of(world) == Finish(text="At last.")


def test_a_reply_with_one_sound_call_among_malformed_ones_is_used() -> None:
    world = played(Story(lines=(Line(wishes=(LOOK, Wish(arguments=None))),)))
    assert [deed.tool for deed in world.deeds] == ["look"]
    assert not end_of(world).failed


# --- limits -------------------------------------------------------------------------------------------------------

USED_UP: list[tuple[str, Limits]] = [
    ("steps", Limits(steps=4)),
    ("tokens", Limits(tokens=40)),
    ("usd_micros", Limits(usd_micros=40)),
]


def different(count: int) -> tuple[Wish, ...]:
    """Calls of which no two are alike."""
    return tuple(Wish(arguments={"n": n}) for n in range(count))


@pytest.mark.parametrize(("name", "limits"), USED_UP)
def test_a_limit_asks_and_each_permission_grants_the_same_again(name: str, limits: Limits) -> None:
    for more in ((), ("allow",), ("allow", "allow")):
        world = played(story_of(*different(50), limits=limits, more=more))
        assert world.model_calls == 4 * (1 + len(more))
        assert [each.limit for each in world.journal if isinstance(each, LimitReached)] == [name] * (1 + len(more))
        assert f"limit of {name}" in end_of(world).failed


def test_the_wall_clock_is_a_limit_too() -> None:
    assert next_action([], Limits(wall_s=60), worked_s=59.9) == CallModel(call=1, resumed=False)
    assert next_action([], Limits(wall_s=60), worked_s=60.0) == AskLimit(limit="wall_s", value=60, used=60)


def test_a_limit_never_takes_the_result_from_a_turn_that_is_at_its_end() -> None:
    world = played(Story(lines=(Line(wishes=(LOOK,)), Line(text="Just in time.")), limits=Limits(steps=2)))
    assert end_of(world) == Finish(text="Just in time.")


def test_identical_calls_in_a_row_ask_and_begin_to_count_anew_with_leave() -> None:
    world = played(story_of(LOOK, endless=True, more=("allow",), limits=Limits(identical=3)))
    assert world.model_calls == 6
    assert [each.limit for each in world.journal if isinstance(each, LimitReached)] == ["identical"] * 2


def test_a_different_call_between_identical_ones_ends_the_row() -> None:
    other = Wish(arguments={"other": 1})
    world = played(story_of(LOOK, LOOK, other, LOOK, LOOK))
    assert not [each for each in world.journal if isinstance(each, LimitReached)]


def test_a_persons_word_ends_a_row_of_identical_calls() -> None:
    journal = [*played(story_of(LOOK, LOOK, LOOK, limits=Limits(identical=4))).journal[:-2]]
    assert isinstance(next_action(journal, Limits()), AskLimit)
    said = [*journal, Note(text="that is fine", by="operator")]
    assert next_action(said, Limits()) == CallModel(call=4, resumed=False)
    by_agent = [*journal, Note(text="that is fine", by="helper", trust=Trust.AGENT)]
    assert isinstance(next_action(by_agent, Limits()), AskLimit), "no agent decides that"


def test_a_limit_whose_question_expires_says_so() -> None:
    world = played(story_of(*different(50), limits=Limits(steps=1), more=("expired",)))
    assert "nobody answered in time" in end_of(world).failed


def test_a_limit_that_nobody_is_asked_about_ends_the_turn() -> None:
    journal: list[Entry] = [*played(story_of(LOOK)).journal[:-2], LimitReached(limit="steps", value=1)]
    action = next_action(journal, Limits(steps=1))
    assert isinstance(action, Finish)
    assert "limit of steps" in action.failed


@pytest.mark.parametrize(
    "story",
    [
        story_of(*different(9), limits=Limits(steps=1)),
        Story(lines=(Line(problem="torn"),), endless=True, limits=Limits(steps=9)),
        story_of(Wish(arguments=None), endless=True),
    ],
)
def test_a_failed_turn_that_a_person_sends_on_asks_again_instead_of_failing_again(story: Story) -> None:
    world = played(story)
    assert end_of(world).failed
    going = sent_on(by="operator", reason="retried")
    assert isinstance(next_action([*world.journal, going], story.limits), CallModel | AskLimit)
    for remark in (
        Note(text="drained"),
        Note(text=going.text, by="ann"),
        Note(text=going.text, by="x", trust=Trust.AGENT),
    ):
        assert isinstance(next_action([*world.journal, remark], story.limits), Finish)


def withdrawn(question: int, call_id: str = "") -> Answered:
    """What the journal says of a question that nobody answered before its task ended."""
    return Answered(question=question, decision=WITHDRAWN, by="runtime", call_id=call_id)


def test_a_task_that_goes_on_asks_again_what_was_withdrawn() -> None:
    world = World(story_of(ASKED))
    while not isinstance(action := next_action(world.journal, Limits()), Park):
        Player(world).take(action)
    again = next_action([*world.journal, withdrawn(1, "1.0")], Limits())
    assert isinstance(again, RunTools)
    assert [each.stage for each in again.calls] == [Stage.JUDGE]


def test_a_doubt_whose_question_was_withdrawn_is_asked_again() -> None:
    world = killed_before_result(story_of(SEND))
    while not isinstance(action := next_action(world.journal, Limits()), Park):
        Player(world).take(action)
    (question,) = action.questions
    assert isinstance(next_action([*world.journal, withdrawn(question, "1.0")], Limits()), AskUnknown)


def test_a_limit_whose_question_was_withdrawn_asks_again() -> None:
    journal: list[Entry] = [*played(story_of(LOOK)).journal[:-2], LimitReached(limit="steps", value=1, question=7)]
    assert isinstance(next_action([*journal, withdrawn(7)], Limits(steps=1)), AskLimit)
