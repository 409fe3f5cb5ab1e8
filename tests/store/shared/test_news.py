"""What changed since one looked last."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from claude_relay.core.times import iso
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.shared.news import Changes
from claude_relay.store.shared.relays import RelayRow, Relays
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from store.rows import STARTED, request

ME = Actor("me", "cli")
RELAY = RelayRow("r1", 1, "here", "1", iso(STARTED), iso(STARTED), 0, None, "/", "{}", "{}", "{}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    with closing(connect(path, patience=1.0)) as connection:
        migrate(connection)
    return path


def put(path: Path, *ids: str) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for id in ids:
        ledger.put(request(id=id, client=None), [])
    ledger.close()


def topics(changes: Changes) -> set[str]:
    return {change.topic for change in changes.look()}


def test_requests_come_as_they_settle(path: Path) -> None:
    put(path, "a")
    changes = Changes(path)
    assert changes.look() == []
    put(path, "b", "c")
    (change,) = changes.look()
    assert [row["id"] for row in change.rows] == ["b", "c"]
    assert changes.look() == []
    assert [row["id"] for row in changes.since(change.at - 1).rows] == ["c"]
    assert changes.since(change.at).rows == ()
    changes.close()


def test_each_change_has_its_topic(path: Path) -> None:
    changes, relays = Changes(path), Relays(path)
    assert changes.look() == []
    Vault(path, actor=ME, environ={"RELAY_SECRET": "s" * 32}).add(NewKey("anthropic", "sk-ant-api03-" + "x" * 30))
    assert topics(changes) == {"keys"}
    ClientBook(path).add(ME, "alice", {})
    assert topics(changes) == {"clients"}
    relays.say(RELAY)
    assert topics(changes) == {"relays", "keys"}
    relays.say(replace(RELAY, seen_at=iso(STARTED + 1)))
    assert topics(changes) == set()
    relays.say(replace(RELAY, in_flight=1))
    assert topics(changes) == {"relays"}
    relays.close()
    changes.close()


def test_a_key_that_is_merely_in_use_is_no_news(path: Path) -> None:
    changes, relays = Changes(path), Relays(path)

    def load(state: str, used: int) -> RelayRow:
        key = {"state": state, "until": None, "reason": "", "in_flight": 1, "used": used, "headroom": 0.5}
        return replace(RELAY, load=json.dumps({"anthropic": {"k1": key}}))

    relays.say(load("ready", 1))
    assert changes.look() == []
    relays.say(load("ready", 2))
    assert topics(changes) == set()
    relays.say(load("cooldown", 2))
    assert topics(changes) == {"keys"}
    relays.close()
    changes.close()


def test_another_file_is_looked_at_anew(path: Path) -> None:
    changes = Changes(path)
    assert changes.look() == []
    for file in path.parent.glob("relay.db*"):
        file.unlink()
    assert changes.look() == []
    put(path, "a")
    assert changes.look() == []
    put(path, "b")
    assert topics(changes) == {"requests"}
    changes.close()
