"""People: whoever starts a fleet is its first admin; a token lies outside of the fleet; roles bind; nothing is shown
twice."""

from __future__ import annotations

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from ostinato.app import call_here, recover_here
from ostinato.cli.client import Client
from ostinato.domain.errors import Conflict, Denied, Invalid
from ostinato.domain.person import token_digest
from ostinato.gateway import events_api, people_api, tasks_api
from ostinato.gateway.access import PERSON_VARIABLE, Stranger, let_in
from ostinato.gateway.keyring import TOKEN_VARIABLE, folder, held, keep, new_token
from ostinato.gateway.operation import Nothing
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from tests.gateway.ground import ground, make_fleet

WORK = tasks_api.AddTask(title="Work", agent="clerk")


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv(PERSON_VARIABLE, "ann")
    return make_fleet(tmp_path / "fleet")


def whoami(fleet: Path, token: str | None) -> tuple[str, str]:
    me = call_here(fleet, people_api.whoami, Nothing(), token=token)
    return me.person, me.role


def test_the_first_who_decides_is_the_first_admin_and_nobody_after_them(fleet: Path) -> None:
    state = fleet / ".ostinato"
    assert held(state) is None
    assert whoami(fleet, None)[1] == "viewer"  # looking makes nobody
    call_here(fleet, tasks_api.add, WORK)
    token = held(state)
    assert token is not None
    assert whoami(fleet, token) == ("ann", "admin")
    with pytest.raises(Denied, match="needs a token"):
        call_here(fleet, tasks_api.add, WORK)


def test_a_token_is_a_file_of_its_person_outside_of_the_fleet(fleet: Path, tmp_path: Path) -> None:
    call_here(fleet, tasks_api.add, WORK)
    token = held(fleet / ".ostinato")
    assert token is not None
    (file,) = (tmp_path / "config").rglob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    within = [path for path in fleet.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert not within
    moved = fleet.rename(fleet.with_name("elsewhere"))
    assert held(moved / ".ostinato") == token


def test_a_token_that_others_can_read_or_that_would_lie_in_the_fleet_is_refused(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_here(fleet, tasks_api.add, WORK)
    (file,) = (tmp_path / "config").rglob("*.json")
    file.chmod(0o644)
    with pytest.raises(Denied, match="Others can read"):
        held(fleet / ".ostinato")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(fleet / "agents" / "clerk"))
    with pytest.raises(Invalid, match="outside"):
        keep(fleet / ".ostinato", "ann", new_token())
    assert folder({"XDG_CONFIG_HOME": "relative", "HOME": "/x"}) == Path.home() / ".config" / "ostinato" / "tokens"


def test_roles_bind_and_a_revoked_token_opens_nothing(fleet: Path) -> None:
    call_here(fleet, tasks_api.add, WORK)
    admin = held(fleet / ".ostinato")

    def make(person: str, role: str) -> people_api.MadeToken:
        return call_here(fleet, people_api.add, people_api.AddToken(person=person, role=role), token=admin)

    viewer, operator = make("vic", "viewer"), make("oli", "operator")
    assert whoami(fleet, operator.secret) == ("oli", "operator")
    with pytest.raises(Denied, match="vic is viewer"):
        call_here(fleet, tasks_api.add, WORK, token=viewer.secret)
    call_here(fleet, tasks_api.add, WORK, token=operator.secret)
    with pytest.raises(Denied, match="role admin"):
        call_here(fleet, people_api.add, people_api.AddToken(person="x"), token=operator.secret)
    gone = call_here(fleet, people_api.revoke, people_api.WhichToken(token=operator.token.id), token=admin)
    assert gone.revoked_by == "ann"
    with pytest.raises(Stranger, match="revoked by ann"):
        call_here(fleet, tasks_api.add, WORK, token=operator.secret)
    said = call_here(fleet, events_api.list_events, events_api.WhichEvents(), token=viewer.secret)
    assert [each.actor for each in said.events if each.name == "task.added"] == ["ann", "oli"]


def test_the_last_admin_stays_and_a_lost_token_is_made_anew_by_whoever_owns_the_files(
    fleet: Path, tmp_path: Path
) -> None:
    call_here(fleet, tasks_api.add, WORK)
    admin = held(fleet / ".ostinato")
    with pytest.raises(Conflict, match="last token"):
        call_here(fleet, people_api.revoke, people_api.WhichToken(token="K1"), token=admin)
    next((tmp_path / "config").rglob("*.json")).unlink()
    token, place = recover_here(fleet)
    assert place.exists()
    assert whoami(fleet, held(fleet / ".ostinato")) == ("ann", "admin")
    call_here(fleet, people_api.revoke, people_api.WhichToken(token="K1"), token=held(fleet / ".ostinato"))
    assert token.id == 2


def test_a_token_may_come_from_the_environment_or_a_file(fleet: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("ost_file\n")
    file.chmod(0o600)
    state = fleet / ".ostinato"
    assert held(state, environment={TOKEN_VARIABLE: "ost_it"}) == "ost_it"
    assert held(state, environment={f"{TOKEN_VARIABLE}_FILE": str(file)}) == "ost_file"
    file.chmod(0o640)
    with pytest.raises(Denied, match="mode 640"):
        held(state, environment={f"{TOKEN_VARIABLE}_FILE": str(file)})


def test_two_who_are_first_at_once_make_one_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    async def go() -> int:
        async with ground(tmp_path / "fleet", past=False) as made:
            now = made.context.now
            (ann,) = await made.store.read(lambda reads: reads.tokens())
            tokens = [new_token(), new_token()]
            await asyncio.gather(
                *(let_in(made.store, made.folder / ".ostinato", token=each, now=now) for each in tokens)
            )
            assert ann.person == "ann"
            return len(await made.store.read(lambda reads: reads.tokens()))

    assert asyncio.run(go()) == 1


@pytest.mark.parametrize("folders", [("one", "two"), ("one", "one")])
def test_of_two_who_are_first_at_once_the_keyring_keeps_the_token_that_counts(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    states = [tmp_path / name / ".ostinato" for name in folders]
    for each in states:
        each.mkdir(parents=True, exist_ok=True)

    async def go() -> None:
        store, now = open_store(None), ManualClock().now()
        await asyncio.gather(*(let_in(store, each, token=None, now=now) for each in states))
        (token,) = await store.read(lambda reads: reads.tokens())
        await store.close()
        kept = [found for each in set(states) if (found := held(each)) is not None]
        assert [token_digest(each) for each in kept] == [token.digest]

    asyncio.run(go())


def test_the_first_commands_of_a_person_at_the_same_moment_are_all_theirs(fleet: Path) -> None:
    """Whoever looked for a token before the first of them was let in finds it there at the second look."""
    at_once = Barrier(4)

    def add(number: int) -> str:
        at_once.wait()
        return Client(fleet).call(tasks_api.add, tasks_api.AddTask(title=f"Work {number}", agent="clerk")).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(add, range(4)))) == 4


@pytest.mark.parametrize("bad", ["", "a b", "-x", "x" * 65, "ann\n", "../x", "ann\u202e", "runtime", "operator"])
def test_a_name_that_is_none_is_refused(fleet: Path, bad: str) -> None:
    call_here(fleet, tasks_api.add, WORK)
    with pytest.raises(Invalid):
        call_here(fleet, people_api.add, people_api.AddToken(person=bad), token=held(fleet / ".ostinato"))
