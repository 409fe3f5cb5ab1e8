"""A code that waits becomes a client's sign-in once, by whoever may say so."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.times import iso
from claude_relay.store import audit
from claude_relay.store.audit import Actor
from claude_relay.store.clients.approvals import approve, deny, user_code
from claude_relay.store.clients.book import ClientBook, ClientError
from claude_relay.store.db.database import connect

ME = Actor("me", "cli", "here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    ClientBook(path).add(ME, "alice", {})
    return path


def begin(path: Path, code: str, lasts: float = 600.0) -> None:
    with closing(connect(path, patience=1.0)) as connection:
        connection.execute(
            "INSERT INTO device_codes (digest, user_code, valid_until, interval, peer) VALUES (?, ?, ?, 5, '192.0.2.7')",
            [code.encode(), code, iso(time.time() + lasts)],
        )


def state(path: Path, code: str) -> tuple[str, str | None]:
    with closing(connect(path, patience=1.0)) as connection:
        [row] = connection.execute(
            "SELECT state, clients.name FROM device_codes LEFT JOIN clients ON clients.id = client WHERE user_code = ?",
            [code],
        )
    return row[0], row[1]


@pytest.mark.parametrize("written", ["WDJB-MJHT", "wdjb-mjht", "wdjbmjht", " WDJB MJHT "])
def test_a_code_is_found_however_it_is_written(path: Path, written: str) -> None:
    begin(path, "WDJB-MJHT")
    assert approve(path, ME, written, "alice") == "WDJB-MJHT"
    assert state(path, "WDJB-MJHT") == ("approved", "alice")
    [entry, _] = audit.read(path)
    assert (entry.act, entry.subject, entry.after) == ("approve", "alice", {"code": "WDJB-MJHT", "peer": "192.0.2.7"})


def test_a_code_is_approved_once(path: Path) -> None:
    begin(path, "WDJB-MJHT")
    approve(path, ME, "WDJB-MJHT", "alice")
    with pytest.raises(ClientError, match="approved already"):
        approve(path, ME, "WDJB-MJHT", "alice")
    with pytest.raises(ClientError, match="approved already"):
        deny(path, ME, "WDJB-MJHT")


def test_a_code_is_denied(path: Path) -> None:
    begin(path, "WDJB-MJHT")
    deny(path, ME, "WDJB-MJHT")
    assert state(path, "WDJB-MJHT") == ("denied", None)


def test_what_does_not_wait_is_refused(path: Path) -> None:
    begin(path, "LATE-LATE", -1.0)
    begin(path, "WDJB-MJHT")
    for code, client, why in (
        ("AAAA-BBBB", "alice", "no sign-in waits"),
        ("LATE-LATE", "alice", "expired"),
        ("WDJB-MJHT", "bob", "no client 'bob'"),
    ):
        with pytest.raises(ClientError, match=why):
            approve(path, ME, code, client)
    ClientBook(path).edit(ME, "alice", {"enabled": False})
    with pytest.raises(ClientError, match="disabled"):
        approve(path, ME, "WDJB-MJHT", "alice")
    ClientBook(path).remove(ME, "alice")
    with pytest.raises(ClientError, match="removed"):
        approve(path, ME, "WDJB-MJHT", "alice")
    assert state(path, "WDJB-MJHT") == ("pending", None)


def test_codes_in_their_form() -> None:
    assert [user_code(text) for text in ("ab", "abcdefgh", "", "a-b_c d é")] == ["AB", "ABCD-EFGH", "", "ABCD"]
