"""All verbs in one: what `store.run` lends to a function.

The rooms are stacked, each standing on those it needs: reads, work, tasks, sessions, accounts, endings, moves, claims,
questions, reviews, ledger, schedules, nodes, settings, people, retention, breakers, pins, leashes, audit. Handing calls
on to separate objects was tried on paper: sixty methods that say nothing.
"""

from __future__ import annotations

from ostinato.store.port import Reads, Tx
from ostinato.store.verbs.audit import AuditVerbs
from ostinato.store.verbs.database import Database
from ostinato.store.verbs.memory import Memory
from ostinato.store.verbs.reads import ReadVerbs


class Transaction(AuditVerbs):
    """Every verb, over one database."""


def transaction(database: Database, memory: Memory) -> Tx:
    """The verbs as callers see them; here the type checker proves that none is missing."""
    return Transaction(database, memory)


def snapshot(database: Database) -> Reads:
    """The reading verbs alone."""
    return ReadVerbs(database)
