"""What clients have spent, kept by the database itself: the same as the rows say, and after they are gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.clients.demand import Demands
from claude_relay.core.clients.directory import Client, Group
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.exchange import Origin
from claude_relay.store.db import migrations
from claude_relay.store.db.client_tables import SLOT
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import MIGRATIONS, migrate
from claude_relay.store.ledger import tables
from claude_relay.store.ledger.client_sums import ClientSums, Spender, Wanted, concerned
from claude_relay.store.ledger.ledger import Ledger
from store.rows import STARTED, request

OPUS, HAIKU = "claude-opus-4-5", "claude-haiku-4-5"
LIMITS = ("$9/day", "$9/total model *opus*", "$9/5h per session", "$9/month per agent")
ALICE = Client("1", "alice", Policy(limits=tuple(map(parse, LIMITS))), Group("team", Policy(limits=(parse("$9/day"),))))
BY_TIME = "$9/5h per session"


def fill(path: Path) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for usd, fields in (
        (1.0, {"client": "alice", "client_group": "team", "session": "s", "requested_model": OPUS}),
        (2.0, {"client": "alice", "client_group": "team", "session": "s", "agent_tree": "a", "requested_model": HAIKU}),
        (4.0, {"client": "alice", "client_group": "old", "session": "t", "requested_model": OPUS}),
        (8.0, {"client": "bob", "client_group": "team", "session": "s", "requested_model": OPUS}),
        (16.0, {"client": None, "session": "s"}),
        (32.0, {"client": "alice", "client_group": "team", "session": "s", "origin": Origin.FAULT.value}),
        (None, {"client": "alice", "client_group": "team", "session": "s"}),
        (64.0, {"client": "alice", "client_group": "team", "session": "s", "started_at": STARTED - SLOT}),
    ):
        ledger.put(request(cost_usd=usd, **fields), [])
    ledger.close()


def wanted(session: str = "s", tree: str | None = None) -> dict[str, Wanted]:
    found = {}
    for bound in Demands().of(ALICE, OPUS, session, tree):
        by_slot = str(bound.limit) == BY_TIME
        found[f"{bound.kind} {bound.limit}"] = Wanted(bound, int(STARTED // SLOT), by_slot)
    return found


def read(sums: ClientSums, session: str = "s", tree: str | None = None) -> dict[str, float]:
    asked = wanted(session, tree)
    found = sums.read(asked.values())
    return {name: sum(usd for _, usd in found[one.bound.key]) for name, one in asked.items()}


@pytest.fixture
def sums(tmp_path: Path) -> Iterator[ClientSums]:
    with closing(ClientSums(tmp_path / "relay.db")) as found:
        yield found


def test_nobody_has_spent_without_a_file_or_tables(tmp_path: Path, sums: ClientSums) -> None:
    assert set(read(sums).values()) == {0}
    assert sums.changed() == set()
    with closing(connect(tmp_path / "relay.db", patience=1)):
        assert set(read(sums).values()) == {0}


def test_sums_of_each_limit(tmp_path: Path, sums: ClientSums) -> None:
    fill(tmp_path / "relay.db")
    assert read(sums) == {
        "client $9/day": 7,
        "client $9/total model *opus*": 5,
        "client $9/5h per session": 3,
        "client $9/month per agent": 1,
        "group $9/day": 11,
    }
    assert read(sums, tree="a")["client $9/month per agent"] == 2
    assert read(sums, session="t")["client $9/5h per session"] == 4
    early = [Wanted(one.bound, 0, True) for one in wanted().values()]
    by_slot = sums.read(early)[early[2].bound.key]
    assert sorted(by_slot) == [
        (int(STARTED // SLOT) - 1, 64.0),
        (int(STARTED // SLOT), 1.0),
        (int(STARTED // SLOT), 2.0),
    ]


@pytest.mark.parametrize("since", [int(STARTED // SLOT) + n for n in range(-14, 3)])
def test_whole_hours_come_to_the_same_as_their_slots(tmp_path: Path, since: int) -> None:
    """Wherever a day begins; also after prices have changed."""
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for n in range(40):
        fields = {"client": ("alice", "bob")[n % 2], "client_group": ("team", None)[n % 5 == 0], "session": str(n % 3)}
        ledger.put(request(cost_usd=0.1 * n, requested_model=OPUS, started_at=STARTED - SLOT * (n - 12), **fields), [])
    ledger.close()
    with closing(connect(path, patience=1)) as connection:
        connection.execute("UPDATE requests SET cost_usd = cost_usd * 3 WHERE rowid % 7 = 0")
    bounds = [one for one in Demands().of(ALICE, OPUS, "s", None) if str(one.limit) == "$9/day"]
    assert {bound.kind for bound in bounds} == {"client", "group"}
    with closing(ClientSums(path)) as sums:
        at_once = sums.read(Wanted(bound, since, by_slot=False) for bound in bounds)
        by_slot = sums.read(Wanted(bound, since, by_slot=True) for bound in bounds)
    for bound in bounds:
        assert sum(usd for _, usd in at_once[bound.key]) == pytest.approx(sum(usd for _, usd in by_slot[bound.key]))
        assert sum(usd for _, usd in at_once[bound.key]) > 0
        assert all(slot >= since for slot, _ in at_once[bound.key])


def test_prices_that_change_and_rows_that_go(tmp_path: Path, sums: ClientSums) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    assert sums.changed() is None
    assert sums.changed() == set()
    with closing(connect(path, patience=1)) as connection:
        connection.execute("UPDATE requests SET cost_usd = 0.5 WHERE cost_usd = 2.0")
        assert sums.changed() is None  # prices are another matter than requests: everybody's may have changed
        assert sums.changed() == set()
        assert read(sums)["client $9/day"] == 5.5
        connection.execute("UPDATE requests SET cost_usd = NULL WHERE cost_usd = 0.5")
        assert read(sums)["client $9/day"] == 5
        connection.execute("DELETE FROM requests")
    assert read(sums)["client $9/day"] == 5


def test_what_an_earlier_version_has_written_is_read_once_a_relay_has_opened_it(
    tmp_path: Path, sums: ClientSums, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("close_client_hours")]
    with monkeypatch.context() as earlier:
        earlier.setattr(migrations, "MIGRATIONS", before)
        earlier.setattr(tables, "close_hours", lambda connection, now: None)
        fill(tmp_path / "relay.db")
    assert sums.changed() is None
    assert set(read(sums).values()) == {0}
    assert sums.changed() is None
    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
    assert read(sums)["client $9/day"] == 7


def test_another_file_in_its_place_is_read(tmp_path: Path, sums: ClientSums) -> None:
    fill(tmp_path / "relay.db")
    assert read(sums)["client $9/day"] == 7
    fill(tmp_path / "other.db")
    with closing(connect(tmp_path / "other.db", patience=1)) as connection:
        connection.execute("UPDATE requests SET cost_usd = 0.5 WHERE cost_usd = 2.0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / "other.db").replace(tmp_path / "relay.db")
    for beside in ("relay.db-wal", "relay.db-shm"):
        (tmp_path / beside).unlink(missing_ok=True)
    assert read(sums)["client $9/day"] == 5.5
    (tmp_path / "relay.db").unlink()
    assert set(read(sums).values()) == {0}


def test_who_has_spent_since(tmp_path: Path, sums: ClientSums) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    sums.changed()
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    spent = {"client": "alice", "client_group": "team", "session": "s", "cost_usd": 1.0}
    ledger.put(request(**spent | {"agent_tree": "a"}), [])
    ledger.put(request(**spent | {"client": "carol", "origin": Origin.FAULT.value}), [])
    ledger.put(request(**spent | {"client": "dave", "cost_usd": None}), [])
    ledger.close()
    changed = sums.changed()
    assert changed == {Spender("alice", "team", "s", "a")}
    bounds = {one.bound.key: one.bound for one in (*wanted().values(), *wanted(tree="a").values())}
    assert [(str(bounds[key].limit), bounds[key].tree) for key in concerned(changed, bounds)] == [
        ("$9/day", None),
        ("$9/total model *opus*", None),
        ("$9/5h per session", None),
        ("$9/day", None),
        ("$9/month per agent", "a"),
    ]
    assert concerned(None, bounds) == list(bounds)
    assert sums.changed() == set()


@pytest.mark.parametrize(
    "done",
    [
        ("DELETE FROM requests WHERE rowid = (SELECT max(rowid) FROM requests)",),
        ("DELETE FROM requests WHERE rowid < 4", "UPDATE requests SET rowid = rowid - 3"),
    ],
)
def test_rows_with_other_numbers_leave_nobody_out(tmp_path: Path, sums: ClientSums, done: tuple[str, ...]) -> None:
    """A number is given again after the latest row is gone, and a VACUUM may give all of them anew."""
    path = tmp_path / "relay.db"
    fill(path)
    sums.changed()
    with closing(connect(path, patience=1)) as connection:
        for statement in done:
            connection.execute(statement)
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for _ in range(9):
        ledger.put(request(client="alice", cost_usd=1.0), [])
    ledger.close()
    assert sums.changed() is None
    assert sums.changed() == set()


def test_many_limits_and_many_spenders() -> None:
    """Each is looked at once: together they would be a million looks on the event loop."""
    clients = [Client(str(n), f"c{n}", ALICE.policy, ALICE.group) for n in range(500)]
    bounds = {bound.key: bound for one in clients for bound in Demands().of(one, OPUS, "s", "a")}
    looks = 0

    class Counted(Spender):
        def scopes(self) -> Iterator[tuple[str, str, str | None, str | None]]:
            nonlocal looks
            looks += 1
            return super().scopes()

    spenders: set[Spender] = {Counted(f"c{n}", "other", "s", "a") for n in range(0, 500, 2)}
    found = concerned(spenders, bounds)
    assert looks == len(spenders)
    assert {bounds[key].owner for key in found} == {one.client for one in spenders}
    assert len(found) == 4 * len(spenders)
