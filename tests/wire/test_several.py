"""Several relay processes over one database: what one learns the others know within a second."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.exchange import KeyLimits
from claude_relay.core.keys.cooldown import begin, to_row
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey, StoredKey
from claude_relay.store.vault.vault import Vault
from waiting import PATIENCE, eventually

from . import steps
from .clients import Answer, RawClient, messages_body
from .forked import Breeder, ForkedRelay
from .relay import config, provider
from .upstream import FakeUpstream, Signal

pytestmark = pytest.mark.usefixtures("cheap_secrets")

SECRETS = [f"sk-ant-api03-several-{i}" for i in range(1, 4)]
ENVIRON = {"RELAY_SECRET": "the secret of several relays"}
LIMITED = steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "300")])


class Member(ForkedRelay):
    """One of several, and a client of it."""

    client: RawClient | None = None

    def wait_until_it_answers(self) -> None:
        super().wait_until_it_answers()
        self.client = RawClient(self.base_port)

    def kill(self) -> None:
        super().kill()
        if self.client is not None:
            self.client.close()

    def ask(self, session: str = "") -> Answer:
        assert self.client is not None
        headers = [("x-claude-code-session-id", session)] if session else []
        return self.client.ask("POST", "/v1/messages", body=messages_body(), headers=headers)

    def aliases(self, count: int = 6) -> set[str | None]:
        """The keys that so many requests are served with."""
        return {self.ask().header("x-relay-key") for _ in range(count)}

    def wait_for_aliases(self, *expected: str) -> None:
        """Ask until these are the keys that take turns."""
        eventually(lambda: self.aliases(4) == set(expected))


class Group:
    """Relays over one database, and its vault."""

    def __init__(self, folder: Path, confdir: Path, url: str, breeder: Breeder) -> None:
        self.database = folder / "shared.db"
        self.vault = Vault(self.database, environ=ENVIRON)
        self.folder, self.confdir, self.breeder = folder, confdir, breeder
        providers = {"anthropic": provider(url, strategy="round-robin", empty_pool="reject")}
        retry = {"attempts": 3, "max_wait": "0s", "first_byte": "5s", "idle": "5s"}
        self.config = config(providers=providers, retry=retry, database=str(self.database))
        self.members: list[Member] = []

    def add_keys(self, count: int, **limits: int) -> Sequence[StoredKey]:
        new = [NewKey("anthropic", secret, limits=KeyLimits(**limits)) for secret in SECRETS[:count]]
        return self.vault.import_many(new).added

    def start(self, count: int = 2) -> list[Member]:
        for number in range(count):
            folder = self.folder / f"relay-{number}"
            folder.mkdir()
            member = Member(folder, self.confdir, self.config, self.breeder, ENVIRON)
            member.begin()
            self.members.append(member)
        for member in self.members:
            member.wait_until_it_answers()
        return self.members

    def sql(self, text: str) -> list[tuple[object, ...]]:
        """What the database says, to any program."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(text).fetchall()

    def wait_for_looks(self) -> None:
        """Wait until every relay has looked into the database and taken over what it found: when it has begun to look again.

        While a key with limits was in use a relay says each time what it carries, and when.
        """
        began, looks = time.time(), set[tuple[object, ...]]()

        def all_have_looked() -> bool:
            looks.update(self.sql(f"SELECT process, at FROM loads WHERE at > {began!r}"))
            processes = [process for process, _ in looks]
            return len(set(processes)) == len(self.members) and min(map(processes.count, processes)) >= 2

        eventually(all_have_looked)

    def close(self) -> None:
        for member in self.members:
            member.kill()
        self.vault.close()
        for member in self.members:
            assert "Traceback" not in member.output(), member.output()


@pytest.fixture
def group(tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder) -> Iterator[Group]:
    with closing(Group(tmp_path, confdir, upstream.url, breeder)) as found:
        yield found


def test_a_cooldown_that_one_meets_and_its_lift_are_known_to_all(group: Group, upstream: FakeUpstream) -> None:
    limited, *_ = group.add_keys(2)
    upstream.for_key(SECRETS[0], LIMITED, steps.message())
    one, *others = group.start(3)
    assert one.aliases() == {"v2"}
    for other in others:
        other.wait_for_aliases("v2")
    so_far = upstream.used_keys().count(SECRETS[0])
    assert [member.aliases() for member in group.members] == [{"v2"}] * 3
    assert upstream.used_keys().count(SECRETS[0]) == so_far
    assert group.vault.reset([limited.id]) == 1
    for member in group.members:
        member.wait_for_aliases("v1", "v2")


def test_a_session_sits_at_one_key_whoever_is_asked(group: Group) -> None:
    group.add_keys(3)
    one, other = group.start()
    sessions = [f"session-{number}" for number in range(6)]

    def bindings(member: Member) -> list[str | None]:
        return [member.ask(session).header("x-relay-key") for session in sessions]

    found = bindings(one)
    assert len(set(found)) == 3
    assert other.ask().status == 200  # its turns are not those of the first
    eventually(lambda: bindings(other) == found)
    assert bindings(other) == bindings(one) == found


def test_keys_of_the_vault_are_switched_for_all(group: Group) -> None:
    (first,) = group.add_keys(1)
    members = group.start()
    assert [member.aliases(2) for member in members] == [{"v1"}] * 2
    group.add_keys(2)  # the first of them is there
    for member in members:
        member.wait_for_aliases("v1", "v2")
    group.vault.disable([first.id])
    for member in members:
        member.wait_for_aliases("v2")


def test_a_limit_of_requests_a_minute_holds_for_all_together(group: Group, upstream: FakeUpstream) -> None:
    """The other has used one itself. Beyond it would go only what a relay is asked before it hears of what others were."""
    group.add_keys(1, requests_per_minute=9)
    one, other = group.start()
    assert one.ask().status == other.ask().status == 200
    group.wait_for_looks()
    while one.ask().status == 200:
        pass
    assert len(upstream.requests) == 9
    group.wait_for_looks()
    assert {member.ask().status for member in group.members} == {429}
    assert len(upstream.requests) == 9


def test_places_that_one_has_taken_are_taken_for_all(group: Group, upstream: FakeUpstream) -> None:
    group.add_keys(1, concurrent=2)
    one, other = group.start()
    done = Signal()
    upstream.script(*[steps.after(done, steps.message())] * 2)
    with ThreadPoolExecutor(2) as threads, RawClient(one.base_port) as second:
        waiting = [threads.submit(c.ask, "POST", "/v1/messages", body=messages_body()) for c in (one.client, second)]
        upstream.wait_for_requests(2)
        eventually(lambda: other.ask().status != 200)
        done.set()
        assert [answer.result(PATIENCE).status for answer in waiting] == [200, 200]
    eventually(lambda: other.ask().status == 200)


def test_one_process_probes_and_the_others_wait_for_its_verdict(group: Group, upstream: FakeUpstream) -> None:
    probed, *_ = group.add_keys(2, requests_per_minute=1000)
    one, other = group.start()
    assert one.aliases(2) == other.aliases(2) == {"v1", "v2"}
    half_open = begin(time.time() - 0.1, time.time() - 100.0, "429: retry-after", stated=True)
    with closing(State(group.database)) as state:
        row = {"provider": "anthropic", "key_id": probed.id, "scope": "", **to_row(half_open), "lifted": -1.0}
        state.save_cooldowns([row])
    group.wait_for_looks()
    done, before = Signal(), upstream.used_keys().count(SECRETS[0])
    upstream.for_key(SECRETS[0], steps.after(done, LIMITED), steps.message())
    with ThreadPoolExecutor(1) as threads:
        probing = threads.submit(one.aliases, 2)
        eventually(lambda: group.sql("SELECT 1 FROM probes") != [])
        group.wait_for_looks()
        assert other.aliases() == {"v2"}
        done.set()
        assert probing.result(PATIENCE) == {"v2"}
    eventually(lambda: not group.sql("SELECT 1 FROM probes"))
    assert [member.aliases() for member in group.members] == [{"v2"}] * 2
    assert upstream.used_keys().count(SECRETS[0]) == before + 1
