"""The judge: what a run that was killed must have in common with one that was not, and what may differ.

The world outside decides: what was done, how often, under which key, and who was asked what. The store's journals are
compared too, in a form without times, tokens and the order of what happened at the same time. Pure; knows nothing of
how the runs were made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

import msgspec

from ostinato.domain.chat import Usage
from ostinato.domain.message import OWN_KINDS, kind_of
from ostinato.domain.question import QuestionKind
from ostinato.domain.step import (
    Answered,
    Compacted,
    CompactionIntent,
    Entry,
    Input,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    Note,
    ResultStatus,
    Reviewed,
    Submitted,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.task import TaskKind, TaskState
from tests.crash.outside import Line, What, of
from tests.crash.record import UNREPEATABLE, Record, TaskRecord

Call = tuple[str, str]
"""A task and one of its tool calls."""


def judge(whole: Record, broken: Record) -> list[str]:
    """What is wrong with `broken`, a line each, beside a run of the same scenario that nobody killed."""
    return [
        *deeds_are_done_once(broken.outside),
        *nothing_is_lost(names(whole.outside), broken),
        *no_answered_call_is_asked_again(broken.outside),
        *models_are_shown_the_same(whole.outside, broken.outside),
        *every_doubt_is_said_aloud(broken),
        *nothing_ends_twice(broken),
        *what_is_left_is_the_same(whole, broken),
        *journals_are_the_same(whole, broken),
    ]


def judge_refused(whole: Record, refused: Record) -> list[str]:
    """What is wrong with a run whose store had no room at times: what it could not write down is in doubt, as after a
    death, but no death says which deeds those are."""
    return [
        *deeds_are_done_once(refused.outside),
        *nothing_is_lost(names(whole.outside), refused),
        *no_answered_call_is_asked_again(refused.outside),
        *nothing_ends_twice(refused),
        *what_is_left_is_the_same(whole, refused),
    ]


def judge_errands(record: Record, *, wanted: Counter[str], letters: Sequence[str]) -> list[str]:
    """What is wrong with a fleet that did errands, where it is known of each what it must come to."""
    return [
        *deeds_are_done_once(record.outside),
        *nothing_is_lost(wanted, record),
        *no_answered_call_is_asked_again(record.outside),
        *nothing_ends_twice(record),
        *_difference("letters", letters, record.letters),
        *_difference("notes", _notes_due(record), _notes_of_endings(record)),
    ]


def _notes_due(record: Record) -> list[str]:
    """One line for each turn and goal."""
    return [
        f"{each.task.agent} {each.task.name} done)" for each in record.tasks if each.task.kind is not TaskKind.DELIVERY
    ]


def _notes_of_endings(record: Record) -> list[str]:
    """Without the lines of what had failed before a person sent it on."""
    return [tag for tag in map(_tag, record.notes) if tag.endswith(" done)")]


# --- the world outside ------------------------------------------------------------------------------------------------


def deeds_are_done_once(lines: Sequence[Line]) -> Iterator[str]:
    """Irreversible ones once for each call; idempotent ones under one key."""
    done = of(lines, What.DID)
    for (task, call, name), times in Counter(
        (d.task, d.call, d.name) for d in done if d.effect in UNREPEATABLE
    ).items():
        if times > 1:
            yield f"twice: {name!r} ({task}, call {call}) was done {times} times"
    keys: dict[Call, set[str]] = {}
    for each in done:
        keys.setdefault((each.task, each.call), set()).add(each.key)
    for (task, call), found in keys.items():
        if len(found) > 1:
            yield f"keys: call {call} of {task} acted under {len(found)} keys"


def nothing_is_lost(wanted: Counter[str], broken: Record) -> Iterator[str]:
    """Everything that should be done was done, and nothing else. Missing may be what a model was told is unknown."""
    found = names(broken.outside)
    for name, times in (wanted - found - Counter(left_to_models(broken))).items():
        yield f"lost: {name!r}, {times} times"
    for name, times in (found - wanted).items():
        yield f"twice: {name!r} was done {times} times more, by other calls"


def names(lines: Sequence[Line]) -> Counter[str]:
    """Deeds by name, each call once: a repeat is judged by its effect."""
    return Counter(name for _, _, name in {(d.task, d.call, d.name) for d in of(lines, What.DID)})


def left_to_models(broken: Record) -> list[str]:
    """Deeds in doubt whose model was told so, in a session that no question may hold up, and let it be."""
    return [
        entry.arguments.get("what", "")
        for each in broken.tasks
        if each.task.session is not None and kind_of(each.task.session) not in OWN_KINDS
        for entry in each.journal
        if isinstance(entry, ToolIntent) and (each.task.name, entry.call_id) in doubts(broken.outside)
    ]


def no_answered_call_is_asked_again(lines: Sequence[Line]) -> Iterator[str]:
    """A reply is used only once it is journaled: whoever uses it proves that it need not be asked for again."""
    answered: dict[str, int] = {}
    for line in lines:
        match line.what:
            case What.ASKED:
                call = int(line.call)
                if call <= answered.get(line.task, 0):
                    yield f"asked again: reply {call} of {line.task}, which was there already"
                answered[line.task] = max(answered.get(line.task, 0), call - 1)
            case What.DID if "." in line.call:
                used = int(line.call.partition(".")[0])
                answered[line.task] = max(answered.get(line.task, 0), used)
            case What.BEGAN if line.survey is not None:
                for task, call in line.survey.answered.items():
                    answered[task] = max(answered.get(task, 0), call)
            case _:
                pass


def models_are_shown_the_same(whole: Sequence[Line], broken: Sequence[Line]) -> Iterator[str]:
    """A turn that goes on after a death looks to its model like one that was never interrupted. Where a deed was in
    doubt it does not: that is what the model is to learn."""
    if doubts(broken):
        return
    wanted = {(line.task, line.call): line.key for line in of(whole, What.ASKED)}
    for line in of(broken, What.ASKED):
        if line.key != wanted.get((line.task, line.call)):
            yield f"shown otherwise: what reply {line.call} of {line.task} answers"


def every_doubt_is_said_aloud(broken: Record) -> Iterator[str]:
    """Calls that a death caught between intent and result are asked about, or their model is told; no others are."""
    doubtful = doubts(broken.outside)
    said = {(f"T{q.task}", q.call_id) for q in broken.questions if q.kind is QuestionKind.UNKNOWN}
    said |= {
        (each.task.name, entry.call_id)
        for each in broken.tasks
        for entry in each.journal
        if isinstance(entry, ToolOutcome) and entry.status is ResultStatus.UNKNOWN
    }
    for task, call in sorted(doubtful - said):
        yield f"silent: nobody was told that call {call} of {task} may have happened"
    for task, call in sorted(said - doubtful):
        yield f"false alarm: call {call} of {task} was never in doubt"


def doubts(lines: Iterable[Line]) -> set[Call]:
    """Calls that must not be repeated and were under way when a node died."""
    return {
        (task, call)
        for line in of(lines, What.BEGAN)
        if line.survey is not None
        for task, call, effect in line.survey.tools
        if effect in UNREPEATABLE
    }


# --- what is left -----------------------------------------------------------------------------------------------------


def nothing_ends_twice(broken: Record) -> Iterator[str]:
    """One completion for each task, as heard outside and as recorded; every task has ended well."""
    heard = Counter(line.task for line in of(broken.outside, What.DONE))
    for each in broken.tasks:
        done = sum(attempt.outcome == "done" for attempt in each.attempts)
        if heard[each.task.name] > 1 or done > 1:
            yield f"completed twice: {each.task.name}"
        if each.task.state is not TaskState.DONE:
            yield f"lost: {each.task.name} is {each.task.state.value}: {each.task.reason}"


def what_is_left_is_the_same(whole: Record, broken: Record) -> Iterator[str]:
    """Letters, dropped files, what agents wrote, daily notes, messages, and wakes that were skipped."""
    yield from _difference("letters", whole.letters, broken.letters)
    yield from _difference("files", map(_as_dropped, whole.files), map(_as_dropped, broken.files))
    yield from _difference("work", whole.work, broken.work)
    yield from _difference("messages", map(_nameless, whole.messages), map(_nameless, broken.messages))
    yield from _difference("notes", map(_tag, whole.notes), map(_tag, broken.notes))
    if whole.skips != broken.skips:
        yield f"skips: {broken.skips} were recorded, not {whole.skips}"


def _difference(kind: str, wanted: Iterable[str], found: Iterable[str]) -> Iterator[str]:
    here, there = Counter(wanted), Counter(found)
    for each in here - there:
        yield f"{kind}: missing {each!r}"
    for each in there - here:
        yield f"{kind}: too many {each!r}"


def _nameless(message: str) -> str:
    """A message without the digests that stand for a file's place on the disk."""
    return re.sub(r"[0-9a-f]{16,}", "#", message)


def _as_dropped(file: str) -> str:
    """A file's place without the number that tells it from an empty one of its name: a death between the making of a
    name and the move leaves that, until it is cleared away."""
    return re.sub(r"-2(?=\.\w+$)", "", file)


def _tag(note: str) -> str:
    """Whose note a line is, and of which task: the words are the journal's."""
    return f"{note.partition(':')[0]} {note.rpartition('(')[2]}"


# --- journals ---------------------------------------------------------------------------------------------------------


def journals_are_the_same(whole: Record, broken: Record) -> Iterator[str]:
    """Task by task, in their normal form. Calls that were in doubt are compared but for how they were settled."""
    settled = doubts(broken.outside)
    here, there = (_journals(each, settled) for each in (whole, broken))
    for name in sorted(here.keys() | there.keys()):
        if name not in here or name not in there:
            yield f"journal: {name} exists in one run only"
            continue
        pair = zip(here[name] + ["(end)"], there[name] + ["(end)"], strict=False)
        difference = next(((a, b) for a, b in pair if a != b), None)
        if difference is not None:
            yield f"journal: {name} should say {difference[0]}, but says {difference[1]}"


def _journals(record: Record, settled: set[Call]) -> dict[str, list[str]]:
    return {f"{each.task.kind.value} {each.task.name}": normal(each, settled) for each in record.tasks}


def normal(record: TaskRecord, settled: set[Call]) -> list[str]:
    """A journal without what may differ: times, sums, notes that others wrote meanwhile, the order within one round of
    calls, and for calls in doubt everything from the intent on."""
    rounds: list[list[tuple[str, str]]] = [[]]
    for entry in record.journal:
        if isinstance(entry, ModelIntent):
            rounds.append([])
        line = _plain(entry, record.task.name, settled)
        if line is not None:
            rounds[-1].append(line)
    return [text for each in rounds for _, text in sorted(each)]


def _plain(entry: Entry, task: str, settled: set[Call]) -> tuple[str, str] | None:
    """Where in its round an entry stands, and what of it must be the same; None for what may be missing."""
    match entry:
        case Input():
            files = {name: digest for name, digest in entry.files.items() if not name.startswith("memory/")}
            return "0", _text(msgspec.structs.replace(entry, files=files))
        case ModelIntent():
            return "1", f"ask for reply {entry.call}"
        case ModelAnswer():
            return "2", _text(_without_sums(entry))
        case Judged() | ToolIntent() | ToolOutcome() | Answered() if (task, entry.call_id) in settled:
            if isinstance(entry, ToolOutcome):
                return f"3 {entry.call_id}", f"call {entry.call_id} was settled"
            return None
        case Judged():
            return f"3 {entry.call_id} 0", _text(msgspec.structs.replace(entry, question=entry.question and 1))
        case Answered():
            return f"3 {entry.call_id} 1", _text(msgspec.structs.replace(entry, question=1))
        case ToolIntent():
            return f"3 {entry.call_id} 2", _text(entry)
        case ToolOutcome():
            return f"3 {entry.call_id} 3", _text(_without_names(msgspec.structs.replace(entry, duration_ms=0.0)))
        case LimitReached() | Note() | CompactionIntent() | Compacted():
            return "4", _text(entry)
        case Submitted():
            return "5", _text(entry)
        case Reviewed():
            return "6", _text(entry)
        case _:
            assert_never(entry)


def _without_sums(answer: ModelAnswer) -> ModelAnswer:
    """What a reply cost depends on the length of the prompt, and so do the ids that a provider gives."""
    calls = tuple(msgspec.structs.replace(each, provider_id="") for each in answer.calls)
    return msgspec.structs.replace(answer, calls=calls, duration_ms=0.0, usage=Usage(), usd_micros=None)


def _without_names(outcome: ToolOutcome) -> ToolOutcome:
    """Letters are named after the moment at which they were sent."""
    if outcome.data is not None and "delivery" in outcome.data:
        return msgspec.structs.replace(outcome, data=None)
    return msgspec.structs.replace(outcome, text="written") if outcome.text.startswith("written to ") else outcome


def _text(entry: Entry) -> str:
    return msgspec.json.encode(entry).decode()
