"""kill -9 at any moment: every answer that a client has whole is in the ledger, once."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from waiting import PATIENCE, eventually

from .clients import RawClient, messages_body
from .forked import Breeder, ForkedRelay
from .relay import RelayProcess, config, rows
from .upstream import FakeUpstream

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 4)]
CLIENTS = 4
ROUNDS = 6


@pytest.fixture
def forked(tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder) -> Iterator[ForkedRelay]:
    with ForkedRelay(tmp_path, confdir, config(upstream.url, KEYS), breeder) as relay:
        yield relay


class Client(threading.Thread):
    """Asks until the connection breaks; remembers which answers it got whole, by the number it sent along."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(name=name)
        self.port = port
        self.begun = 0
        self.whole: list[str] = []
        self.broken: list[str] = []

    def run(self) -> None:
        with suppress(OSError), RawClient(self.port) as client:
            while self.ask(client, f"{self.name}-{self.begun}"):
                pass

    def ask(self, client: RawClient, name: str) -> bool:
        """False when there was no whole answer. The last byte counts, not the end of the framing after it."""
        stream = self.begun % 2 == 0
        self.begun += 1
        self.broken.append(name)
        client.post(stream=stream, headers=[("User-Agent", name)])
        answer = client.head()
        if answer.status == 503:  # it had arrived when the relay was asked to end
            return False
        assert answer.status == 200
        while not (b"message_stop" in answer.body or answer.body.endswith(b"}}")) and client.piece():
            pass
        if b"message_stop" not in answer.body and not answer.body.endswith(b"}}"):
            return False
        self.whole.append(self.broken.pop())
        while client.piece() is not None:
            pass
        return answer.complete


def under_load(relay: RelayProcess, name: str, kill_after: int) -> list[Client]:
    """Clients at work until the relay is killed, when so many answers have been got and a moment has passed."""
    clients = [Client(relay.base_port, f"{name}-{n}") for n in range(CLIENTS)]
    for client in clients:
        client.start()
    eventually(lambda: sum(len(c.whole) for c in clients) >= kill_after, relay.output)
    time.sleep(random.random() * 0.02)  # any moment of a request is as good as another
    relay.kill()
    for client in clients:
        client.join(PATIENCE)
        assert not client.is_alive()
    return clients


def check(database: Path, clients: list[Client]) -> None:
    whole = {name for client in clients for name in client.whole}
    begun = whole | {name for client in clients for name in client.broken}
    written = [str(row["user_agent"]) for row in rows(database) if row["user_agent"] in begun]
    assert len(written) == len(set(written))
    assert whole <= set(written), f"answered and not written down: {whole - set(written)}"
    assert all(row["finished"] == "complete" for row in rows(database) if row["user_agent"] in whole)
    tries = {row["request"] for row in rows(database, "attempts")}
    assert tries == {row["id"] for row in rows(database)}


def test_kill_under_load(forked: ForkedRelay) -> None:
    """One database through all rounds: each start goes on with what the killed one left."""
    everyone: list[Client] = []
    for turn in range(ROUNDS):
        forked.start()
        everyone += under_load(forked, f"round-{turn}", kill_after=random.randint(1, 30))
    check(forked.database, everyone)
    with closing(sqlite3.connect(forked.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len({client.name for client in everyone if client.whole}) >= ROUNDS


def test_it_goes_on_after_a_kill(forked: ForkedRelay) -> None:
    forked.start()
    clients = under_load(forked, "before", kill_after=5)
    before = len(rows(forked.database))
    forked.start()
    with RawClient(forked.base_port) as client:
        body = messages_body(stream=True)
        for n in range(3):
            answer = client.ask("POST", "/v1/messages", body=body, headers=[("User-Agent", f"after-{n}")])
            assert answer.complete
            assert len(rows(forked.database)) == before + n + 1
    check(forked.database, clients)
    assert "Traceback" not in forked.output()


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
def test_a_kind_end_keeps_the_promise_too(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, durability: str
) -> None:
    """SIGTERM under load: what is answered until the very end is written down; no traceback, exit code 0."""
    with RelayProcess(tmp_path, confdir, config(upstream.url, KEYS, ledger={"durability": durability})) as relay:
        clients = [Client(relay.base_port, f"kind-{n}") for n in range(CLIENTS)]
        for client in clients:
            client.start()
        eventually(lambda: sum(len(c.whole) for c in clients) >= 20)
        relay.process.terminate()
        assert relay.process.wait(PATIENCE) == 0
        for client in clients:
            client.join(PATIENCE)
    # Early releases of Python 3.12 report a client's handler that was cancelled at the end.
    reported = relay.output().count("Exception in callback StreamReaderProtocol.connection_made")
    assert relay.output().count("Traceback") == reported, relay.output()
    check(relay.database, clients)
