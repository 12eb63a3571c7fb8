"""The scenarios of the crash harness, by name. Each room holds one and says what it is about."""

from __future__ import annotations

from collections.abc import Mapping

from tests.crash.scenario import Scenario
from tests.crash.scenarios import (
    chain,
    delivery,
    gate,
    heartbeats,
    inbox_file,
    limit,
    own_files,
    parallel_tools,
    python_agent,
    retries,
    review,
    shared_approval,
    tree,
    waiting_mail,
)

SCENARIOS: Mapping[str, Scenario] = {
    each.name: each
    for each in (
        parallel_tools.SCENARIO,
        gate.SCENARIO,
        limit.SCENARIO,
        retries.SCENARIO,
        chain.SCENARIO,
        delivery.SCENARIO,
        own_files.SCENARIO,
        inbox_file.SCENARIO,
        waiting_mail.SCENARIO,
        shared_approval.SCENARIO,
        heartbeats.SCENARIO,
        python_agent.SCENARIO,
        tree.SCENARIO,
        review.SCENARIO,
    )
}
