"""Clients and groups in a real database, and the audit log of what is done to them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.times import iso
from claude_relay.store import audit
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook, ClientError
from claude_relay.store.db.database import connect

ME = Actor("me", "cli", "here")
GROUPS = {"alice": "team", "bob": "team", "carol": None}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[ClientBook]:
    book = ClientBook(tmp_path / "relay.db")
    yield book
    book.close()


def served(book: ClientBook, key: str) -> bool:
    directory = book.directory()
    grant = directory.find(key)
    return grant is not None and grant.refusal(time.time()) is None


def test_without_a_file_there_is_nobody(book: ClientBook) -> None:
    assert book.clients() == book.groups() == ()
    assert book.changed() == 0
    assert book.directory().find("rk-" + "0" * 48) is None


def test_a_key_is_found_and_not_stored(book: ClientBook) -> None:
    book.add_group(ME, "team", {"policy": Policy(limits=(parse("$5/day"),))})
    made = book.add(ME, "alice", {"group": "team", "policy": Policy(models=("claude-*",)), "tags": ("a", "ü")})
    grant = book.directory().find(made.key)
    assert grant is not None
    assert (grant.client.name, grant.client.tags) == ("alice", ("a", "ü"))
    assert [policy.limits for policy in grant.client.policies] == [(), (parse("$5/day"),)]
    files = b"".join(file.read_bytes() for file in book.path.parent.iterdir())
    assert made.key.encode() not in files


def test_every_change_is_seen(book: ClientBook) -> None:
    key = book.add(ME, "alice", {}).key
    seen = {book.changed()}
    for act in (
        lambda: book.edit(ME, "alice", {"enabled": False}),
        lambda: book.edit(ME, "alice", {"enabled": True}),
        lambda: book.rotate(ME, "alice", 60.0),
        lambda: book.stop(ME, "alice"),
        lambda: book.remove(ME, "alice"),
        lambda: book.restore(ME, "alice"),
        lambda: book.add_group(ME, "team", {}),
    ):
        act()
        assert book.changed() not in seen
        seen.add(book.changed())
    assert served(book, key)
    book.edit(ME, "alice", {"enabled": True})
    assert book.changed() in seen


def test_who_has_not_changed_is_the_same_object(book: ClientBook) -> None:
    limits = Policy(limits=(parse("$5/day"),))
    book.add_group(ME, "team", {"policy": limits})
    keys = {name: book.add(ME, name, {"group": group}).key for name, group in GROUPS.items()}
    before = book.directory()
    grants = {name: before.find(key) for name, key in keys.items()}

    book.edit(ME, "alice", {"note": "another one"})
    after = book.directory(before)
    assert {name for name in GROUPS if after.clients[name] is before.clients[name]} == {"bob", "carol"}
    assert after.groups["team"] is before.groups["team"]
    assert after.clients["alice"].group is before.groups["team"]
    assert {name for name, key in keys.items() if after.known.get(key) is grants[name]} == {"bob", "carol"}
    found = after.find(keys["alice"])
    assert found is not None
    assert found.client.note == "another one"

    book.edit_group(ME, "team", {"note": "another one"})
    last = book.directory(after)
    assert {name for name in GROUPS if last.clients[name] is after.clients[name]} == {"carol"}
    assert last.clients["bob"].group is last.groups["team"]

    book.rotate(ME, "carol", 0.0)
    assert keys["carol"] not in book.directory(last).known


def test_rotation_lets_the_old_key_live_for_a_while(book: ClientBook) -> None:
    old = book.add(ME, "alice", {}).key
    new = book.rotate(ME, "alice", 60.0).key
    assert served(book, old)
    assert served(book, new)
    newest = book.rotate(ME, "alice", 0.0).key
    assert not served(book, old)
    assert not served(book, new)
    assert served(book, newest)


def test_who_is_removed_is_refused_and_can_come_back(book: ClientBook) -> None:
    key = book.add(ME, "alice", {}).key
    book.remove(ME, "alice")
    assert not served(book, key)
    with pytest.raises(ClientError, match="restore"):
        book.add(ME, "alice", {})
    with pytest.raises(ClientError, match="removed; restore"):
        book.edit(ME, "alice", {"note": "x"})
    book.restore(ME, "alice")
    assert served(book, key)


def test_a_group_with_clients_stays(book: ClientBook) -> None:
    book.add_group(ME, "team", {})
    key = book.add(ME, "alice", {"group": "team"}).key
    with pytest.raises(ClientError, match="alice"):
        book.remove_group(ME, "team")
    with closing(sqlite3.connect(book.path)) as connection, connection:
        connection.execute("UPDATE client_groups SET removed_at = 'now'")  # whoever does it nevertheless
    assert not served(book, key)


def test_a_policy_that_cannot_be_read_serves_nobody(book: ClientBook) -> None:
    key, other = book.add(ME, "alice", {}).key, book.add(ME, "bob", {}).key
    with closing(sqlite3.connect(book.path)) as connection, connection:
        connection.execute("UPDATE clients SET policy = '{' WHERE name = 'alice'")
    assert not served(book, key)
    assert served(book, other)


def ask(book: ClientBook, name: str, at: float, usd: float | None = None) -> None:
    with closing(connect(book.path, patience=1.0)) as connection:
        connection.execute(
            "INSERT INTO requests (id, started_at, client, method, path, stream, attempts, finished, cost_usd) "
            "VALUES (?, ?, ?, 'POST', '/v1/messages', 0, 1, 'complete', ?)",
            [os.urandom(8).hex(), iso(at), name, usd],
        )


@pytest.mark.parametrize("usd", [None, 0.0, 0.5])
def test_a_use_has_relays_read_nothing_anew(book: ClientBook, usd: float | None) -> None:
    """A thousand clients that are used for the first time would be read a thousand times."""
    book.add(ME, "alice", {})
    assert book.client("alice").last_used_at is None
    seen = book.changed()
    for at in (1_000.0, 1_001.0, 1_100.0, 1_050.0):
        ask(book, "alice", at, usd)
    assert book.changed() == seen
    stored = book.client("alice")
    assert (stored.first_used_at, stored.last_used_at) == (iso(1_000.0), iso(1_100.0))


@pytest.mark.parametrize(("usd", "late"), [(None, 1_079.0), (0.5, 1_499.0)])
def test_the_latest_use_is_known_when_its_row_is_gone(book: ClientBook, usd: float | None, late: float) -> None:
    """To the second while there is a row; after it to the minute, of those that cost something to five."""
    book.add(ME, "alice", {})
    ask(book, "alice", 1_020.0)
    for at in (1_201.0, 1_260.0, late):
        ask(book, "alice", at, usd)
    assert book.client("alice").last_used_at == iso(max(late, 1_260.0))
    with closing(connect(book.path, patience=1.0)) as connection:
        connection.execute("DELETE FROM requests")
    assert book.client("alice").last_used_at == iso(1_260.0 if usd is None else 1_201.0)


@pytest.mark.parametrize("usd", [None, 0.5])
def test_a_life_begins_with_the_first_request(book: ClientBook, usd: float | None) -> None:
    key = book.add(ME, "alice", {"expires_after": 3600.0}).key
    assert served(book, key)
    seen = book.changed()
    ask(book, "alice", time.time() - 7200.0, usd)
    assert book.changed() != seen
    ask(book, "alice", time.time(), usd)
    assert not served(book, key)
    assert (stored := book.client("alice")).first_used_at is not None
    assert stored.last_used_at is not None
    assert stored.first_used_at < stored.last_used_at


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä", "a" * 65, "a/b", "a\n"])
def test_names_that_are_none(book: ClientBook, name: str) -> None:
    with pytest.raises(ClientError, match="name"):
        book.add(ME, name, {})


def test_what_is_done_is_written_down_for_good(book: ClientBook) -> None:
    key = book.add(ME, "alice", {"note": "n"}).key
    book.edit(ME, "alice", {"note": "m", "enabled": False}, "disable")
    entries = audit.read(book.path)
    assert [(entry.act, entry.kind, entry.subject, entry.who) for entry in entries] == [
        ("disable", "client", "alice", "me"),
        ("add", "client", "alice", "me"),
    ]
    assert entries[0].before == {"note": "n", "enabled": True}
    assert entries[0].after == {"note": "m", "enabled": False}
    assert key not in repr(entries)
    with closing(sqlite3.connect(book.path)) as connection:
        for sql in ("DELETE FROM audit", "UPDATE audit SET who = 'nobody'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(sql)
