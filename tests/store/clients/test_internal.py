from __future__ import annotations

import time
from pathlib import Path

import pytest

from claude_relay.store.audit import Actor
from claude_relay.store.clients.approvals import approve
from claude_relay.store.clients.book import ClientBook, ClientError
from claude_relay.store.clients.internal import renew
from claude_relay.store.clients.sign_ins import Begun, SignIns

ME = Actor("panel", "panel", "here")


def test_relays_know_it_and_no_list_does(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    book = ClientBook(path)
    name, first = renew(path, ME)
    _, second = renew(path, ME)
    directory = book.directory()
    for key in (first, second):
        grant = directory.find(key)
        assert grant is not None
        assert grant.client.name == name == "panel"
        assert grant.refusal(time.time()) is None
    assert first != second
    assert book.clients() == ()


def test_nobody_can_change_it_or_become_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    book = ClientBook(path)
    renew(path, ME)
    for change in (
        lambda: book.remove(ME, "panel"),
        lambda: book.edit(ME, "panel", {"enabled": False}),
        lambda: book.rotate(ME, "panel", 0),
        lambda: book.add(ME, "panel", {}),
    ):
        with pytest.raises(ClientError):
            change()
    begun = SignIns(path).begin("127.0.0.1")
    assert isinstance(begun, Begun)
    with pytest.raises(ClientError, match="there is no client 'panel'"):
        approve(path, ME, begun.user_code, "panel")


def test_somebody_who_has_the_name_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    book = ClientBook(path)
    book.add(ME, "panel", {})
    assert renew(path, ME)[0] == "panel.internal"
    assert [client.name for client in book.clients()] == ["panel"]
