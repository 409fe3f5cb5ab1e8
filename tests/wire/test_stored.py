"""Keys of the vault, rests and sessions: what the running relay takes from its database, and leaves there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from claude_relay.store.keys import NewKey
from claude_relay.store.vault import Vault

from . import steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config
from .upstream import FakeUpstream

Base = Callable[[Relay], RawClient]
SECRETS = [f"sk-ant-api03-vault-secret-{i}" for i in range(1, 4)]
LENDS = "the vault now lends"


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
    relay.wait_for_log(LENDS, 1, 2.0)
    answer = ask(client)
    assert (answer.status, answer.header("x-relay-key")) == (200, added.alias)
    assert upstream.used_keys() == SECRETS[:1]
    vault.disable([added.id])
    relay.wait_for_log(LENDS, 2, 2.0)
    assert ask(client).status == 503
    assert not any(secret in relay.log_text() for secret in SECRETS)


def test_keys_of_both_kinds_take_turns(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=["sk-ant-api03-of-the-file"])
    Vault(relay.database, environ=os.environ).import_many([NewKey("anthropic", SECRETS[0])])
    relay.wait_for_log(LENDS, 1, 2.0)
    client = base_client(relay)
    for _ in range(4):
        assert ask(client).status == 200
    assert set(upstream.used_keys()) == {"sk-ant-api03-of-the-file", SECRETS[0]}


def test_a_rest_survives_the_relay(tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Base) -> None:
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
