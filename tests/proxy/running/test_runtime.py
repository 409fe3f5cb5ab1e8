"""A configuration in force, and another one in its place: pools and sessions live on."""

from __future__ import annotations

import pytest

from claude_relay.core.config import ConfigError, parse
from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Name, place_of
from claude_relay.proxy.running.runtime import Draft, Runtime

ONE = "providers: {anthropic: {preset: anthropic, keys: [one-key-of-mine, two-key-of-mine]}, glm: {preset: zhipu}}"
FEWER = "providers: {anthropic: {preset: anthropic, keys: [two-key-of-mine]}}"
VAULTS = {"anthropic": (Key("anthropic", "v1", "key-of-the-vault", "vault-1"),)}


def of(text: str, before: Runtime | None = None, **more: object) -> Runtime:
    return Runtime.of(parse(text, environ={}), before, environ={}, **more)  # type: ignore[arg-type]


def keys(runtime: Runtime, provider: str = "anthropic") -> list[tuple[str, str]]:
    return [(key.alias, key.secret) for key in runtime.pools[provider].keys]


def test_pools_of_a_configuration() -> None:
    runtime = of(ONE)
    assert keys(runtime) == [("k1", "one-key-of-mine"), ("k2", "two-key-of-mine")]
    assert keys(runtime, "glm") == []
    assert runtime.sessions is not None


def test_pools_and_sessions_live_on() -> None:
    before = of(ONE)
    before.pools["anthropic"].started(before.pools["anthropic"].keys[1], "claude-opus-4-5", 1.0)
    after = of(FEWER, before)
    assert after.pools["anthropic"] is before.pools["anthropic"]
    assert after.sessions is before.sessions
    assert "glm" not in after.pools
    assert [state.used for state in after.pools["anthropic"].state(2.0).keys] == [1]
    assert of(f"{FEWER}\nsessions: {{sticky: false}}", before).sessions is None


def test_keys_of_the_vault_come_after_those_of_the_file() -> None:
    runtime = of(ONE, issued=VAULTS)
    assert keys(runtime)[-1] == ("v1", "key-of-the-vault")
    runtime.issue({})
    assert len(keys(runtime)) == 2
    same = {"anthropic": (Key("anthropic", "v1", "one-key-of-mine", "vault-1"),)}
    runtime.issue(same)
    assert keys(runtime)[0] == ("k1", "one-key-of-mine")
    assert len(keys(runtime)) == 2


def test_a_provider_without_a_key_gets_the_vaults() -> None:
    text = "providers: {anthropic: {base_url: 'http://127.0.0.1:1', keys: [none]}}"
    assert len(keys(of(text))) == 1
    assert keys(of(text, issued=VAULTS)) == [("v1", "key-of-the-vault")]


def test_keys_go_by_the_names_that_are_remembered() -> None:
    draft = Draft.of(parse(ONE, environ={}), {})
    first = draft.own["anthropic"][0]
    runtime = Runtime.from_draft(draft, names={place_of(first): Name("k7", "id")})
    assert keys(runtime)[0] == ("k7", "one-key-of-mine")


@pytest.mark.parametrize(
    ("host", "port", "claimed"),
    [
        ("api.anthropic.com", 443, True),
        ("API.Anthropic.com", 8443, True),
        ("xapi.anthropic.com", 443, False),
        ("api.anthropic.com.evil.example", 443, False),
    ],
)
def test_which_hosts_are_the_relays(host: str, port: int, claimed: bool) -> None:
    assert of(ONE).claims(host, port) is claimed


def test_what_cannot_be_used_changes_nothing() -> None:
    before = of(ONE)
    with pytest.raises(ConfigError):
        Runtime.of(
            parse("providers: {a: {base_url: 'https://h', format: /no/such/module.py}}", environ={}), before, environ={}
        )
    assert len(keys(before)) == 2
