"""What people decided, changed and stopped, and whether anybody has tampered with the record of it.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ostinato.domain.audit import BEGINNING, first_break
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
    rows = incarnations = 0
    incarnation, seq, digest = -1, 0, BEGINNING
    problem = await context.store.read(_problem_before)
    while not problem:
        after = (incarnation, seq)
        page = await context.store.read(lambda reads, after=after: reads.audit(after=after, limit=PAGE))  # type: ignore[misc]  # bound now
        for row in page:
            if row.incarnation != incarnation:
                incarnation, seq, digest = row.incarnation, 0, BEGINNING
                incarnations += 1
            problem = problem or first_break([row], seq=seq, digest=digest)
            seq, digest = row.seq, row.digest
        rows += len(page)
        if len(page) < PAGE:
            break
    return AuditCheck(ok=not problem, rows=rows, incarnations=incarnations, problem=problem)


def _problem_before(reads: Reads) -> str:
    """What the node itself has found, as it looks through the chains beside its work."""
    marked = (reads.setting("audit.checked") or "").split(" ")
    if len(marked) == 3:
        incarnation, seq = int(marked[0]), int(marked[1])
        found = reads.audit(after=(incarnation, seq - 1), limit=1)
        if not found or (found[0].incarnation, found[0].seq, found[0].digest) != (incarnation, seq, marked[2]):
            return f"row {seq} of incarnation {incarnation}, which was checked before, is gone or was changed"
    return ""
