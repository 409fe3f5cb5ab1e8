"""A key that is chosen while the relay runs: the next request goes to it, and to another one when it cannot be used."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from claude_relay.core.config import parse
from claude_relay.store.shared.all_keys import Keyring
from claude_relay.store.shared.relays import running
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import eventually

from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream

SECRETS = [f"sk-ant-api03-to-choose-{i}-0123456789" for i in range(1, 4)]


def keyring_of(relay: Relay) -> Keyring:
    read = parse(relay.config_file.read_bytes(), environ={}, where="relay.yaml", folder=relay.folder)
    vault = Vault(relay.database, environ=os.environ)
    return Keyring(read, vault, running(relay.database, time.time()), Aliases(relay.database))


def wait_for(relay: Relay, chosen: str) -> None:
    pools = relay.master.addons.get("claude_relay").stored.runtime().pools
    eventually(lambda: relay.on_loop(lambda: pools["anthropic"].chosen) == chosen, lambda: f"never {chosen!r}")


def used(client: RawClient, session: str = "") -> str | None:
    headers = [("x-claude-code-session-id", session)] if session else []
    answer = client.ask("POST", "/v1/messages", body=messages_body(), headers=headers)
    assert answer.status == 200
    return answer.header("x-relay-key")


def test_a_key_of_the_vault(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    relay = start(config(providers={"anthropic": provider(upstream.url)}))
    client, keyring = base_client(relay), keyring_of(relay)
    keyring.vault.import_many([NewKey("anthropic", secret) for secret in SECRETS])
    relay.wait_for_log("keys that the vault issues")
    assert [used(client) for _ in range(3)] == ["v1", "v2", "v3"]
    assert used(client, "warm") == "v1"
    second = next(key for key in keyring.every() if key.alias == "v2")
    keyring.choose("anthropic", second)
    wait_for(relay, second.id)
    assert [used(client) for _ in range(3)] == ["v2"] * 3
    assert used(client, "warm") == "v2"
    assert next(key for key in keyring.every() if key.chosen).alias == "v2"
    keyring.vault.disable([second.id])
    relay.wait_for_log("keys that the vault issues", 2)
    assert used(client) in ("v1", "v3")


def test_a_key_of_the_configuration(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    relay = start(keys=SECRETS)
    client, keyring = base_client(relay), keyring_of(relay)
    third = next(key for key in keyring.every() if key.alias == "k3")
    assert keyring.choose("anthropic", third)
    assert not keyring.choose("anthropic", third)
    pools = lambda: relay.master.addons.get("claude_relay").stored.runtime().pools["anthropic"]  # noqa: E731
    wait_for(relay, pools().keys[2].id)
    assert [used(client) for _ in range(2)] == ["k3"] * 2
    assert next(key for key in keyring_of(relay).every() if key.chosen).alias == "k3"
    keyring.choose("anthropic", None)
    wait_for(relay, "")
    assert {used(client) for _ in range(3)} == {"k1", "k2", "k3"}
