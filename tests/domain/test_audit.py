"""A chain of rows shows each change that was made to it: of a row, of its place, and of what is gone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.audit import AuditRow, bound, first_break
from ostinato.domain.secret import KNOWN, Secret
from ostinato.domain.values import to_json
from ostinato.store.port import EventFilter
from ostinato.store.sqlite import open_store
from tests.conftest import run

facts = st.lists(st.dictionaries(st.text(max_size=5), st.integers(-9, 9), max_size=3), min_size=3, max_size=9)

LAST_GONE = "row 3 of incarnation 0, the last that was written, is gone or was changed"


def chain_of(found: list[dict[str, int]]) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for at, fact in enumerate(found, 1):
        body, previous = to_json(fact).decode(), rows[-1].digest if rows else ""
        rows.append(bound(incarnation=1, seq=at, at=at, body=body, previous=previous))
    return rows


def test_a_node_finds_that_the_last_row_is_gone_though_nobody_had_looked_at_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path / "state")
        for number in range(3):
            reason = str(number)
            await store.run(lambda tx, why=reason: tx.set_flag("fleet", "paused", actor="ann", reason=why, now=1))
        await store.close()
        with sqlite3.connect(tmp_path / "state" / "ostinato.db") as database:
            database.execute("DELETE FROM audit WHERE seq = 3")
        database.close()
        store = open_store(tmp_path / "state")
        assert await store.run(lambda tx: tx.check_audit(now=2)) == (2, LAST_GONE)
        assert await store.run(lambda tx: tx.check_audit(now=3)) == (0, LAST_GONE), "it is told as long as it is so"
        assert [each.name for each in await store.read(lambda reads: reads.events(EventFilter()))].count(
            "audit.broken"
        ) == 1
        await store.close()

    run(story())


@given(facts, st.data())
def test_every_change_is_found_at_its_row(found: list[dict[str, int]], data: st.DataObject) -> None:
    rows = chain_of(found)
    assert first_break(rows) == ""
    place = data.draw(st.integers(0, len(rows) - 2))
    row = rows[place]
    for changed in (replace(row, body=row.body + " "), replace(row, at=row.at + 1), replace(row, digest="0" * 64)):
        assert f"row {row.seq}" in first_break([*rows[:place], changed, *rows[place + 1 :]])
    forged = bound(incarnation=1, seq=row.seq, at=row.at, body='{"forged": 1}', previous=row.previous)
    assert f"row {row.seq + 1}" in first_break([*rows[:place], forged, *rows[place + 1 :]]), "the next one tells"
    assert "1 rows missing" in first_break([*rows[:place], *rows[place + 1 :]])


def test_a_node_finds_a_row_that_somebody_changed_in_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path / "state")
        for number in range(4):
            reason = str(number)
            await store.run(lambda tx, why=reason: tx.set_flag("fleet", "paused", actor="ann", reason=why, now=1))
        assert await store.run(lambda tx: tx.check_audit(now=1, limit=2)) == (2, "")
        await store.close()
        with sqlite3.connect(tmp_path / "state" / "ostinato.db") as database:
            database.execute("UPDATE audit SET body = replace(body, 'ann', 'bob') WHERE seq = 3")
        database.close()
        store = open_store(tmp_path / "state")
        looked, wrong = await store.run(lambda tx: tx.check_audit(now=2))
        assert looked == 2
        assert wrong == "row 3 of incarnation 0 was changed"
        await store.close()

    run(story())


def test_a_secret_that_is_taken_out_of_a_row_is_no_break(tmp_path: Path) -> None:
    KNOWN.learn(Secret("AUDITED", "audited-Secret-4711-x"))

    async def story() -> None:
        store = open_store(tmp_path / "state")
        reason = 'their key is "audited-Secret-4711-x"'
        await store.run(lambda tx: tx.set_flag("fleet", "paused", actor="ann", reason=reason, now=1))
        assert await store.run(lambda tx: tx.check_audit(now=1)) == (1, "")
        (row,) = await store.read(lambda reads: reads.audit())
        assert "***" in row.body
        assert "4711" not in row.body
        await store.close()

    run(story())
