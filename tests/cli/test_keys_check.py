"""`keys check` and `keys prune` against providers on this machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.console.taking_back import applied, changes
from claude_relay.cli.keys import keys
from claude_relay.core.config import Provider
from claude_relay.core.exchange import Key, Outcome
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from claude_relay.upstream.queries import query
from upstream.providers import ANSWERS, Upstream, error, secret, serving, tunnelling
from upstream.test_checking import EXPECTED

pytestmark = pytest.mark.usefixtures("cheap_secrets")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving(Upstream()) as upstream:
        yield upstream


@pytest.fixture
def room(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a provider on this machine and a vault with one key of each kind."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    (tmp_path / "relay.yaml").write_text(
        f"providers:\n  p: {{base_url: '{upstream.url}', keys: ['${{CONFIGURED}}']}}\n  other: {{base_url: '{upstream.url}'}}\n"
    )
    with closing(Vault(tmp_path / "relay.db", environ={})) as vault:
        vault.import_many([NewKey("p", secret(name)) for name in ANSWERS] + [NewKey("gone", secret("valid"))])
    return tmp_path


def run(room: Path, *words: str, **environ: str) -> Result:
    variables = {"RELAY_CONFIG": str(room / "relay.yaml"), "RELAY_SECRET": None, "CONFIGURED": None, "COLUMNS": "200"}
    result = CliRunner().invoke(keys, words, env=variables | environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "0123456789abcdef" not in result.output
    return result


def states(room: Path) -> list[str]:
    with closing(Vault(room / "relay.db", environ={})) as vault:
        return [key.states(time.time())[0] for key in vault.list() if key.provider == "p"]


def test_check(room: Path, upstream: Upstream) -> None:
    result = run(room, "check", "--all", "--json", CONFIGURED=secret("valid") + "-too")
    assert result.exit_code == 1
    found = {row["name"]: row for row in json.loads(result.stdout)}
    assert [found[f"p/v{n}"]["status"] for n in range(1, 13)] == list(EXPECTED.values())
    assert found["p/k1"]["status"] == "valid"
    assert found["gone/v1"] | {"id": ""} == {
        "name": "gone/v1",
        "id": "",
        "status": "unclear",
        "until": None,
        "reason": "relay.yaml has no provider of this name",
    }
    assert found["p/v2"]["until"].endswith("Z")
    assert len(upstream.requests) == 13
    assert states(room) == list(EXPECTED.values())


def test_check_goes_out_as_the_relay_does(room: Path) -> None:
    text = f"listen: {{proxy: '127.0.0.1:9'}}\nproviders: {{p: {{base_url: 'https://h.invalid', keys: [{secret('valid')}]}}}}"
    (room / "relay.yaml").write_text(text)
    with tunnelling(status="407 Who are you?") as (port, heard):
        url = f"http://user:hunter2@127.0.0.1:{port}"
        [found] = json.loads(run(room, "check", "p/k1", "--json", HTTPS_PROXY=url).stdout)
        led = applied(changes({"HTTPS_PROXY": "http://127.0.0.1:9"}, {"HTTPS_PROXY": url}), {"HTTPS_PROXY": url})
        [from_led_shell] = json.loads(run(room, "check", "p/k1", "--json", **led).stdout)
        [near] = json.loads(run(room, "check", "p/k1", "--json", HTTPS_PROXY="http://localhost:9").stdout)
    assert found["reason"] == f"proxy: the proxy answered 407, through http://127.0.0.1:{port} (HTTPS_PROXY)"
    assert from_led_shell["reason"] == found["reason"]
    assert near["reason"] == "connect: no such host"  # the proxy is the relay itself: the way was a direct one
    assert len(heard) == 2


def test_check_shows_a_table(room: Path) -> None:
    result = run(room, "check", "v1", "v2", "p/v5", "--provider", "p")
    assert result.exit_code == 1
    assert "limited until " in result.stdout
    assert "invalid x-api-key" in result.stdout
    assert run(room, "check", "v1", "v2", "--provider", "p").exit_code == 0
    assert (
        run(room, "check", "--all", "--provider", "other").stdout
        == "There is no key to check. See: scripts/keys list\n"
    )


def test_a_disabled_key_can_be_checked_and_stays_disabled(room: Path) -> None:
    run(room, "disable", "p/v1")
    assert run(room, "check", "p/v1").exit_code == 0
    assert states(room)[0] == "disabled"


def test_what_a_provider_repeats_of_a_key_is_not_told(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = "my-short-gate-key"
    body = error("authentication_error", f"the key {short} and {secret('echo')} are unknown")
    monkeypatch.setitem(ANSWERS, "valid", (401, {}, body))
    with closing(Vault(room / "relay.db", environ={})) as vault:
        added = vault.add(NewKey("p", short)).added[0]
    result = run(room, "check", added.id, "--json")
    assert "the key … and … are unknown" in result.stdout
    assert short not in result.stdout + run(room, "list").stdout


def test_a_damaged_key_is_told_and_the_others_are_checked(room: Path) -> None:
    with closing(Vault(room / "relay.db", environ={})) as vault, vault.file.writing() as connection:
        connection.execute("UPDATE keys SET secret = zeroblob(60) WHERE provider = 'p' AND alias = 'v2'")
    result = run(room, "check", "v1", "v2", "--provider", "p", "--json")
    assert [row["status"] for row in json.loads(result.stdout)] == ["valid", "unclear"]
    assert "damaged" in result.stdout


def test_a_valid_key_is_no_longer_out(room: Path) -> None:
    with closing(Vault(room / "relay.db", environ={})) as vault, closing(State(room / "relay.db")) as state:
        plain = {"provider": "p", "scope": "", "since": 1.0, "until": None, "opens": None, "reason": "401"}
        cooldown = plain | {"careful": 1, "stated": 0, "streak": 0, "lifted": -1.0}
        state.save_cooldowns([cooldown | {"key_id": key.id} for key in vault.list() if key.alias in ("v1", "v5")])
    assert [states(room)[n] for n in (0, 4)] == ["out", "out"]
    run(room, "check", "p/v1", "p/v5")
    assert [states(room)[n] for n in (0, 4)] == ["valid", "out"]


def test_prune(room: Path) -> None:
    result = run(room, "prune", "--all", "--dry-run")
    assert result.stdout == "3 keys revoked: p/v5, p/v6, p/v12\n"
    assert "removed" not in states(room)
    result = run(room, "prune", "--all")
    assert result.stdout == "3 keys removed: p/v5, p/v6, p/v12 (10 left as they were)\n"
    assert states(room).count("removed") == 3
    assert run(room, "restore", "--all").stdout.startswith("3 keys restored")


def test_an_interruption_keeps_what_was_found(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def once(provider: Provider, key: Key, *, timeout: float) -> Outcome:
        asked.append(key.alias)
        if len(asked) > 1:
            raise KeyboardInterrupt
        return query(provider, key, timeout=timeout)

    monkeypatch.setattr("claude_relay.upstream.checking.query", once)
    result = run(room, "check", "p/v1", "p/v2", "--parallel", "1")
    assert result.exit_code == 1
    assert "Aborted!" in result.stderr
    assert states(room)[:2] == ["valid", "unchecked"]
