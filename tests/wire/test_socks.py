"""The way out through SOCKS5: real proxies, hostile ones, and what is said when there is no way."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.io import FlowReader

from claude_relay.store.vault.vault import NewKey, Vault
from waiting import PATIENCE

from . import claude, steps
from .certs import Authority
from .clients import H2Client, RawClient, connect, connect_through, messages_body
from .company import CompanyProxy
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .socks import CONNECTED, GREETED, Socks, hostile, microsocks
from .upstream import FakeUpstream, blackhole_port, refusing_port

PASSWORD = "pa:ss/wörd"
MINE = "sk-ant-api03-the-clients-own"
QUICK = {"attempts": 2, "max_wait": "1s", "first_byte": "5s"}
NAMED = "https://api.anthropic.com"


@pytest.fixture
def far(authority: Authority, stack: ExitStack) -> FakeUpstream:
    """Speaks TLS as `localhost`, a name that the proxy looks up."""
    return stack.enter_context(FakeUpstream(authority.server_context("localhost", alpn=("h2", "http/1.1"))))


def led(start: StartRelay, url: str, proxy: str, keys: list[str] | None = None, **more: Any) -> Relay:
    """A relay whose one provider is reached through this proxy."""
    providers = {"p": provider(url, ["good-1"] if keys is None else keys, proxy=proxy)}
    return start(config(providers=providers, retry=QUICK | more.pop("retry", {}), **more.pop("top", {})), relay=more)


def ask(relay: Relay, path: str = "/v1/messages", body: bytes | None = None) -> Any:
    with RawClient(relay.base_port) as client:
        return client.ask("POST", path, body=messages_body() if body is None else body, key=MINE)


# -- real proxies


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("user", ["", "me"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_attempts_go_through_a_real_proxy(
    start: StartRelay,
    upstream: FakeUpstream,
    far: FakeUpstream,
    stack: ExitStack,
    tmp_path: Path,
    tls: bool,
    user: str,
    scheme: str,
) -> None:
    proxy = stack.enter_context(microsocks(user, PASSWORD if user else ""))
    url = proxy.url_for(user, PASSWORD, scheme) if user else proxy.url.replace("socks5", scheme)
    there = far if tls else upstream
    relay = led(start, f"{'https' if tls else 'http'}://localhost:{there.port}", url)
    with RawClient(relay.base_port) as client:
        for _ in range(2):
            assert client.ask("POST", "/v1/messages", body=messages_body(), key=MINE).status == 200
    assert there.used_keys() == ["good-1"] * 2
    assert len({request.connection for request in there.requests}) == 1
    assert {row["proxy"] for row in rows(tmp_path / "relay.db", "attempts")} == {proxy.url}
    assert PASSWORD not in relay.log_text()


def test_streams_of_http2(start: StartRelay, far: FakeUpstream, stack: ExitStack, h2_client: Any) -> None:
    proxy = stack.enter_context(microsocks("me", PASSWORD))
    relay = led(start, f"https://localhost:{far.port}", proxy.url_for("me", PASSWORD))
    client = h2_client(relay)
    streams = [client.request("POST", "/v1/messages", body=messages_body(stream=True)) for _ in range(3)]
    assert [client.answer(stream).status for stream in streams] == [200] * 3


def test_a_failed_attempt_is_replayed_through_the_proxy(start: StartRelay, far: FakeUpstream, stack: ExitStack) -> None:
    proxy = stack.enter_context(microsocks())
    relay = led(start, f"https://localhost:{far.port}", proxy.url, ["bad", "good-1"], retry={"attempts": 5})
    far.script(steps.status(401), steps.stream([*claude.events()]))
    answer = ask(relay, body=messages_body(stream=True))
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")


def test_the_environment_may_name_one(
    start: StartRelay, claude_host: FakeUpstream, authority: Authority, stack: ExitStack
) -> None:
    """Requests, side calls, and tunnels of hosts that are not read; the names are for the proxy."""
    proxy = stack.enter_context(hostile(GREETED, CONNECTED, then=pipe_to(claude_host.port)))
    relay = start(
        config(NAMED, ["good-1"], retry=QUICK),
        relay={"environ": {"ALL_PROXY": proxy.url.replace("socks5", "socks5h")}},
    )
    relay.wait_for_log(f"way out   through {proxy.url} (ALL_PROXY)")
    assert ask(relay).status == 200
    assert ask(relay, "/api/hello").header("x-side") == "yes"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):  # it is reached; its name is another
        connect_through(relay.proxy_port, authority.ca_file, "example.org")
    names = {said[5:-2] for said in proxy.asked[1::2]}
    assert names == {b"api.anthropic.com", b"example.org"}


def pipe_to(port: int) -> Callable[[socket.socket], None]:
    """The rest of a proxy that always leads to the same place."""

    def pipe(client: socket.socket) -> None:
        import threading

        with socket.create_connection(("127.0.0.1", port)) as server:

            def back() -> None:
                while data := server.recv(65536):
                    client.sendall(data)
                client.shutdown(socket.SHUT_RDWR)

            thread = threading.Thread(target=lambda: _quietly(back), daemon=True)
            thread.start()
            _quietly(lambda: _pump(client, server))
            _quietly(lambda: server.shutdown(socket.SHUT_RDWR))
            thread.join(PATIENCE)

    return pipe


def _pump(source: socket.socket, to: socket.socket) -> None:
    while data := source.recv(65536):
        to.sendall(data)


def _quietly(work: Callable[[], None]) -> None:
    with suppress(OSError):
        work()


def test_keys_with_different_credentials_share_no_connection(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path
) -> None:
    """And each is let in with its own."""
    proxies = {user: stack.enter_context(microsocks(user, f"pass-of-{user}")) for user in ("me", "you")}
    vault = Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})
    vault.import_many(
        [
            NewKey("p", f"sk-key-of-{user}", proxy=proxy.url_for(user, f"pass-of-{user}"))
            for user, proxy in proxies.items()
        ]
    )
    text = config(providers={"p": provider(upstream.url)}, retry=QUICK)
    relay = start(text, relay={"environ": {"RELAY_SECRET": "a secret for tests"}})
    vault.close()
    with RawClient(relay.base_port) as client:
        for _ in range(4):
            assert client.ask("POST", "/v1/messages", body=messages_body(), key=MINE).status == 200
    assert sorted(upstream.used_keys()) == ["sk-key-of-me"] * 2 + ["sk-key-of-you"] * 2
    assert len({request.connection for request in upstream.requests}) == 2
    assert {row["proxy"] for row in rows(tmp_path / "relay.db", "attempts")} == {
        proxy.url for proxy in proxies.values()
    }


# -- proxies with a name


def test_a_provider_names_its_proxy(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path
) -> None:
    proxy = stack.enter_context(microsocks("me", PASSWORD))
    named = {"office": {"url": proxy.url_for("me", PASSWORD)}}
    relay = led(start, upstream.url, "office", top={"proxies": named})
    assert ask(relay).status == 200
    assert [row["proxy"] for row in rows(tmp_path / "relay.db", "attempts")] == ["office"]


def test_a_key_names_its_proxy_or_one_that_is_not_there(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path
) -> None:
    """Without its proxy a key is not used at all, and others are."""
    proxy = stack.enter_context(microsocks())
    vault = Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})
    vault.import_many([NewKey("p", "sk-key-lost", proxy="nowhere"), NewKey("p", "sk-key-good", proxy="office")])
    text = config(providers={"p": provider(upstream.url)}, retry=QUICK, proxies={"office": {"url": proxy.url}})
    relay = start(text, relay={"environ": {"RELAY_SECRET": "a secret for tests"}})
    vault.close()
    for _ in range(3):
        assert ask(relay).status == 200
    assert upstream.used_keys() == ["sk-key-good"] * 3
    found = rows(tmp_path / "relay.db", "attempts")
    lost = [row for row in found if row["verdict"] != "ok"]
    assert {(row["verdict"], row["proxy"]) for row in lost} == {("proxy_failed", "nowhere")}
    assert "no proxy has this name" in lost[0]["error"]


# -- when there is no way


FAILING: dict[str, tuple[tuple[bytes, ...], bool, str]] = {
    "nobody": ((b"",), True, "hung up in the middle"),
    "half a greeting": ((b"\x05",), True, "hung up in the middle"),
    "SOCKS4": ((b"\x00\x5b\x00\x00",), False, "no SOCKS5 proxy is there"),
    "HTTP": ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), True, "write http://"),
    "SSH": ((b"SSH-2.0-OpenSSH_9.9\r\n",), False, "no SOCKS5 proxy is there"),
    "wants a password": ((b"\x05\xff",), False, "wants a user and a password"),
    "not allowed": ((GREETED, b"\x05\x02\x00\x01" + bytes(6)), False, "does not allow connections"),
    "network": ((GREETED, b"\x05\x03\x00\x01" + bytes(6)), False, "network is unreachable"),
    "no such host": ((GREETED, b"\x05\x04\x00\x01" + bytes(6)), False, "unreachable or has no such name"),
    "refused": ((GREETED, b"\x05\x05\x00\x01" + bytes(6)), False, "the host refused the connection"),
    "a short refusal": ((GREETED, b"\x05\x01"), True, "failed in general"),
    "a strange address": ((GREETED, b"\x05\x00\x00\x09\x00\x00"), False, "no SOCKS5 proxy is there"),
    "half a reply": ((GREETED, CONNECTED[:-1]), True, "hung up in the middle"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_proxy_is_named(start: StartRelay, stack: ExitStack, tmp_path: Path, name: str) -> None:
    says, hangs_up, words = FAILING[name]
    proxy = stack.enter_context(hostile(*says, hangs_up=hangs_up))
    relay = led(start, NAMED, proxy.url)
    answer = ask(relay)
    assert answer.status == 502
    said = str(answer.json()["error"]["message"])
    assert words in said
    assert f"through {proxy.url}" in said
    assert {row["verdict"] for row in rows(tmp_path / "relay.db", "attempts")} == {"proxy_failed"}
    assert relay.dialled == [] or all("anthropic" not in name for name in relay.dialled)


def test_a_wrong_password(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    proxy = stack.enter_context(microsocks("me", PASSWORD))
    relay = led(start, upstream.url, proxy.url_for("me", "hunter2"))
    said = str(ask(relay).json()["error"]["message"])
    assert f"the proxy refused the user or the password, through {proxy.url}" in said
    assert "hunter2" not in said + relay.log_text()
    assert upstream.requests == []


def test_no_password_where_one_is_wanted(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    proxy = stack.enter_context(microsocks("me", PASSWORD))
    said = str(ask(led(start, upstream.url, proxy.url)).json()["error"]["message"])
    assert "wants a user and a password" in said
    assert upstream.requests == []


def test_a_host_that_the_proxy_cannot_reach(start: StartRelay, stack: ExitStack) -> None:
    proxy = stack.enter_context(microsocks())
    port = stack.enter_context(refusing_port())
    said = str(ask(led(start, f"http://localhost:{port}", proxy.url)).json()["error"]["message"])
    assert "the proxy says that the host refused the connection" in said


def test_it_hangs_up_at_every_byte(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    """Whatever of the handshake came, the other provider takes over."""
    whole = [b"\x05\x02", b"\x01\x00", CONNECTED]
    cuts = [
        tuple(whole[:at]) + ((part[:size],) if size else ())
        for at, part in enumerate(whole)
        for size in range(len(part))
    ]
    proxies = [stack.enter_context(hostile(*cut, hangs_up=True)) for cut in cuts]
    far = {f"p{n}": provider(NAMED, ["k"], proxy=p.url_for("me", PASSWORD)) for n, p in enumerate(proxies)}
    routes = [{"match": {"model": name}, "to": [name, "near"]} for name in far]
    relay = start(
        config(
            providers=far | {"near": provider(upstream.url, ["good-1"])},
            routes=[*routes, {"to": ["near"]}],
            retry=QUICK,
        )
    )
    with RawClient(relay.base_port) as client:
        for name in far:
            answer = client.ask("POST", "/v1/messages", body=messages_body(model=name), key=MINE)
            assert (answer.status, answer.header("x-relay-provider")) == (200, "near"), name
    assert PASSWORD not in relay.log_text()


@pytest.mark.parametrize("says", [(), (b"\x05",), (GREETED, b""), (GREETED, CONNECTED[:5])])
def test_a_proxy_that_keeps_silent(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path, says: tuple[bytes, ...]
) -> None:
    proxy = stack.enter_context(hostile(*says))
    providers = {"far": provider(NAMED, ["k"], proxy="slow"), "near": provider(upstream.url, ["good-1"])}
    named = {"slow": {"url": proxy.url, "timeout": "300ms"}}
    relay = start(config(providers=providers, proxies=named, retry=QUICK | {"attempts": 5}))
    assert ask(relay).status == 200
    first = rows(tmp_path / "relay.db", "attempts")[0]
    assert (first["provider"], first["verdict"], first["proxy"]) == ("far", "proxy_failed", "slow")
    assert "within 0.3 s" in first["error"]
    relay.wait_until_upstreams_left()


def test_a_proxy_that_takes_no_connection(start: StartRelay, stack: ExitStack) -> None:
    port = stack.enter_context(blackhole_port())
    named = {"gone": {"url": f"socks5://127.0.0.1:{port}", "timeout": "300ms"}}
    said = str(ask(led(start, NAMED, "gone", top={"proxies": named})).json()["error"]["message"])
    assert f"no connection within 0.3 s, through socks5://127.0.0.1:{port} (gone)" in said


def test_an_unread_tunnel_does_not_wait_for_ever(
    start: StartRelay, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_relay.core.config.proxies.OutboundProxy.parse_url", _hasty())
    proxy = stack.enter_context(hostile(GREETED, b""))
    relay = start(config(NAMED, ["good-1"]), relay={"environ": {"ALL_PROXY": proxy.url}})
    with connect(relay.proxy_port) as sock:
        sock.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
        sock.sendall(b"hello, this is no TLS\r\n")
        while sock.recv(65536):
            pass
    relay.wait_for_log("no tunnel to example.org:443: the proxy gave no answer within 0.2 s")


def _hasty() -> Any:
    from dataclasses import replace

    from claude_relay.core.config import OutboundProxy

    before = OutboundProxy.parse_url
    return classmethod(lambda _, value: replace(before(value), timeout=0.2))


# -- another way, or none


def test_a_key_that_goes_out_another_way_is_next(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path
) -> None:
    """Three keys behind the dead proxy, one behind another: two attempts are enough."""
    dead = f"socks5://127.0.0.1:{stack.enter_context(refusing_port())}"
    alive = stack.enter_context(microsocks())
    vault = Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})
    vault.import_many(
        [*(NewKey("p", f"sk-key-dead-{n}", proxy=dead) for n in range(3)), NewKey("p", "sk-key-alive", proxy=alive.url)]
    )
    text = config(providers={"p": provider(upstream.url, strategy="priority")}, retry=QUICK)
    relay = start(text, relay={"environ": {"RELAY_SECRET": "a secret for tests"}})
    vault.close()
    answer = ask(relay)
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")
    assert upstream.used_keys() == ["sk-key-alive"]


@pytest.mark.parametrize("kind", ["refusing", "silent", "says no", "HTTP"])
def test_directly_only_where_that_is_said(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    if kind == "refusing":
        proxy = Socks(stack.enter_context(refusing_port()))
    elif kind == "HTTP":
        proxy = Socks(stack.enter_context(CompanyProxy({}, users={"you": "other"})).port, kind="http")
    else:
        proxy = stack.enter_context(hostile(*(() if kind == "silent" else (b"\x05\xff",))))
    named = {"office": {"url": proxy.url_for("me", PASSWORD, proxy.kind), "direct": True, "timeout": "300ms"}}
    relay = led(start, upstream.url, "office", top={"proxies": named})
    answer = ask(relay)
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "1")
    assert upstream.used_keys() == ["good-1"]
    [row] = rows(tmp_path / "relay.db", "attempts")
    assert (row["verdict"], row["proxy"]) == ("ok", "direct, not office")
    assert f"through {proxy.url} (office)" in relay.wait_for_log("goes directly")
    assert PASSWORD not in relay.log_text()


def test_never_directly_otherwise(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    dead = f"socks5://127.0.0.1:{stack.enter_context(refusing_port())}"
    relay = led(start, upstream.url, "office", top={"proxies": {"office": {"url": dead}}})
    assert ask(relay).status == 502
    assert upstream.requests == []


def test_flows_hold_no_credential(start: StartRelay, upstream: FakeUpstream, stack: ExitStack, tmp_path: Path) -> None:
    file = tmp_path / "flows"
    proxy = stack.enter_context(microsocks("me", PASSWORD))
    relay = led(start, upstream.url, proxy.url_for("me", PASSWORD), settings={"save_stream_file": str(file)})
    upstream.script(steps.status(500), steps.message())
    assert ask(relay).status == 200
    relay.on_loop(lambda: relay.master.options.update(save_stream_file=None))  # closes the file
    data = file.read_bytes()
    with file.open("rb") as stream:
        [flow] = [flow for flow in FlowReader(stream).stream() if flow.response]
    assert flow.server_conn.via == ("http", ("127.0.0.1", proxy.port))
    assert PASSWORD.encode() not in data


def test_a_client_that_leaves_while_the_proxy_keeps_silent(start: StartRelay, stack: ExitStack) -> None:
    proxy = stack.enter_context(hostile(GREETED, b""))
    relay = led(start, NAMED, proxy.url)
    with RawClient(relay.base_port) as client:
        client.request("POST", "/v1/messages", body=messages_body(), key=MINE)
        relay.wait_for_dial(f"127.0.0.1:{proxy.port}")
    relay.wait_until_upstreams_left()
    relay.wait_until_clients_left()


__all__ = ["H2Client"]
