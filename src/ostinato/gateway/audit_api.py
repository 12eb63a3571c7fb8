"""What people decided, changed and stopped, and whether anybody has tampered with the record of it.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import msgspec

from ostinato.domain.audit import BEFORE_ALL, AuditRow, cut_off, first_break, kept_place, place_of
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso
from ostinato.gateway.operation import Ask, Nothing, View, operation
from ostinato.store.port import Reads

PAGE = 1_000
"""Rows that are looked at in one snapshot."""


class WhichAudit(Ask):
    """How many rows to list, newest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class AuditLine(View):
    """One row: who did what, when and why, and the digest that binds it to the row before it."""

    incarnation: int
    seq: int
    at: str
    name: str
    actor: str
    reason: str
    fact: dict[str, Any]
    digest: str


class AuditList(View):
    """Rows, newest first."""

    rows: list[AuditLine]


class AuditCheck(View):
    """Whether every chain is whole; `problem` names the first row that is not."""

    ok: bool
    rows: int
    incarnations: int
    problem: str


@operation("audit.list", "GET /api/v1/audit")
async def list_audit(context: Context, request: WhichAudit) -> AuditList:
    """What people decided, changed and stopped, newest first."""
    found = await context.store.read(lambda reads: reads.audit_latest(limit=request.limit))
    lines = []
    for row in found:
        try:
            fact = msgspec.json.decode(row.body, type=dict[str, Any])
        except msgspec.DecodeError:
            fact = {"name": "unreadable"}
        lines.append(
            AuditLine(
                incarnation=row.incarnation,
                seq=row.seq,
                at=iso(row.at),
                name=str(fact.get("name", "")),
                actor=str(fact.get("actor", "")),
                reason=str(fact.get("reason", "")),
                fact=fact,
                digest=row.digest,
            )
        )
    return AuditList(rows=lines)


@operation("audit.check", "GET /api/v1/audit/check")
async def check(context: Context, request: Nothing) -> AuditCheck:
    """Look through every chain from its beginning, and compare with what was found whole before."""
    rows, seen = 0, set[int]()
    after, last = BEFORE_ALL, None
    problem = await context.store.read(_problem_before)
    while not problem:
        page, end = await context.store.read(partial(_page, (after.incarnation, after.seq)))
        problem = first_break(page, after=after)
        rows, seen = rows + len(page), seen | {each.incarnation for each in page}
        last = page[-1] if page else last
        if len(page) < PAGE:
            problem = problem or cut_off(last, kept_place(end))
            break
        after = place_of(page[-1])
    return AuditCheck(ok=not problem, rows=rows, incarnations=len(seen), problem=problem)


def _page(after: tuple[int, int], reads: Reads) -> tuple[list[AuditRow], str | None]:
    """Some rows, and where all of them end at that moment."""
    return reads.audit(after=after, limit=PAGE), reads.setting("audit.end")


def _problem_before(reads: Reads) -> str:
    """What the node itself has found, as it looks through the chains beside its work."""
    marked = kept_place(reads.setting("audit.checked"))
    if marked is None:
        return ""
    found = reads.audit(after=(marked.incarnation, marked.seq - 1), limit=1)
    if found and place_of(found[0]) == marked:
        return ""
    return f"row {marked.seq} of incarnation {marked.incarnation}, which was checked before, is gone or was changed"
