"""What is folded into a summary, and what is never left to one; and the factor that estimates are corrected by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.calibration import LEAST, MOST, factor_after, is_news
from ostinato.domain.compaction import FACTS_MAX, boundaries, carried, facts_of, outline, to_fold
from ostinato.domain.step import (
    Answered,
    Decision,
    Effect,
    Entry,
    Facts,
    Input,
    Judged,
    ModelAnswer,
    ModelIntent,
    ToolIntent,
)

sizes = st.lists(st.integers(0, 500), max_size=60)
texts = st.lists(st.text(min_size=1, max_size=30), max_size=60)


@given(sizes, st.integers(1, 1_000), st.integers(1, 40))
def test_what_is_left_fits_and_what_fits_is_left_alone(sizes: list[int], limit: int, most: int) -> None:
    folded = to_fold(sizes, limit=limit, most=most)
    kept = sizes[folded:]
    assert sum(kept) <= limit
    assert len(kept) <= most
    assert (folded == 0) == (sum(sizes) <= limit and len(sizes) <= most)
    if folded and len(kept) > 1:
        assert sum(kept) <= limit // 4, "the next folding is far away: prefixes stay the same for providers' caches"


@given(sizes, st.integers(20, 400))
def test_a_session_of_any_length_shows_a_bounded_prompt_and_folds_seldom(sizes: list[int], limit: int) -> None:
    shown: list[int] = []
    foldings = 0
    for size in (each for each in sizes if each <= limit // 8):
        shown.append(size)
        folded = to_fold(shown, limit=limit, most=30)
        foldings += folded > 0
        shown = shown[folded:]
        assert sum(shown) <= limit
    assert foldings <= 1 + len(sizes) // 5


def test_a_turn_is_cut_only_before_a_call_of_the_model() -> None:
    entries: list[Entry] = [
        Input(), ModelIntent(call=1, model="m"), ModelAnswer(call=1, model="m"), ModelIntent(call=2, model="m"),
        ModelAnswer(call=2, model="m"), ModelIntent(call=3, model="m"),
    ]  # fmt: skip
    assert boundaries(entries) == [3, 5]
    assert boundaries(entries[:3]) == boundaries([]) == []


def test_open_questions_decisions_and_files_are_kept_word_for_word() -> None:
    entries: list[Entry] = [
        Judged(call_id="1.0", tool="mail.send", decision=Decision.ASK, reason="outward", question=7),
        Judged(call_id="1.1", tool="files.write", decision=Decision.ASK, reason="", question=8),
        Answered(question=7, decision="deny", by="ann", text="not before Monday"),
        ToolIntent(call_id="1.2", tool="files.read", effect=Effect.READ, arguments={"path": "notes/a.md"}, key="k"),
    ]
    facts = facts_of(entries)
    assert facts.questions == ("Q8 about files.write",)
    assert facts.decisions == ("Q7 about mail.send: deny by ann: not before Monday",)
    assert facts.files == ("notes/a.md",)
    assert facts.text.splitlines() == [
        "Open questions: Q8 about files.write",
        "Decisions: Q7 about mail.send: deny by ann: not before Monday",
        "Files: notes/a.md",
    ]


@given(texts, texts)
def test_facts_survive_any_number_of_summaries_newest_last_and_bounded(old: list[str], new: list[str]) -> None:
    before = Facts(files=tuple(dict.fromkeys(old))[-FACTS_MAX:])
    after = carried(before, Facts(files=tuple(new)), running=["T7 build (running)"])
    assert len(after.files) <= FACTS_MAX
    assert len(set(after.files)) == len(after.files)
    if new:
        assert after.files[-1] == new[-1]
    if len(set(old) | set(new)) <= FACTS_MAX:
        assert set(after.files) == set(old) | set(new)
    assert carried(after, Facts()).running == (), "what ran then need not run now"


@given(texts, st.integers(1, 300))
def test_an_outline_keeps_the_newest_lines_and_says_what_it_leaves_out(lines: list[str], most: int) -> None:
    text = outline(lines, characters_max=most)
    assert len(text) <= most + len("[60 earlier lines are not shown]\n")
    if sum(len(each) + 1 for each in lines) <= most:
        assert text == "\n".join(lines)
    elif lines:
        assert "are not shown]" in text


@given(st.floats(LEAST, MOST), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_learned_factor_stays_between_its_bounds_and_moves_towards_what_was_seen(
    factor: float, estimated: int, counted: int
) -> None:
    after = factor_after(factor, estimated=estimated, counted=counted)
    assert LEAST <= after <= MOST
    if estimated >= 50 and counted:
        seen = min(MOST, max(LEAST, counted / estimated))
        assert abs(after - seen) <= abs(factor - seen)
    else:
        assert after == factor


def test_a_factor_is_learned_within_a_few_replies_and_written_seldom() -> None:
    factor = kept = 1.0
    written = 0
    for _ in range(100):
        factor = factor_after(factor, estimated=1_000, counted=2_000)
        if is_news(kept, factor):
            kept, written = factor, written + 1
    assert 1.9 < factor <= 2.0
    assert written < 15
