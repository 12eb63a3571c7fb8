"""Whom the files of a fleet ask by name: in gates, reviews, and when a task fails.

Knows nothing of who has a token.
"""

from __future__ import annotations

from collections.abc import Iterable

from ostinato.domain.gate import ADMIN, OPERATOR, Gate
from ostinato.domain.review import ReviewTerms, reviewing_people
from ostinato.domain.values import Value
from ostinato.workspace.failure_rules import FailureRules


class AskedPerson(Value):
    """A person's name, and the key that it stands below."""

    name: str
    key: str


def asked_people(
    *, gates: Iterable[Gate] = (), review: ReviewTerms | None = None, failures: FailureRules
) -> tuple[AskedPerson, ...]:
    """Each name once for each key; roles are no names."""
    named = [(name, "gates") for gate in gates for name in (gate.ask, gate.escalate)]
    named += [(name, "review") for name in reviewing_people(review)]
    named += [(each.to, "escalate") for each in failures.escalate or ()]
    found = dict.fromkeys(named)
    return tuple(AskedPerson(name=name, key=key) for name, key in found if name not in ("", OPERATOR, ADMIN))
