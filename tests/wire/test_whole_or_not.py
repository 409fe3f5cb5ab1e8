"""An edit applies as a whole or not at all, and nothing that goes wrong with one ends what looks at the file."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import eventually

from . import steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, _yaml, config, free_ports, provider
from .upstream import FakeUpstream

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 5)]
REFUSED = "the relay goes on with the last good configuration"
APPLIED = "was read again and applies from now on"
FORMAT = """
def request(*args): ...
def answer(*args): ...
def stream(*args): ...
def error(*args): ...
"""

Base = Callable[[Relay], RawClient]


def two_providers(url: str, *keys: str, **more: Any) -> dict[str, Any]:
    """The second has a format of its own; the first comes first."""
    providers = {"first": provider(url, keys), "second": provider(url, ["k"], format="mine.py")}
    return config(providers=providers, routes=[{"to": ["first"]}], **more)


def in_force(relay: Relay) -> dict[str, Any]:
    """All that an edit may change."""

    def look() -> dict[str, Any]:
        addon = relay.master.addons.get("claude_relay")
        runtime, reporting = addon.runtime, addon.parts.reporting
        return {
            "config": runtime.config,
            "pools": {n: (p.keys, p.strategy, p.passthrough) for n, p in runtime.pools.items()},
            "ttl": runtime.sessions.ttl,
            "budgets": reporting.budgets,
            "reporting": reporting.config,
            "notices": reporting.notifier._settings,
            "upkeep": reporting.upkeep,
            "hosts": tuple(relay.master.options.allow_hosts),
            "default": addon.decider.default,
        }

    return relay.on_loop(look)  # type: ignore[no-any-return]


def ask(client: RawClient) -> Any:
    return client.ask("POST", "/v1/messages", body=messages_body())


@pytest.fixture
def running(start: StartRelay, tmp_path: Path, upstream: FakeUpstream) -> Relay:
    (tmp_path / "mine.py").write_text(FORMAT)
    return start(two_providers(upstream.url, KEYS[0], sessions={"ttl": "1h"}))


CHANGED: dict[str, Any] = {
    "sessions": {"ttl": "5m"},
    "budgets": [{"per": "day", "usd": 5}],
    "notices": {"at_most": 3},
    "ledger": {"keep": "7d"},
    "intercept": {"hosts": ["api.anthropic.com", "claude.example"]},
}


@pytest.mark.parametrize("broken", ["def broken(:", "raise SystemExit", "1 / 0", "", None], ids=str)
def test_a_format_module_that_breaks(
    running: Relay, upstream: FakeUpstream, base_client: Base, broken: str | None
) -> None:
    """It comes last, when all else of the new configuration is known to be good."""
    module, before = running.folder / "mine.py", in_force(running)
    module.unlink() if broken is None else module.write_text(broken)
    text = two_providers(upstream.url, *KEYS[1:3], **CHANGED)
    text["providers"]["first"] |= {"strategy": "random", "empty_pool": "reject"}
    running.write_config(text)
    running.wait_for_log(REFUSED)
    assert in_force(running) == before
    client = base_client(running)
    assert [ask(client).header("x-relay-key") for _ in range(2)] == ["k1", "k1"]
    # the vault is followed all the same
    with contextlib.closing(Vault(running.database, environ=os.environ)) as vault:
        vault.import_many([NewKey("first", KEYS[3])])
    running.wait_for_log("keys that the vault issues: 1")
    assert {ask(client).status for _ in range(2)} == {200}
    assert set(upstream.used_keys()) == {KEYS[0], KEYS[3]}
    # and the next good edit applies
    module.write_text(FORMAT)
    running.write_config(text)
    running.wait_for_log(APPLIED)
    assert {ask(client).status for _ in range(8)} == {200}
    assert in_force(running)["ttl"] == 300


@pytest.mark.parametrize(
    "text",
    [
        "providers: {first: [}\n",
        "sessions: {ttl: 5m}\nporxy: 1\n",
        "sessions: {ttl: 5m}\nroutes: [{to: [nobody]}]\n",
        "- a list\n",
        "",
        "\n \n",
        "# all of it\n# is a comment\n",
        "---\n",
        "{}\n",
        "null\n",
        None,
    ],
)
def test_a_file_that_is_refused(running: Relay, upstream: FakeUpstream, base_client: Base, text: str | None) -> None:
    """An emptied one, too; one that is gone, or cannot be read."""
    before = in_force(running)
    if text is None:
        running.config_file.unlink()
        running.config_file.mkdir()
    else:
        running.write_config(text)
    said = running.wait_for_log(REFUSED)
    assert str(running.config_file) in said
    assert in_force(running) == before
    client = base_client(running)
    assert ask(client).header("x-relay-key") == "k1"
    if text is None:
        running.config_file.rmdir()
    running.write_config(two_providers(upstream.url, KEYS[1]))
    running.wait_for_log(APPLIED)
    assert ask(client).status == 200
    assert upstream.used_keys() == KEYS[:2]


def test_a_truncated_file_is_not_read_before_it_is_written(running: Relay, upstream: FakeUpstream) -> None:
    """An editor that empties the file first and writes it in pieces: nothing is said until it is whole."""
    text = _yaml(two_providers(upstream.url, KEYS[1]), running.proxy_port, running.base_port)
    size = len(text) // 12 + 1
    with running.config_file.open("w") as file:
        for start in range(0, len(text), size):
            time.sleep(0.1)  # less than the file must stay as it is
            file.write(text[start : start + size])
            file.flush()
    running.wait_for_log(APPLIED)
    assert REFUSED not in running.log_text()


BLOCKS = """\
listen: {{proxy: 127.0.0.1:{proxy}, base_url: 127.0.0.1:{base}, panel: null, status: null}}
providers:
  first:
    format: anthropic
    base_url: {url}
    keys:
      - {keys[0]}
      - {keys[1]}
  second:
    format: mine.py
    base_url: {url}
    keys: [k]
routes:
  - match: {{model: "nothing-*"}}
    to: [second]
  - to: [first]
"""


@pytest.fixture
def blocks(running: Relay, upstream: FakeUpstream) -> str:
    """The file in force, in the style in which people write."""
    text = BLOCKS.format(proxy=running.proxy_port, base=running.base_port, url=upstream.url, keys=KEYS)
    running.config_file.write_text(text)
    running.wait_for_log(APPLIED)
    return text


@pytest.mark.parametrize("lost", range(1, len(BLOCKS.splitlines())))
def test_a_file_that_was_cut_off_is_refused(
    running: Relay, blocks: str, upstream: FakeUpstream, base_client: Base, lost: int
) -> None:
    """Also where what is left is good YAML: its defaults would lead elsewhere."""
    before, cut = in_force(running), "".join(blocks.splitlines(keepends=True)[:-lost])
    running.config_file.write_text(cut)
    running.wait_for_log(REFUSED)
    assert in_force(running) == before
    assert ask(base_client(running)).header("x-relay-key") in ("k1", "k2")
    running.config_file.write_text(blocks)
    running.wait_for_log(APPLIED, 2)


def test_lines_at_the_end_may_be_taken_away(running: Relay, blocks: str) -> None:
    """Settings that lead no request elsewhere, and whatever was added before."""
    more = blocks + "retry: {attempts: 3}\n"
    whole = more + "sessions: {ttl: 120}\nshutdown: 4m\n"
    for n, edit in enumerate((blocks + "  - to: [second]\n", blocks, whole, more)):
        running.config_file.write_text(edit)
        running.wait_for_log(APPLIED, n + 2)
    assert in_force(running)["config"].retry.attempts == 3
    running.config_file.write_text(whole)
    running.wait_for_log(APPLIED, 6)
    running.config_file.write_text(whole[: -len("m\n")])
    assert "only the beginning" in running.wait_for_log(REFUSED)
    assert in_force(running)["config"].shutdown == 240


def test_a_pipe_in_its_place_is_not_read(running: Relay, upstream: FakeUpstream) -> None:
    """Nobody may ever write it: reading it would be the last that the watcher does."""
    running.config_file.unlink()
    os.mkfifo(running.config_file)
    assert "is no file any more" in running.wait_for_log(REFUSED)
    running.config_file.unlink()
    running.write_config(two_providers(upstream.url, KEYS[1]))
    running.wait_for_log(APPLIED)


def test_an_empty_file_at_the_start_means_the_defaults(start: StartRelay, upstream: FakeUpstream) -> None:
    """It may stay empty, and be filled, but not be emptied again."""
    ports = free_ports(2)
    modes = [f"regular@127.0.0.1:{ports[0]}", f"reverse:http://api.anthropic.com:443@127.0.0.1:{ports[1]}"]
    relay = start("# nothing\n", relay={"settings": {"mode": modes}, "ports": tuple(ports)})
    for n, text in enumerate(("# still nothing\n", two_providers(upstream.url, KEYS[0]) | {"routes": []})):
        if n:
            (relay.folder / "mine.py").write_text(FORMAT)
        relay.write_config(text)
        relay.wait_for_log(APPLIED, n + 1)
    before = in_force(relay)
    relay.write_config("# nothing\n")
    assert "says nothing any more" in relay.wait_for_log(REFUSED)
    assert in_force(relay) == before


def test_the_command_default_ends_with_its_provider(running: Relay, upstream: FakeUpstream, base_client: Base) -> None:
    running.on_loop(lambda: running.master.commands.call("relay.default", "first"))
    running.write_config(config(providers={"other": provider(upstream.url, KEYS[1:2])}))
    running.wait_for_log(APPLIED)
    assert in_force(running)["default"] is None
    answer = ask(base_client(running))
    assert (answer.status, answer.header("x-relay-provider")) == (200, "other")
    assert "relay.default first: there is no such provider any more" in running.log_text()


def test_what_nobody_expected_changes_nothing_either(
    running: Relay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The onlookers fail to follow: the old configuration stays, the watcher too, and it is said once."""
    running.expect_error("watching ")
    before, follow = in_force(running), Reporting.change
    follows: list[bool] = []

    def change(reporting: Reporting, new: Any) -> None:
        follow(reporting, new)
        if new.sessions.ttl == 300 and not follows:
            raise OSError("no more threads")

    monkeypatch.setattr(Reporting, "change", change)
    running.write_config(two_providers(upstream.url, KEYS[1], sessions={"ttl": "5m"}, intercept=CHANGED["intercept"]))
    running.wait_for_log("an unexpected OSError")
    after = in_force(running)
    assert after == before
    assert ask(base_client(running)).header("x-relay-key") == "k1"
    follows.append(True)
    running.write_config(two_providers(upstream.url, KEYS[1], sessions={"ttl": "5m"}))
    running.wait_for_log(APPLIED)
    assert ask(base_client(running)).status == 200
    assert upstream.used_keys() == KEYS[:2]


def test_cooldowns_of_keys_that_come_with_an_edit(running: Relay, upstream: FakeUpstream, base_client: Base) -> None:
    """A key that was in the file before, and rests: its cooldown is in the database only, when the provider comes back."""
    upstream.for_key(KEYS[0], steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "300")]))
    client = base_client(running)
    assert ask(client).status == 429
    with contextlib.closing(State(running.database)) as state:
        eventually(state.load_cooldowns)
    other = config(providers={"other": provider(upstream.url, KEYS[1:2])})
    running.write_config(other)
    running.wait_for_log(APPLIED)
    running.write_config(two_providers(upstream.url, *KEYS[:2]))
    running.wait_for_log(APPLIED, 2)
    first = running.master.addons.get("claude_relay").runtime.pools["first"]
    eventually(lambda: running.on_loop(lambda: first.is_in_cooldown(first.keys[0], "", time.time())))
    before = len(upstream.requests)
    assert [ask(client).status for _ in range(3)] == [200] * 3
    assert set(upstream.used_keys()[before:]) == {KEYS[1]}
