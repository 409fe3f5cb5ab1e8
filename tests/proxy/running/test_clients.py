"""The clients in force, over a real database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from claude_relay.core.clients.directory import Stop
from claude_relay.proxy.running import clients as module
from claude_relay.proxy.running.clients import KnownClients
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook

ME = Actor("me", "cli", "here")
UNKNOWN = "rk-" + "0" * 48


@pytest.fixture
def book(tmp_path: Path) -> ClientBook:
    return ClientBook(tmp_path / "relay.db")


def with_clients(
    book: ClientBook,
    work: Callable[[KnownClients], Awaitable[None]],
    stopped: Callable[[Sequence[Stop]], None] = lambda stops: None,
) -> None:
    async def main() -> None:
        clients = KnownClients(book.path, stopped)
        try:
            await work(clients)
        finally:
            clients.close()

    asyncio.run(main())


def counted(clients: KnownClients) -> list[int | None]:
    """Fills with a line for each look at the database."""
    looks: list[int | None] = []
    read = clients._read

    def counting(known: int | None) -> object:
        looks.append(known)
        return read(known)

    clients._read = counting  # type: ignore[method-assign, assignment]
    return looks


def test_a_key_made_a_moment_ago_works_at_once(book: ClientBook) -> None:
    async def work(clients: KnownClients) -> None:
        await clients.look()
        assert clients.unread is None
        key = book.add(ME, "alice", {}).key
        grant = await clients.find(key)
        assert grant is not None
        assert grant.client.name == "alice"

    with_clients(book, work)


def test_unknown_keys_share_looks_and_others_cause_none(book: ClientBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST", 0.05)

    async def work(clients: KnownClients) -> None:
        looks = counted(clients)
        assert await clients.find("sk-ant-api03-of-somebody") is None
        assert looks == []
        found = await asyncio.gather(*[clients.find(f"rk-{n:048x}") for n in range(200)])
        assert found == [None] * 200
        assert len(looks) == 1

    with_clients(book, work)


def test_looks_keep_their_distance(book: ClientBook) -> None:
    """Whatever unknown keys come, and however fast."""

    async def work(clients: KnownClients) -> None:
        looks, begun = counted(clients), [clients._began]
        for _ in range(3):
            await clients.find(UNKNOWN)
            begun.append(clients._began)
        assert len(looks) == 3
        assert all(later - sooner > module.LEAST / 2 for sooner, later in pairwise(begun[1:]))

    with_clients(book, work)


def test_who_leaves_takes_no_others_look_away(book: ClientBook) -> None:
    async def work(clients: KnownClients) -> None:
        key = book.add(ME, "alice", {}).key
        leaves, stays = (asyncio.ensure_future(clients.find(key)) for _ in range(2))
        await asyncio.sleep(0)
        leaves.cancel()
        assert await stays is not None

    with_clients(book, work)


def test_a_database_that_cannot_be_read(book: ClientBook, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; the last picture stays in force; without one it is known why."""
    key = book.add(ME, "alice", {}).key
    whole = book.path.read_bytes()

    async def work(clients: KnownClients) -> None:
        assert clients.unread == "they are not read yet"
        book.path.write_bytes(b"no database" * 1000)
        for _ in range(2):
            assert await clients.find(key) is None
        assert clients.unread is not None
        assert "relay.db" in clients.unread
        book.path.write_bytes(whole)
        assert await clients.find(key) is not None
        assert clients.unread is None
        book.path.unlink()
        book.path.write_bytes(b"no database" * 1000)
        assert await clients.find(UNKNOWN) is None
        assert await clients.find(key) is not None
        assert clients.unread is None

    with closing(sqlite3.connect(book.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with_clients(book, work)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" be read")[0] for line in lines] == [
        "stored clients cannot",
        "stored clients can",
        "stored clients cannot",
    ]


def test_stops_are_told_of_once(book: ClientBook) -> None:
    told: list[tuple[str | None, ...]] = []
    book.add(ME, "alice", {})

    async def work(clients: KnownClients) -> None:
        await clients.look()
        book.stop(ME, "alice", session="s1")
        await clients.look()
        await clients.look()
        book.stop(ME, "alice")
        await clients.look()

    with_clients(book, work, lambda stops: told.append(tuple(stop.session for stop in stops)))
    assert told == [("s1",), (None,)]
