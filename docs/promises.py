"""What holds when things go wrong: each promise, the tests that prove it, and what they counted in the last full run.

`guarantees.md` shows both. The figures are in `explanation/guarantees.json`, which `make crash`, `make attack` and
`make figures` write anew: no other run changes them. Knows nothing of how a test is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ostinato.domain.values import Value

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "explanation" / "guarantees.json"
CONTRACT = "src/ostinato/testing/contract"
TURNS = "tests/postgres/test_turns.py::test_a_turn_whose_node_ends_at_any_commit_goes_on_and_repeats_nothing"


class Promise(Value):
    """One thing that holds. Proofs are `path::function`; of the contract, both stores keep them."""

    piece: str
    holds: str
    after_a_crash: str
    proofs: tuple[str, ...]


PROMISES = (
    Promise(
        piece="acknowledge",
        holds="durable before the answer; one task for a key, and another body is a conflict",
        after_a_crash="no answer: the sender repeats, same key, same task",
        proofs=(
            f"{CONTRACT}/adding.py::the_same_key_with_another_body_is_a_conflict",
            "tests/contract/test_processes.py::test_a_process_killed_at_any_commit_keeps_what_it_acknowledged",
            "tests/power/test_power_cuts.py::test_a_power_cut_takes_nothing_that_was_acknowledged",
            "tests/postgres/test_cuts.py::test_a_connection_cut_at_any_statement_loses_and_doubles_nothing",
            "tests/simulation/test_simulation.py::test_every_law_holds_whatever_goes_wrong",
        ),
    ),
    Promise(
        piece="task",
        holds="begun at least once, completed exactly once",
        after_a_crash="next attempt; the third node that dies of it alone sets it aside as `poison`",
        proofs=(
            f"{CONTRACT}/finishing.py::only_the_newest_claim_can_write",
            f"{CONTRACT}/living.py::a_task_that_kills_its_nodes_is_set_aside_as_poison",
            f"{CONTRACT}/living.py::of_several_tasks_that_their_nodes_died_with_the_one_that_dies_alone_is_poison",
            "tests/machines/test_queue.py::test_the_queue_does_what_a_plain_list_says",
            "tests/postgres/test_machines.py::test_a_store_in_postgresql_does_what_a_plain_list_says",
            "tests/crash/test_random_kills.py::test_kills_at_random_moments_lose_nothing_and_do_nothing_twice",
            "tests/crash/test_every_commit.py::test_a_run_that_is_killed_at_any_commit_equals_one_that_is_not",
        ),
    ),
    Promise(
        piece="model call",
        holds="a reply is journaled before it is used, and never asked for again; its budget is charged on intent",
        after_a_crash="asked again only where there was no reply",
        proofs=(
            "tests/domain/test_turn.py::test_a_turn_killed_anywhere_and_resumed_writes_the_journal_of_an_uninterrupted_one",
            "tests/crash/test_every_commit.py::test_a_run_that_is_killed_at_any_commit_equals_one_that_is_not",
            TURNS,
        ),
    ),
    Promise(
        piece="tool: read, idempotent",
        holds="at least once, under the same key",
        after_a_crash="again with the same key",
        proofs=(
            "tests/crash/test_every_commit.py::test_a_run_that_is_killed_at_any_commit_equals_one_that_is_not",
            TURNS,
        ),
    ),
    Promise(
        piece="tool on our own store",
        holds="exactly once: effect and record in one commit",
        after_a_crash="nothing to do",
        proofs=(
            "tests/crash/test_every_commit.py::test_a_run_that_is_killed_at_any_commit_equals_one_that_is_not",
            TURNS,
        ),
    ),
    Promise(
        piece="tool: irreversible",
        holds="at most once, and *unknown* is said aloud",
        after_a_crash="never repeated by itself: a probe, the model with those words, or a person settles it",
        proofs=(
            "tests/domain/test_turn.py"
            "::test_what_may_have_happened_is_never_done_again_without_a_persons_leave_for_that_very_time",
            "tests/crash/test_random_kills.py::test_kills_at_random_moments_lose_nothing_and_do_nothing_twice",
            TURNS,
            "tests/postgres/test_nodes.py::test_one_of_two_nodes_is_gone_and_the_other_goes_on",
            "tests/postgres/test_siege.py::test_nodes_that_are_killed_again_and_again_lose_nothing_and_do_nothing_twice",
            "tests/simulation/test_simulation.py::test_every_law_holds_whatever_goes_wrong",
        ),
    ),
    Promise(
        piece="result of a child",
        holds="once into its parent's inbox, in the commit that completes the child",
        after_a_crash="the parent wakes from the store, not from a signal",
        proofs=(
            f"{CONTRACT}/ending.py::a_childs_result_reaches_its_parents_inbox_exactly_once_and_wakes_it",
            f"{CONTRACT}/ending.py::completion_and_everything_it_sets_off_share_one_commit",
            "tests/crash/test_forest.py::test_a_tree_of_sub_agents_that_is_killed_three_times_ends_as_one_that_was_not",
            "tests/simulation/test_simulation.py::test_every_law_holds_whatever_goes_wrong",
        ),
    ),
    Promise(
        piece="work given away",
        holds="one unfinished task for one piece of work, however many propose it at once",
        after_a_crash="the same task",
        proofs=(
            f"{CONTRACT}/delegating.py::racing_proposers_get_one_task_for_the_same_work",
            f"{CONTRACT}/delegating.py::failed_work_is_not_replayed_beside_the_same_work",
            "tests/machines/test_plans.py::test_graphs_go_on_as_plain_rows_say",
            "tests/postgres/test_machines.py::test_a_store_in_postgresql_does_what_a_plain_list_says",
        ),
    ),
    Promise(
        piece="order of tasks",
        holds="none begins before what it waits for has come, whatever is approved, stopped, replayed or skipped; and"
        " whatever waits says for what",
        after_a_crash="the same",
        proofs=(
            f"{CONTRACT}/depending.py::a_branch_that_is_not_taken_is_skipped_with_all_that_can_only_follow_it",
            "tests/machines/test_plans.py::test_graphs_go_on_as_plain_rows_say",
            "tests/postgres/test_machines.py::test_a_store_in_postgresql_does_what_a_plain_list_says",
            "tests/graphs/test_trials.py::test_a_graph_is_performed_once_and_in_order",
            "tests/postgres/test_graphs.py::test_a_graph_is_performed_once_and_in_order",
        ),
    ),
    Promise(
        piece="review",
        holds="a result counts once it is accepted, never before; it waits for one reviewer or one person",
        after_a_crash="verdict and consequence are one commit; a command that tests a result is run again",
        proofs=(
            f"{CONTRACT}/reviewing.py::"
            "whatever_happens_a_result_counts_only_once_accepted_and_waits_for_something_named",
            "tests/agents/test_reviews.py::test_neither_author_nor_reviewer_can_do_more_through_a_review",
            "tests/crash/test_every_commit.py::test_a_run_that_is_killed_at_any_commit_equals_one_that_is_not",
        ),
    ),
    Promise(
        piece="waiting",
        holds="nothing starves: a level of priority is worth a time of waiting",
        after_a_crash="the place of a task stands in its row",
        proofs=(
            f"{CONTRACT}/aging.py::nothing_starves_under_a_steady_load_of_higher_priorities",
            f"{CONTRACT}/aging.py::who_waits_for_whom_does_not_depend_on_what_happens_meanwhile",
        ),
    ),
    Promise(
        piece="preemption",
        holds="a lesser task yields between two steps and takes each of them once",
        after_a_crash="it goes on where it was",
        proofs=(
            f"{CONTRACT}/claiming.py::urgent_tasks_that_only_a_limit_keeps_from_running_are_told",
            f"{CONTRACT}/finishing.py::parks_and_drains_do_not_count_as_failures",
            "tests/engine/test_preemption.py::test_whatever_preempts_whatever_every_step_is_taken_once",
            "tests/machines/test_plans.py::test_graphs_go_on_as_plain_rows_say",
            "tests/postgres/test_machines.py::test_a_store_in_postgresql_does_what_a_plain_list_says",
        ),
    ),
    Promise(
        piece="schedule, heartbeat",
        holds="at most one fire for a nominal time",
        after_a_crash="computed from the last nominal time, never from now",
        proofs=(
            f"{CONTRACT}/firing.py::a_nominal_time_fires_once",
            "tests/domain/test_schedule_clocks.py"
            "::test_no_nominal_time_fires_twice_and_none_early_whatever_the_clock_does",
        ),
    ),
    Promise(
        piece="approval",
        holds="the first decision stands, for one exact action, once; nobody answering is a denial",
        after_a_crash="still pending",
        proofs=(
            f"{CONTRACT}/asking.py::the_first_decision_stands",
            f"{CONTRACT}/asking.py::what_nobody_answers_expires_and_that_is_a_denial",
            "tests/tools/test_delivery.py::test_nothing_but_the_exact_action_that_was_allowed_is_done",
            "tests/machines/test_questions.py::test_questions_are_settled_as_a_plain_list_says",
            "tests/postgres/test_machines.py::test_a_store_in_postgresql_does_what_a_plain_list_says",
        ),
    ),
    Promise(
        piece="inbox",
        holds="durable, in order, read once by its cursor; duplicates are dropped, nothing is left behind",
        after_a_crash="cursor and reaction share a commit",
        proofs=(
            f"{CONTRACT}/inboxes.py::no_message_is_lost_or_read_twice_whatever_the_order",
            "tests/simulation/test_simulation.py::test_every_law_holds_whatever_goes_wrong",
        ),
    ),
    Promise(
        piece="delivery out",
        holds="at least once under a stable id, or at most once and *unknown*; backoff, then a dead letter",
        after_a_crash="sent again under the same id",
        proofs=(
            "tests/tools/test_delivery.py::test_a_letter_that_was_written_before_a_crash_is_not_written_again",
            "tests/machines/test_outbox.py::test_the_outbox_does_what_a_plain_list_says",
            "tests/postgres/test_machines.py::test_a_store_in_postgresql_does_what_a_plain_list_says",
        ),
    ),
    Promise(
        piece="stop",
        holds="stored before any signal, and read in the transaction of every intent",
        after_a_crash="still halted",
        proofs=(
            f"{CONTRACT}/finishing.py::a_halted_scope_stops_every_intent",
            "tests/engine/test_worker.py::test_what_is_halted_stops_at_once_and_goes_on_when_it_may",
            "tests/simulation/test_simulation.py::test_every_law_holds_whatever_goes_wrong",
        ),
    ),
    Promise(
        piece="audit",
        holds="a row for each decision of a person, in its commit, append-only, each chained to the one before",
        after_a_crash="each incarnation has a chain of its own; a node looks on where the last one stopped",
        proofs=(
            f"{CONTRACT}/auditing.py::what_people_do_is_chained_and_what_the_runtime_does_is_not",
            f"{CONTRACT}/auditing.py::what_is_undone_leaves_no_row",
            f"{CONTRACT}/auditing.py::each_incarnation_has_a_chain_of_its_own_and_looking_goes_on_where_it_ended",
            "tests/domain/test_audit.py::test_every_change_is_found_at_its_row",
            "tests/domain/test_audit.py::test_a_node_finds_a_row_that_somebody_changed_in_the_file",
        ),
    ),
)
"""What exists so far."""


def exists(proof: str) -> bool:
    """True where the test that is named is there."""
    path, _, name = proof.partition("::")
    return (ROOT / path).exists() and f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def store_of(proof: str) -> str:
    """On which store a test proves something."""
    if proof.startswith(CONTRACT):
        return "both stores"
    if proof.startswith("tests/postgres/"):
        return "PostgreSQL"
    return "no store needed" if proof.startswith("tests/domain/") else "SQLite"


def promises() -> str:
    """The table of promises."""
    rows = (
        (each.piece, each.holds, each.after_a_crash, "<br>".join(f"`{p}` ({store_of(p)})" for p in each.proofs))
        for each in PROMISES
    )
    head = ("Piece", "Promise", "After a crash", "Proved by")
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def stores_counted(promise: Promise, told: Mapping[str, Iterable[str]]) -> set[str]:
    """The stores on which a proof of the promise has counted something."""
    found = set()
    for proof in promise.proofs:
        words = " ".join(told.get(proof, ()))
        if store_of(proof) == "both stores":
            found.update(store for store in ("SQLite", "PostgreSQL") if store in words)
        elif words:
            found.add(store_of(proof))
    return found


def last_run() -> Mapping[str, Any]:
    """What the last full run has recorded."""
    recorded: Mapping[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return recorded


def figures() -> str:
    """What tests counted in the last full run; those that are gone since are left out."""
    try:
        last = last_run()
    except FileNotFoundError:
        return "No full run is recorded."
    lines = [f"Recorded {last['at']} with Python {last['python']} on {last['cores']} cores.", ""]
    return "\n".join([*lines, *_counted(last["told"])])


def _counted(told: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for test, words in sorted(told.items()):
        if exists(test):
            yield from (f"- `{test}`: {each}" for each in words)
