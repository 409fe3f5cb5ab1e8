"""An alias belongs to its key for ever, whatever is edited, whoever is asked, and whether or not the database can be used."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from claude_relay.cli.keys import keys
from claude_relay.cli.usage import usage
from claude_relay.core.bodies.resources import Owner
from claude_relay.core.config import Provider, parse
from claude_relay.core.exchange import Key
from claude_relay.core.keys.cooldown import begin, to_row
from claude_relay.core.keys.replication import Shared
from claude_relay.proxy.lifecycle import opening
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.running.stored import Stored
from claude_relay.store.db.database import transaction
from claude_relay.store.shared.relays import running
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey, mask
from claude_relay.store.vault.vault import Vault
from waiting import eventually

from . import steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .forked import Breeder, ForkedRelay
from .relay import Relay, config, provider, rows
from .test_opening import locked, with_modes
from .test_reload import Edits
from .upstream import FakeUpstream

Base = Callable[[Relay], RawClient]
A, B, C, D = (f"sk-ant-api03-{letter * 24}" for letter in "abcd")
ALIASES = {A: "k1", B: "k2", C: "k3", D: "k4"}
LIMITED = steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "300")])
REFUSED = steps.status(401, "authentication_error", "invalid x-api-key")


def used(client: RawClient, upstream: FakeUpstream, count: int = 4) -> dict[str, str | None]:
    """The keys that so many requests were served with, and what the answers call them."""
    found = {}
    for _ in range(count):
        answer = client.ask("POST", "/v1/messages", body=messages_body())
        assert answer.status == 200, answer.body
        found[upstream.used_keys()[-1]] = answer.header("x-relay-key")
    return found


def of(*secrets: str) -> dict[str, str]:
    return {secret: ALIASES[secret] for secret in secrets}


def test_edits_while_the_relay_runs(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """A new order, one key less, a new one, and the one that left again."""
    relay = start(keys=[A, B, C])
    edits, client = Edits(relay), base_client(relay)
    assert used(client, upstream) == of(A, B, C)
    for order in ([C, B, A], [C, A], [D, C, A], [B, D, C, A]):
        edits.apply(config(upstream.url, order))
        assert used(client, upstream, 5) == of(*order)
    names = {relay.log_text().count(f"{alias}?") for alias in ALIASES.values()}
    assert names == {0}, "known before the edit applied"


def test_a_restart_in_another_order(tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base) -> None:
    """What rests is the key, and not its place."""
    upstream.for_key(B, LIMITED)
    with Relay(tmp_path, confdir, config(upstream.url, [A, B])) as relay:
        assert used(base_client(relay), upstream) == of(A)
    with Relay(tmp_path, confdir, config(upstream.url, [B, C, A])) as relay:
        assert used(base_client(relay), upstream, 6) == of(C, A)
    assert upstream.used_keys().count(B) == 1
    assert {row["key"] for row in rows(tmp_path / "relay.db", "attempts")} == {"k1", "k2", "k3"}


def test_a_key_that_moves_to_another_provider(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """There it gets a name that nobody had, and those that stay keep theirs."""
    one, other = provider(upstream.url, [A, B]), provider(upstream.url, [C])
    relay = start(config(providers={"one": one, "other": other}, routes=[{"to": ["one"]}]))
    edits, client = Edits(relay), base_client(relay)
    assert used(client, upstream) == of(A, B)
    one, other = provider(upstream.url, [B]), provider(upstream.url, [A, C])
    edits.apply(config(providers={"one": one, "other": other}, routes=[{"to": ["one"]}]))
    assert used(client, upstream) == of(B)
    edits.apply(config(providers={"one": one, "other": other}, routes=[{"to": ["other"]}]))
    assert used(client, upstream) == {C: "k1", A: "k2"}


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("into", [True, False], ids=["into", "out"])
def test_a_key_that_moves_into_the_vault_or_out_of_it_keeps_its_files(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base, into: bool, again: bool
) -> None:
    """It has another name there, and is the same key."""
    vault = Vault(tmp_path / "relay.db", environ=os.environ)
    within, without = config(upstream.url, [B, A]), config(upstream.url, [C, B])
    if not into:
        (added,) = vault.import_many([NewKey("anthropic", A)]).added
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(Relay(tmp_path, confdir, within if into else without))
        made = {make(base_client(relay), upstream, number): f"file_{number}_0123456789" for number in range(4)}
        assert A in made
        if into:
            vault.import_many([NewKey("anthropic", A)])
        else:
            vault.remove([added.id])
        if again:
            stack.close()
            relay = stack.enter_context(Relay(tmp_path, confdir, without if into else within))
        else:
            relay.wait_for_log("keys that the vault issues: 1" if into else "keys that the vault issues: 0")
            Edits(relay).apply(without if into else within)
        client = base_client(relay)
        for _ in range(4):
            assert client.ask("GET", f"/v1/files/{made[A]}").status == 200
            assert upstream.used_keys()[-1] == A
    vault.close()


def make(client: RawClient, upstream: FakeUpstream, number: int) -> str:
    """The key that a new file was made with."""
    upstream.script(steps.answer([json.dumps({"type": "file", "id": f"file_{number}_0123456789"}).encode()]))
    assert client.ask("POST", "/v1/files", body=b"x").status == 200
    return upstream.used_keys()[-1]


def test_everybody_says_the_same(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log, flows, `relays`, `keys list`, `keys check` and `usage` after the keys were turned round."""
    monkeypatch.setenv("COLUMNS", "200")
    relay = start(keys=[A, B, C], relay={"web": True})
    edits, client = Edits(relay), base_client(relay)
    upstream.for_key(B, REFUSED)
    edits.apply(config(upstream.url, [C, B, A]))
    assert used(client, upstream, 6) == of(A, C)
    wait_for_row(relay, ["k3", "k2", "k1"])
    flows = json.dumps(relay.web_ui.flows(), ensure_ascii=False)
    assert "k3 · claude-sonnet-5" in flows
    assert "relay:anthropic/k2" in flows
    assert "attempt 1 · anthropic/k2 · unauthorized" in flows
    run = CliRunner().invoke
    listed = json.loads(run(keys, ["list", "--json", "--config", str(relay.config_file)]).stdout)
    assert [(key["name"], key["states"][0]) for key in listed] == [
        ("anthropic/k3", "unchecked"),
        ("anthropic/k2", "out"),
        ("anthropic/k1", "unchecked"),
    ]
    upstream.for_key(B, REFUSED)
    upstream.default = steps.answer([b'{"data": []}'])
    words = ["check", "--all", "--json", "--config", str(relay.config_file)]
    checked = {key["name"]: key["status"] for key in json.loads(run(keys, words).stdout)}
    assert checked == {"anthropic/k3": "valid", "anthropic/k2": "revoked", "anthropic/k1": "valid"}
    spent = json.loads(run(usage, ["--by", "key", "--json", "--config", str(relay.config_file)]).stdout)
    assert {row["name"] for row in spent["rows"]} == {"anthropic/k1", "anthropic/k3"}
    assert "at anthropic/k2: unauthorized" in relay.log_text()


def wait_for_row(relay: Relay, aliases: list[str]) -> None:
    """Until the relay's row names these keys in this order."""

    def found() -> list[object]:
        (row,) = running(relay.database, time.time())
        return [key["alias"] for key in row.keys()["anthropic"]]

    eventually(lambda: found() == aliases, found)


def test_relays_over_one_database_agree(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder
) -> None:
    """They begin at once, each with another order, and one with a key more; a cooldown of one holds for the other."""
    orders, shared = [[A, B], [B, C, A]], tmp_path / "shared.db"
    upstream.for_key(B, LIMITED)
    with contextlib.ExitStack() as stack:
        relays = []
        for number, order in enumerate(orders):
            (folder := tmp_path / str(number)).mkdir()
            text = config(upstream.url, order, database=str(shared))
            relays.append(stack.enter_context(contextlib.closing(Closing(folder, confdir, text, breeder))))
        for relay in relays:
            relay.begin()
        for relay in relays:
            relay.wait_until_it_answers()
        clients = [stack.enter_context(RawClient(relay.base_port)) for relay in relays]
        with clients[0] as client:
            names = used(client, upstream)
        eventually(lambda: [keys[mask(B)]["state"] for keys in reported_keys(shared)] == ["cooldown"] * 2)
        with clients[1] as client:
            names |= used(client, upstream)
        first, second = reported_keys(shared)
    for secret in (A, B):
        assert first[mask(secret)]["alias"] == second[mask(secret)]["alias"]
    assert {mask(secret): alias for secret, alias in names.items()}.items() <= {
        shown: key["alias"] for keys in (first, second) for shown, key in keys.items()
    }.items()
    assert {row["key"] for row in rows(shared, "attempts")} == {"k1", "k2", "k3"}
    assert upstream.used_keys().count(B) == 1


def reported_keys(database: Path) -> list[dict[str, dict[str, Any]]]:
    """What the rows of the running relays tell of their keys."""
    return [{key["mask"]: key for key in row.keys()["anthropic"]} for row in running(database, time.time())]


class Closing(ForkedRelay):
    def close(self) -> None:
        self.kill()


# -- without the database


def test_a_new_key_while_somebody_writes(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """Its name is foreseen, and is the one that it has from then on."""
    relaxed = {"durability": "relaxed"}
    relay = start(keys=[A, B], ledger=relaxed)
    edits, client = Edits(relay), base_client(relay)
    with contextlib.closing(sqlite3.connect(relay.database, isolation_level=None)) as other, transaction(other):
        edits.applied += 1
        relay.write_config(config(upstream.url, [C, B], ledger=relaxed))
        relay.wait_for_log("was read again and applies from now on")
        assert used(client, upstream) == of(B, C)
    relay.wait_for_log("stored aliases can be used again")
    edits.apply(config(upstream.url, [A, C], ledger=relaxed))
    assert used(client, upstream) == of(A, C)
    relay.expected += ("ledger",)


def test_a_database_that_cannot_be_read_at_the_start(
    start: StartRelay,
    upstream: FakeUpstream,
    stack: contextlib.ExitStack,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which name is whose is not known: keys go by their place, with a doubt, and no row takes the name of another key.

    What was learnt of them meanwhile is theirs afterwards.
    """
    monkeypatch.setattr(opening, "PATIENCE", 0.3)
    upstream.for_key(B, LIMITED)
    upstream.script(steps.answer([b'{"type": "file", "id": "file_011CNha8iCJcU1wXNR6q4V8w"}']))
    unlock = stack.enter_context(locked(database))
    relay = start(keys=[B, A], ledger={"durability": "relaxed"}, relay=with_modes())
    client = stack.enter_context(RawClient(relay.base_port))
    assert client.ask("POST", "/v1/files", body=b"--x--").header("x-relay-key") == "k1?"
    assert used(client, upstream, 2) == {A: "k2?"}
    unlock()
    eventually(lambda: stored_cooldown(database, B) is not None)
    assert used(client, upstream, 3) == of(A)
    assert upstream.used_keys().count(B) == 2
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert own(B)[0].id not in "\n".join(connection.iterdump())
    relay.expected += ("ledger",)


@pytest.fixture
def database(tmp_path: Path, new_ledger: Path) -> Path:
    """One in which A was the first key."""
    found = tmp_path / "relay.db"
    found.write_bytes(new_ledger.read_bytes())
    Aliases(found).name(own(A, B))
    return found


def own(*secrets: str) -> tuple[Key, ...]:
    return Provider(keys=tuple(map(SecretStr, secrets))).key_list("anthropic")


def stored_cooldown(database: Path, secret: str) -> float | None:
    """The end of the cooldown that is stored of a key."""
    (name,) = Aliases(database).foresee(own(secret)).values()
    with contextlib.closing(State(database)) as state:
        found = [row["until"] for row in state.load_cooldowns() if row["key_id"] == name.id]
    return float(str(found[0])) if found else None


@pytest.fixture
def alone(tmp_path: Path, database: Path) -> Stored:
    """One that has not looked yet, over a database in which A is k1. Its configuration has B first."""
    text = json.dumps(config("http://127.0.0.1:9", [B, A]))
    runtime = Runtime.of(parse(text, environ={}, where="relay.yaml"))
    return Stored(database, {}, lambda: runtime, lambda issued: None, lambda names: runtime.issue({}, names))


def test_what_a_key_makes_before_its_name_is_known(alone: Stored, database: Path) -> None:
    first, second = alone.runtime().pools["anthropic"].keys
    assert (first.alias, second.alias) == ("k1", "k2")
    asyncio.run(alone.remember(["file_1"], "anthropic", first.id))
    with contextlib.closing(State(database)) as state:
        (name,) = Aliases(database).foresee(own(B)).values()
        assert state.resource("file_1", time.time()) == ("anthropic", name.id)
    assert asyncio.run(alone.owner(["file_1"])) == Owner("anthropic", first.id)
    assert [key.alias for key in alone.runtime().pools["anthropic"].keys] == ["k2", "k1"]
    alone.close()


def test_the_last_word_of_a_relay_that_never_looked(alone: Stored, database: Path) -> None:
    pool, now = alone.runtime().pools["anthropic"], time.time()
    pool.cooldowns.extend(pool.keys[0].id, "", until=now + 900, now=now, reason="limit", stated=True)
    alone.close()
    assert stored_cooldown(database, B) == pytest.approx(now + 900)
    with contextlib.closing(State(database)) as state:
        assert len(state.load_cooldowns()) == 1


# -- from an earlier version


def test_cooldowns_of_an_earlier_version_hold(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base, new_ledger: Path
) -> None:
    """It stored them under ids that told of the secret; after the start nothing does."""
    path, now = tmp_path / "relay.db", time.time()
    path.write_bytes(new_ledger.read_bytes())
    a, b = own(A, B)
    rest = to_row(begin(now + 900, now, "429: retry-after", stated=True))
    binding = {"session": "s", "provider": "anthropic", "key_id": b.id, "home": b.id, "moves": 1}
    binding |= {"since": now, "used": now, "warm": 0.0, "cached": 0}
    with contextlib.closing(State(path)) as state:
        row = {"provider": "anthropic", "key_id": a.id, "scope": "", **rest, "lifted": -1.0}
        state.exchange(Shared((row,), (binding,)), now)
        state.remember_resource("file_011CNha8iCJcU1wXNR6q4V8w", "anthropic", b.id, now + 900)
    with Relay(tmp_path, confdir, config(upstream.url, [A, B, C])) as relay:
        client = base_client(relay)
        assert used(client, upstream, 6) == of(B, C)
        for _ in range(3):
            headers = [("x-claude-code-session-id", "s")]
            answer = client.ask("POST", "/v1/messages", body=messages_body(), headers=headers)
            assert answer.header("x-relay-key") == "k2"
            answer = client.ask("GET", "/v1/files/file_011CNha8iCJcU1wXNR6q4V8w")
            assert answer.header("x-relay-key") == "k2"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        reported_keys = "\n".join(connection.iterdump())
    assert not [key.alias for key in (a, b) if key.id in reported_keys]
    assert stored_cooldown(path, A) == pytest.approx(now + 900)


@pytest.mark.parametrize("secret", ["sk-1234", A])
def test_what_is_stored_tells_nothing_of_a_secret(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base, secret: str
) -> None:
    upstream.for_key(secret, LIMITED)
    with Relay(tmp_path, confdir, config(upstream.url, [secret, B])) as relay:
        headers = [("x-claude-code-session-id", "s")]
        client = base_client(relay)
        for _ in range(3):
            assert client.ask("POST", "/v1/messages", body=messages_body(), headers=headers).status == 200
    with contextlib.closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        reported_keys = "\n".join(connection.iterdump())
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("cooldowns", "sessions")
        ]
    assert counts == [1, 1]
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        assert hashlib.new(algorithm, secret.encode()).hexdigest()[:8] not in reported_keys
    assert secret not in reported_keys
