"""relay.yaml while the relay runs, and what happens to starts that cannot be."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waiting import PATIENCE, eventually

from . import claude, steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, RelayProcess, _yaml, config, free_ports, provider, rows
from .upstream import FakeUpstream, Signal

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 7)]
STREAM = b"".join(claude.events())
EARLY, LATE = claude.events()[:4], claude.events()[4:]

Base = Callable[[Relay], RawClient]


def ask(client: RawClient, *, stream: bool = False, **more: Any) -> Answer:
    return client.ask("POST", "/v1/messages", body=messages_body(stream=stream, **more))


class Edits:
    """Edits of a running relay's file; each waits until the relay has said what it thinks of it."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.applied = self.refused = 0

    def apply(self, text: dict[str, Any] | str) -> None:
        self.applied += 1
        self.relay.write_config(text)
        self.relay.wait_for_log("was read again and applies from now on", self.applied)

    def refuse(self, text: dict[str, Any] | str) -> str:
        """The complaint."""
        self.refused += 1
        self.relay.write_config(text)
        self.relay.wait_for_log("the relay goes on with the last good configuration", self.refused)
        return [r for r in self.relay.logs.records if "last good configuration" in r.getMessage()][-1].getMessage()


# -- good edits


def test_keys_come_and_go(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS[:1])
    edits, client = Edits(relay), base_client(relay)
    assert ask(client).header("x-relay-key") == "k1"
    edits.apply(config(upstream.url, KEYS[:2]))
    assert {ask(client).header("x-relay-key") for _ in range(4)} == {"k1", "k2"}
    edits.apply(config(upstream.url, KEYS[1:2]))
    assert [ask(client).header("x-relay-key") for _ in range(3)] == ["k2"] * 3
    assert upstream.used_keys()[-3:] == [KEYS[1]] * 3
    assert set(upstream.used_keys()) == set(KEYS[:2])
    edits.apply(config(upstream.url, []))
    assert ask(client).status in (401, 503)


def test_another_route(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    with FakeUpstream() as second:
        providers = {"one": provider(upstream.url, KEYS[:1]), "two": provider(second.url, KEYS[1:2])}
        relay = start(config(providers=providers))
        edits, client = Edits(relay), base_client(relay)
        assert ask(client).header("x-relay-provider") == "one"
        edits.apply(config(providers=providers, routes=[{"to": ["two"]}]))
        assert ask(client).header("x-relay-provider") == "two"
        haiku = [{"match": {"model": "claude-haiku-*"}, "to": ["one"]}, {"to": ["two"]}]
        edits.apply(config(providers=providers, routes=haiku))
        assert ask(client, model="claude-haiku-5").header("x-relay-provider") == "one"
        assert ask(client).header("x-relay-provider") == "two"
        edits.apply(config(second.url, KEYS[2:3]))
        assert ask(client).header("x-relay-provider") == "anthropic"
        assert second.used_keys()[-1] == KEYS[2]


def test_another_retry(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.default = steps.status(500)
    relay = start(keys=KEYS, retry={"attempts": 1, "first_byte": "600s"})
    edits, client = Edits(relay), base_client(relay)
    ask(client)
    assert len(upstream.requests) == 1
    edits.apply(config(upstream.url, KEYS, retry={"attempts": 2, "max_wait": "500ms", "first_byte": "300ms"}))
    ask(client)
    assert len(upstream.requests) == 3
    upstream.default = steps.stall_before_head
    ask(client, stream=True)


def test_another_intercepted_host(
    start: StartRelay, upstream: FakeUpstream, stack: contextlib.ExitStack, authority: Any
) -> None:
    """What is intercepted follows the file, for connections made from then on."""
    other = stack.enter_context(FakeUpstream(authority.server_context("claude.example")))
    relay = start(keys=KEYS[:1], relay={"hosts": {"claude.example:443": other.port}})
    edits = Edits(relay)
    with RawClient.through(relay.proxy_port, authority.ca_file, "claude.example") as client:
        assert client.ask("GET", "/v1/models", key="sk-mine").header("x-relay-key") is None
    edits.apply(config(upstream.url, KEYS[:1], intercept={"hosts": ["api.anthropic.com", "claude.example"]}))
    with RawClient.through(relay.proxy_port, relay.ca_file, "claude.example") as client:
        assert client.ask("GET", "/v1/models").header("x-relay-key") == "k1"
    assert other.used_keys() == ["sk-mine"]


def test_requests_under_way_go_on(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """A stream, a held start, a request before its head: each began before the edit and ends as if there had been none."""
    relay = start(keys=KEYS[:1])
    edits, go = Edits(relay), Signal("the test's word")
    upstream.script(
        steps.stream([*EARLY, go, *LATE]),
        steps.stream([claude.start(), go, *claude.events()[1:]]),
        steps.after(go, steps.message("late")),
    )
    clients = [base_client(relay) for _ in range(3)]
    for n, client in enumerate(clients):
        client.post(stream=n < 2)
        upstream.wait_for_requests(n + 1)
    clients[0].head()
    clients[0].until(b"Hel")
    with FakeUpstream() as second:
        edits.apply(config(providers={"new": provider(second.url, KEYS[1:2])}))
        assert ask(base_client(relay)).header("x-relay-provider") == "new"
        assert clients[0].quiet()
        go.set()
        while clients[0].piece() is not None:
            pass
        assert (clients[0].current.body, clients[0].current.complete) == (STREAM, True)
        found = [client.answer() for client in clients[1:]]
        assert [(a.status, a.complete, a.header("x-relay-provider")) for a in found] == [(200, True, "anthropic")] * 2
        assert ask(clients[0]).header("x-relay-provider") == "new"  # on the same connection
        assert upstream.used_keys() == [KEYS[0]] * 3
        assert [r["finished"] for r in rows(relay.database)] == ["complete"] * 5


def test_a_request_that_is_retried_over_an_edit(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """Even when its provider is gone by then."""
    relay = start(keys=KEYS[:2])
    edits, go = Edits(relay), Signal("the test's word")
    upstream.script(steps.after(go, steps.status(500)), steps.stream())
    client = base_client(relay)
    client.post(stream=True)
    upstream.wait_for_requests(1)
    with FakeUpstream() as second:
        edits.apply(config(providers={"new": provider(second.url, KEYS[2:3])}))
        go.set()
        answer = client.answer()
    assert (answer.status, answer.body) == (200, STREAM)


def test_a_steady_load_over_many_edits(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS[:2])
    edits, found, stop = Edits(relay), list[Answer](), threading.Event()
    clients = [base_client(relay) for _ in range(2)]

    def load(client: RawClient) -> None:
        while not stop.is_set():
            found.append(ask(client, stream=len(found) % 2 == 0))

    threads = [threading.Thread(target=load, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    try:
        for count in (1, 3, 2):
            edits.apply(config(upstream.url, KEYS[:count]))
            enough = len(found) + 6
            eventually(lambda enough=enough: len(found) >= enough)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert {(a.status, a.complete) for a in found} == {(200, True)}
    assert len(rows(relay.database)) == len(found)


def test_cooldowns_survive_an_edit(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """A key that rests keeps resting, under whatever alias; one that is out stays out."""
    upstream.for_key(KEYS[0], steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "60")]))
    upstream.for_key(KEYS[1], steps.status(401, "authentication_error", "invalid x-api-key"))
    relay = start(keys=KEYS[:3])
    edits, client = Edits(relay), base_client(relay)
    assert [ask(client).status for _ in range(3)] == [200] * 3
    assert {KEYS[0], KEYS[1]} <= set(upstream.used_keys())
    edits.apply(config(upstream.url, [KEYS[3], KEYS[2], KEYS[1], KEYS[0]], retry={"attempts": 4}))
    before = len(upstream.requests)
    assert [ask(client).status for _ in range(6)] == [200] * 6
    assert set(upstream.used_keys()[before:]) == {KEYS[2], KEYS[3]}
    edits.apply(config(upstream.url, KEYS[:2]))
    answer = ask(client)
    assert answer.status == 429
    assert 50 <= int(answer.header("retry-after") or 0) <= 60
    assert len(upstream.requests) == before + 6


# -- broken edits


BROKEN: dict[str, tuple[str, list[str]]] = {
    "no yaml": ("providers: {anthropic: [}\n", [":1: "]),
    "unknown key": ("listen:\n  proxy: 127.0.0.1:8080\n  porxy: 1\n", [":3: ", "porxy"]),
    "wrong value": ("retry:\n  attempts: many\n", [":2: ", "attempts"]),
    "unset variable": ('database: "${NOT_SET_ANYWHERE}/relay.db"\n', [":1: ", "NOT_SET_ANYWHERE"]),
    "two problems": ("retry:\n  attempts: many\n  idle: soon\n", [":2: ", ":3: "]),
    "unknown provider": ("routes:\n  - to: [nobody]\n", [":2: ", "routes"]),
    "no text": ("\ud800\udcff", []),
}


@pytest.mark.parametrize(("text", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_edit_changes_nothing(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, text: str, words: list[str]
) -> None:
    relay = start(keys=KEYS[:1])
    edits, client = Edits(relay), base_client(relay)
    if words:
        said = edits.refuse(text)
    else:
        fresh = relay.config_file.with_suffix(".raw")
        fresh.write_bytes(b"retry: {attempts: 3} # \xff\xfe\n")
        fresh.replace(relay.config_file)
        said = relay.wait_for_log("last good configuration")
    assert str(relay.config_file) in said
    for word in words:
        assert word in said, said
    record = next(r for r in relay.logs.records if "last good configuration" in r.getMessage())
    assert record.levelname in ("WARNING", "ERROR")
    answer = ask(client)
    assert (answer.status, answer.header("x-relay-key")) == (200, "k1")
    edits.apply(config(upstream.url, KEYS[1:2]))
    assert ask(client).status == 200
    assert upstream.used_keys() == KEYS[:2]


def test_it_is_said_once(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS[:1])
    edits = Edits(relay)
    edits.refuse("retry: {attempts: many}\n")
    edits.refuse("retry: {attempts: few}\n")
    assert len([r for r in relay.logs.records if "last good configuration" in r.getMessage()]) == 2


def test_a_file_that_goes_away_and_comes_back(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS[:1])
    edits, client = Edits(relay), base_client(relay)
    kept = relay.config_file.with_suffix(".kept")
    relay.config_file.rename(kept)
    relay.wait_for_log("last good configuration")
    assert ask(client).status == 200
    edits.apply(config(upstream.url, KEYS[1:2]))
    assert ask(client).status == 200
    assert upstream.used_keys() == KEYS[:2]


def test_a_file_written_in_place_in_two_goes(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """An editor that truncates first: half a file is refused or not even seen, the whole one applies."""
    relay = start(keys=KEYS[:1])
    client = base_client(relay)
    text = _yaml(config(upstream.url, KEYS[1:2]), relay.proxy_port, relay.base_port)
    with relay.config_file.open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        relay.wait_for_log("last good configuration")
        assert ask(client).status == 200
        file.write(text[len(text) // 2 :])
    relay.wait_for_log("was read again")
    assert ask(client).status == 200
    assert upstream.used_keys() == KEYS[:2]


def test_a_link_that_leads_elsewhere(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """As mounted configuration does it: the link is swung to another file."""
    relay = start(keys=KEYS[:1])
    client = base_client(relay)
    target = relay.folder / "second.yaml"
    target.write_text(_yaml(config(upstream.url, KEYS[1:2]), relay.proxy_port, relay.base_port))
    link = relay.folder / "link"
    link.symlink_to(target)
    os.replace(link, relay.config_file)
    relay.wait_for_log("was read again")
    ask(client)
    assert upstream.used_keys() == KEYS[1:2]


# -- what needs a restart


@pytest.mark.parametrize(
    ("section", "value", "word"),
    [("listen", {"proxy": "127.0.0.1:1"}, "listen"), ("database", "other.db", "database")],
    ids=["listen", "database"],
)
def test_what_waits_for_a_restart(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, section: str, value: Any, word: str
) -> None:
    relay = start(keys=KEYS[:1])
    edits, client = Edits(relay), base_client(relay)
    edits.apply(config(upstream.url, KEYS[1:2], **{section: value}))
    said = [line for line in relay.log_text().splitlines() if "started again" in line]
    assert len(said) == 1, said
    assert word in said[0]
    assert ask(client).status == 200
    with RawClient(relay.proxy_port):
        pass
    assert upstream.used_keys() == KEYS[1:2]  # all else applies
    assert len(rows(relay.database)) == 1
    assert not (relay.folder / "other.db").exists()
    edits.apply(config(upstream.url, KEYS[2:3], **{section: value}))
    edits.apply(config(upstream.url, KEYS[2:3]))
    said = [line for line in relay.log_text().splitlines() if "started again" in line]
    assert len(said) == 2, "still so after the second edit, no more after the third"


# -- starts


def run(relay: RelayProcess) -> subprocess.Popen[bytes]:
    """Starts the relay without waiting for its ports, which may never come."""
    with relay.output_file.open("ab") as output:
        relay.process = subprocess.Popen(
            relay.command, cwd=relay.cwd, env=relay.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    return relay.process


@pytest.fixture
def process(tmp_path: Path, confdir: Path) -> Iterator[Callable[..., RelayProcess]]:
    made: list[RelayProcess] = []

    def make(text: Any, **more: Any) -> RelayProcess:
        made.append(RelayProcess(tmp_path, confdir, text, **more))
        return made[-1]

    yield make
    for relay in made:
        if hasattr(relay, "process") and relay.process.poll() is None:
            relay.kill()


def test_a_start_with_a_broken_file(process: Callable[..., RelayProcess]) -> None:
    relay = process("retry:\n  attempts: many\n  idel: 3s\n")
    assert run(relay).wait(PATIENCE) != 0
    for words in ("relay.yaml", ":2: ", "attempts", ":3: ", "idel"):
        assert words in relay.output()
    assert "Traceback" not in relay.output()


def test_a_start_without_its_file(process: Callable[..., RelayProcess], tmp_path: Path) -> None:
    """One that was named must be there."""
    relay = process("x: 1")
    relay.config_file.unlink()
    assert run(relay).wait(PATIENCE) != 0
    assert str(relay.config_file) in relay.output()
    assert "Traceback" not in relay.output()


@contextlib.contextmanager
def taken(port: int, host: str = "127.0.0.1") -> Iterator[None]:
    """Another program's port. Taken by somebody else already is just as good."""
    with contextlib.closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            sock.bind((host, port))
            sock.listen()
        yield


def test_the_default_port_may_be_anothers(process: Callable[..., RelayProcess], upstream: FakeUpstream) -> None:
    relay = process(config(upstream.url, KEYS[:1]))
    with taken(8080, "0.0.0.0"), relay:
        with RawClient(relay.base_port) as client:
            assert ask(client).status == 200
        with RawClient.through(relay.proxy_port, relay.ca_file) as client:
            assert ask(client).status == 200
    assert "8080" not in relay.output()
    assert "rror" not in relay.output()
    assert relay.process.returncode == 0


def test_a_taken_port_ends_the_start(process: Callable[..., RelayProcess], upstream: FakeUpstream) -> None:
    relay = process(config(upstream.url, KEYS[:1]))
    with taken(relay.base_port):
        assert run(relay).wait(PATIENCE) != 0
    assert str(relay.base_port) in relay.output()
    assert "cannot listen" in relay.output()
    assert "Traceback" not in relay.output()


def test_the_users_mode_stays(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    proxy_port, base_port = free_ports(2)
    mode = [f"regular@127.0.0.1:{proxy_port}", f"reverse:http://api.anthropic.com:443@127.0.0.1:{base_port}"]
    relay = start(
        _yaml(config(upstream.url, KEYS[:1]), *free_ports(2)),
        relay={"settings": {"mode": mode}, "ports": (proxy_port, base_port)},
    )
    assert ask(base_client(relay)).status == 200
    assert {address[1] for address in relay.on_loop(relay.master.addons.get("proxyserver").listen_addrs)} == {
        proxy_port,
        base_port,
    }
