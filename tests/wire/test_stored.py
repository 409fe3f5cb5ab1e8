"""Keys of the vault, rests and sessions: what the running relay takes from its database, and leaves there."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from claude_relay.core.config import Provider, parse
from claude_relay.core.keys.aliases import Place
from claude_relay.core.keys.cooldown import begin, to_row
from claude_relay.core.keys.replication import SLICE
from claude_relay.proxy.running import stored as stored_module
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.running.stored import Stored
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import PATIENCE, eventually

from . import claude, steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config
from .test_reload import Edits
from .upstream import FakeUpstream, Step

Base = Callable[[Relay], RawClient]
SECRETS = [f"sk-ant-api03-vault-secret-{i}" for i in range(1, 4)]
ISSUES = "keys that the vault issues"


def ask(client: RawClient, session: str = "") -> Answer:
    headers = [("x-claude-code-session-id", session)] if session else []
    return client.ask("POST", "/v1/messages", body=messages_body(), headers=headers)


def test_keys_of_the_vault_are_lent_while_the_relay_runs(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    relay = start(config(providers={"anthropic": {"base_url": upstream.url, "empty_pool": "reject"}}))
    client = base_client(relay)
    assert ask(client).status == 503
    vault = Vault(relay.database, environ=os.environ)
    (added,) = vault.import_many([NewKey("anthropic", SECRETS[0])]).added
    relay.wait_for_log(ISSUES)
    answer = ask(client)
    assert (answer.status, answer.header("x-relay-key")) == (200, added.alias)
    assert upstream.used_keys() == SECRETS[:1]
    vault.disable([added.id])
    relay.wait_for_log(ISSUES, 2)
    assert ask(client).status == 503
    assert not any(secret in relay.log_text() for secret in SECRETS)


def test_whoever_has_no_vault_hears_nothing_of_one(start: StartRelay) -> None:
    """Another command may make its tables and leave them empty."""
    relay = start(keys=["sk-ant-api03-of-the-file"])
    looked = relay.master.addons.get("claude_relay").stored
    before = looked.generation
    vault = Vault(relay.database, environ=os.environ)
    (added,) = vault.import_many([NewKey("anthropic", SECRETS[0], enabled=False)]).added
    vault.erase([added.id])
    eventually(lambda: looked.generation != before)
    vault.import_many([NewKey("anthropic", SECRETS[1])])
    relay.wait_for_log(f"{ISSUES}: 1")
    assert f"{ISSUES}: 0" not in relay.log_text()


def test_keys_of_both_kinds_take_turns(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=["sk-ant-api03-of-the-file"])
    Vault(relay.database, environ=os.environ).import_many([NewKey("anthropic", SECRETS[0])])
    relay.wait_for_log(ISSUES)
    client = base_client(relay)
    for _ in range(4):
        assert ask(client).status == 200
    assert set(upstream.used_keys()) == {"sk-ant-api03-of-the-file", SECRETS[0]}


def test_a_cooldown_survives_the_relay(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base
) -> None:
    upstream.for_key("good-1", steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "300")]))
    text = config(upstream.url, ["good-1", "good-2"])
    with Relay(tmp_path, confdir, text) as first:
        assert ask(base_client(first)).header("x-relay-attempts") == "2"
    with Relay(tmp_path, confdir, text) as second:
        client = base_client(second)
        assert [ask(client).header("x-relay-attempts") for _ in range(3)] == ["1", "1", "1"]
    assert upstream.used_keys().count("good-1") == 1


def test_a_session_keeps_its_key_also_over_a_restart(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base
) -> None:
    text = config(upstream.url, ["good-1", "good-2", "good-3"])
    with Relay(tmp_path, confdir, text) as first:
        client = base_client(first)
        of_one = {ask(client, "one").header("x-relay-key") for _ in range(4)}
        others = {ask(client, f"other {n}").header("x-relay-key") for n in range(6)}
        assert (len(of_one), len(others)) == (1, 3)
    with Relay(tmp_path, confdir, text) as second:
        client = base_client(second)
        assert {ask(client, "one").header("x-relay-key") for _ in range(3)} == of_one


def test_what_a_key_made_is_read_with_the_same_key(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    keys = ["good-1", "good-2", "good-3"]
    relay = start(keys=keys)
    client = base_client(relay)
    file = "file_011CNha8iCJcU1wXNR6q4V8w"
    upstream.script(steps.answer([b'{"type": "file", "id": "%s"}' % file.encode()]))
    made_by = client.ask("POST", "/v1/files", body=b"--x--").header("x-relay-key")
    upstream.default = steps.answer([b'{"type": "file"}'])
    assert {client.ask("GET", f"/v1/files/{file}").header("x-relay-key") for _ in range(4)} == {made_by}
    assert len({client.ask("GET", "/v1/files").header("x-relay-key") for _ in range(3)}) == 3


BOX = "container_011CPR5CNjB747bTd36fQLFk"
NAMED = {"container": {"id": BOX, "expires_at": "2035-01-01T00:00:00Z"}}
IN_DELTA = claude.event("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"} | NAMED})
IN_START = claude.event("message_start", {"type": "message_start", "message": claude.message(content=[], **NAMED)})
WORDS = claude.events()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(steps.stream([*WORDS[:-2], IN_DELTA, claude.STOP]), id="delta"),
        pytest.param(steps.stream([IN_START, *WORDS[1:]], encoding="gzip"), id="start"),
        pytest.param(steps.answer([claude.dump(claude.message(**NAMED))]), id="json"),
    ],
)
def test_a_container_stays_with_the_key_that_it_came_with(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, answer: Step
) -> None:
    client = base_client(start(keys=["good-1", "good-2", "good-3"]))
    upstream.script(answer)
    came_with = client.ask("POST", "/v1/messages", body=messages_body(stream=True)).header("x-relay-key")
    body = messages_body(container=BOX)
    assert {client.ask("POST", "/v1/messages", body=body).header("x-relay-key") for _ in range(4)} == {came_with}
    assert len({ask(client).header("x-relay-key") for _ in range(3)}) == 3


@pytest.mark.parametrize("where", ["relay.yaml", "vault"])
def test_a_key_that_left_and_returns_cools_down_as_it_was_said_meanwhile(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, where: str
) -> None:
    """Another relay stored its cooldown while it was not here: then nobody listened, so all is read again when it comes back."""
    with_both, without = config(upstream.url, SECRETS[:2]), config(upstream.url, SECRETS[1:2])
    relay = start(without if where == "vault" else with_both)
    vault = Vault(relay.database, environ=os.environ)
    edits, client = Edits(relay), base_client(relay)
    if where == "vault":
        (key,) = vault.add(NewKey("anthropic", SECRETS[0])).added
        relay.wait_for_log(ISSUES)
        vault.disable([key.id])
        relay.wait_for_log(ISSUES, 2)
        stored_id = key.id
    else:
        (own,) = Provider(keys=(SecretStr(SECRETS[0]),)).key_list("anthropic")
        stored_id = Aliases(relay.database).foresee([own])[Place("anthropic", own.id)].id
        edits.apply(without)
    now = time.time()
    with closing(State(relay.database)) as other:
        rest = to_row(begin(now + 900, now, "429: retry-after", stated=True))
        other.save_cooldowns([{"provider": "anthropic", "key_id": stored_id, "scope": "", **rest, "lifted": -1.0}])
        generation = other.changed()
    stored: Stored = relay.master.addons.get("claude_relay").stored
    eventually(lambda: stored.state._seen >= generation)
    if where == "vault":
        vault.enable([key.id])
        relay.wait_for_log(ISSUES, 3)
    else:
        edits.apply(with_both)
    pool = stored.runtime().pools["anthropic"]
    eventually(lambda: len(pool.keys) == 2 and any(pool.cooldowns.of(key.id) for key in pool.keys))
    for _ in range(4):
        assert ask(client).status == 200
    assert set(upstream.used_keys()) == {SECRETS[1]}


# --- without a relay around it ---


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Stored]:
    text = json.dumps(config("http://127.0.0.1:9", ["good-1"], sessions={"ttl": "1m"}))
    runtime = Runtime.of(parse(text, environ={}, where="relay.yaml"))
    found = Stored(tmp_path / "relay.db", {}, lambda: runtime, lambda issued: None)
    yield found
    found.close()


def test_what_is_over_is_dropped_while_the_relay_runs(alone: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_module, "INTERVAL", 0.01)
    monkeypatch.setattr(stored_module, "TIDY", 0.05)
    sessions = alone.runtime().sessions
    assert sessions is not None

    def left() -> list[tuple[object]]:
        with closing(sqlite3.connect(alone.state.path)) as connection:
            return connection.execute("SELECT session FROM sessions UNION ALL SELECT id FROM resources").fetchall()

    async def live() -> None:
        await alone.start()
        sessions.bind("talking", "anthropic", "id", time.time() + 30)
        for number in range(2):  # not only at the start
            sessions.bind(f"silent {number}", "anthropic", "id", time.time() - 61)
            alone.state.remember_resource(f"file_{number}", "anthropic", "id", time.time() - 1)
            async with asyncio.timeout(PATIENCE):
                while len(sessions) > 1 or left() != [("talking",)]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    asyncio.run(live())


def test_a_full_table_of_sessions_does_not_hold_up_requests(alone: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, now = alone.runtime().sessions, time.time()
    assert sessions is not None
    binding = {"provider": "anthropic", "key_id": "id", "home": "id", "moves": 1, "since": now, "used": now}
    with closing(State(alone.state.path)) as other:
        other.save_sessions(
            {"session": f"s{number}", **binding, "warm": 0.0, "cached": 0} for number in range(3 * SLICE)
        )
    seen = set[int]()

    async def at_once(work: Callable[..., object], *arguments: object) -> object:
        return work(*arguments)

    monkeypatch.setattr(alone, "in_thread", at_once)  # what happens beside is not the question

    async def work() -> None:
        while True:
            seen.add(len(sessions))
            await asyncio.sleep(0)

    async def live() -> None:
        others = asyncio.create_task(work())
        await alone.trade()
        others.cancel()

    asyncio.run(live())
    assert {SLICE, 2 * SLICE} <= seen
    assert len(sessions) == 3 * SLICE
