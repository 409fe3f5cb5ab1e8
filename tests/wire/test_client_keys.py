"""Who is asking, by keys of the relay's own: at the base URL, at the proxy, in tunnels, from other machines."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.clients.permissions import Policy
from claude_relay.core.times import iso
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook
from waiting import PATIENCE

from .clients import HOST, RawClient, client_context, messages_body
from .conftest import StartRelay
from .relay import Relay, free_ports, rows
from .steps import message
from .upstream import FakeUpstream
from .visiting import dial, everywhere, far_address, tunnel

ME = Actor("me", "cli", "here")
POOL = "sk-ant-api03-pool-secret"
WRONG = "rk-" + "0" * 48


@pytest.fixture
def book(tmp_path: Path) -> ClientBook:
    return ClientBook(tmp_path / "relay.db")


@pytest.fixture
def run(start: StartRelay) -> Callable[..., Relay]:
    """run(required=True): a relay on all addresses."""

    def run(*, keys: list[str] | None = None, **clients: Any) -> Relay:
        ports = free_ports(2)
        sections = {"clients": clients, "listen": everywhere(*ports)}
        return start(keys=[POOL] if keys is None else keys, relay={"ports": tuple(ports)}, **sections)

    return run


def bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


def basic(name: str, key: str) -> list[tuple[str, str]]:
    return [("proxy-authorization", "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode())]


def ask(port: int, host: str = "127.0.0.1", headers: Any = (), *, path: str = "/v1/messages") -> Any:
    with dial(port, host) as client:
        method = "POST" if path == "/v1/messages" else "GET"
        return client.ask(method, path, body=messages_body() if method == "POST" else b"", headers=headers)


def in_tunnel(relay: Relay, host: str, said: Any, headers: Any = ()) -> Any:
    """Through a CONNECT, with what is said there; the answer to that where no tunnel is opened."""
    sock = socket.create_connection((host, relay.proxy_port), timeout=PATIENCE)
    with dial_on(sock) as client:
        answer = tunnel(client, f"{HOST}:443", headers=said)
        if answer.status != 200:
            return answer
        inner = client_context(relay.ca_file, ("http/1.1",)).wrap_socket(sock, server_hostname=HOST)
        with RawClient(sock=inner, host=HOST) as inside:
            return inside.ask("POST", "/v1/messages", body=messages_body(), headers=headers)


def dial_on(sock: socket.socket | ssl.SSLSocket) -> RawClient:
    return RawClient(sock=sock, host=HOST)


def refused(answer: Any, status: int, kind: str = "authentication_error") -> str:
    assert (answer.status, answer.error_type) == (status, kind)
    assert answer.header("x-should-retry") == "false"
    assert (answer.header("proxy-authenticate") is not None) is (status == 407)
    return str(answer.json()["error"]["message"])


def test_a_client_key_is_served_from_anywhere(
    run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook
) -> None:
    relay, far = run(required=True), far_address()
    book.add_group(ME, "team", {})
    key = book.add(ME, "alice", {"group": "team"}).key  # after the relay has read its clients
    for host in ("127.0.0.1", far):
        for headers in (bearer(key), [("x-api-key", key)], [*bearer(key), ("x-api-key", "sk-ant-placeholder-relay")]):
            assert ask(relay.base_port, host, headers).status == 200
        assert in_tunnel(relay, host, basic("alice", key)).status == 200
        assert in_tunnel(relay, host, basic("alice", key), bearer(key)).status == 200
    assert in_tunnel(relay, "127.0.0.1", (), bearer(key)).status == 200
    with dial(relay.proxy_port, far, call=HOST) as client:
        headers = basic("alice", key)
        assert client.ask("POST", f"http://{HOST}/v1/messages", body=messages_body(), headers=headers).status == 200
    assert set(upstream.used_keys()) == {POOL}
    assert {(row["client"], row["client_group"]) for row in rows(relay.folder / "relay.db")} == {("alice", "team")}
    assert len(rows(relay.folder / "relay.db")) == 12


def test_without_a_key_nobody_else_is_served(run: Callable[..., Relay], upstream: FakeUpstream) -> None:
    relay, far = run(contact="ops@example.org"), far_address()
    assert ask(relay.base_port).status == 200
    for headers in ((), [("x-api-key", "sk-ant-api03-of-a-stranger")]):
        for path in ("/v1/messages", "/v1/models", "/api/hello"):
            message = refused(ask(relay.base_port, far, headers, path=path), 401)
            assert "Ask ops@example.org." in message
            assert "ANTHROPIC_AUTH_TOKEN" in message
    assert "HTTPS_PROXY" in refused(in_tunnel(relay, far, ()), 407)
    with dial(relay.proxy_port, far, call=HOST) as client:
        refused(client.ask("GET", f"http://{HOST}/v1/models"), 407)
    assert ask(relay.base_port, far, path="/health").status == 200
    assert len(upstream.requests) == 1


def test_a_key_that_is_required_of_all(run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook) -> None:
    relay = run(required=True)
    refused(ask(relay.base_port), 401)
    refused(in_tunnel(relay, "127.0.0.1", ()), 401)  # the tunnel was opened: the request could have said it
    with dial(relay.proxy_port) as client:
        refused(tunnel(client, f"127.0.0.1:{upstream.port}"), 407)
    assert upstream.requests == []


@pytest.mark.parametrize("why", ["unknown", "cut", "disabled", "expired", "replaced", "group", "removed", "name"])
def test_a_key_that_does_not_count(
    run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook, why: str
) -> None:
    """Not even on this machine, where none is needed."""
    book.add_group(ME, "team", {})
    key = book.add(ME, "alice", {"group": "team"}).key
    name = "bob" if why == "name" else "alice"
    match why:
        case "unknown":
            key = WRONG
        case "cut":
            key = key[:-1]
        case "disabled":
            book.edit(ME, "alice", {"enabled": False})
        case "expired":
            book.edit(ME, "alice", {"expires_at": iso(time.time() - 1)})
        case "replaced":
            book.rotate(ME, "alice", 0)
        case "group":
            book.edit_group(ME, "team", {"enabled": False})
        case "removed":
            book.remove(ME, "alice")
    relay = run(contact="ops")
    if why != "name":
        assert "Ask ops." in refused(ask(relay.base_port, headers=bearer(key)), 401)
        refused(in_tunnel(relay, "127.0.0.1", (), bearer(key)), 401)
    refused(in_tunnel(relay, "127.0.0.1", basic(name, key)), 407)
    assert upstream.requests == []
    relay.wait_for_log("client key")
    assert key not in relay.log_text()


def test_a_client_that_is_disabled_while_its_tunnel_is_open(
    run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook
) -> None:
    key = book.add(ME, "alice", {}).key
    relay = run(required=True)
    sock = socket.create_connection(("127.0.0.1", relay.proxy_port), timeout=PATIENCE)
    with dial_on(sock) as client:
        assert tunnel(client, f"{HOST}:443", headers=basic("alice", key)).status == 200
        inner = client_context(relay.ca_file, ("http/1.1",)).wrap_socket(sock, server_hostname=HOST)
        with RawClient(sock=inner, host=HOST) as inside:
            assert inside.ask("POST", "/v1/messages", body=messages_body()).status == 200
            book.edit(ME, "alice", {"enabled": False})
            ask(relay.base_port, headers=bearer(WRONG))  # causes a look
            assert "disabled" in refused(inside.ask("POST", "/v1/messages", body=messages_body()), 401)


def test_two_keys_of_different_clients(run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook) -> None:
    one, other = (book.add(ME, name, {}).key for name in ("one", "other"))
    relay = run()
    assert "different clients" in refused(ask(relay.base_port, headers=[*bearer(one), ("x-api-key", other)]), 401)
    refused(in_tunnel(relay, "127.0.0.1", basic("one", one), bearer(other)), 401)
    assert upstream.requests == []


def test_tunnels_for_clients_on_other_machines(
    run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook
) -> None:
    plain = book.add(ME, "plain", {}).key
    may = book.add(ME, "may", {"policy": Policy(tunnel=True)}).key
    relay, far, there = run(), far_address(), f"127.0.0.1:{upstream.port}"
    with dial(relay.proxy_port, far) as client:
        assert "other hosts" in refused(tunnel(client, there, headers=basic("plain", plain)), 403, "permission_error")
    with dial(relay.proxy_port, far, call=there) as client:
        refused(client.ask("GET", f"http://{there}/x", headers=basic("plain", plain)), 403, "permission_error")
        assert client.ask("GET", f"http://{there}/x", headers=[*basic("may", may), *bearer(may)]).status < 500
    with dial(relay.proxy_port, far, call=there) as client:
        assert tunnel(client, there, headers=basic("may", may)).status == 200
        client.ask("GET", "/y")
    with dial(relay.proxy_port, far) as client:  # its own listeners stay closed to all
        own = f"127.0.0.1:{relay.base_port}"
        assert "own listeners" in refused(tunnel(client, own, headers=basic("may", may)), 403, "permission_error")
    assert [request.path for request in upstream.requests] == ["/x", "/y"]
    assert may not in str([request.headers for request in upstream.requests])


def test_a_client_key_is_not_passed_through(
    run: Callable[..., Relay], upstream: FakeUpstream, book: ClientBook
) -> None:
    """Neither where the pool has no key, nor with a call that is none of the API's."""
    key = book.add(ME, "alice", {}).key
    relay = run(keys=[])
    answer = ask(relay.base_port, headers=bearer(key))
    assert answer.status == 401
    assert "no key for anthropic" in answer.json()["error"]["message"]
    assert ask(relay.base_port, headers=bearer(key), path="/api/claude_code/settings").status == 404
    assert upstream.requests == []


def test_a_client_key_is_seen_nowhere(
    start: StartRelay, upstream: FakeUpstream, book: ClientBook, tmp_path: Path
) -> None:
    """Not even when an upstream repeats it."""
    key = book.add(ME, "alice", {}).key
    relay = start(keys=[POOL], relay={"web": True})
    upstream.script(message(f"your key is {key}"), message())
    headers = [*bearer(key), ("x-more", f"key={key}")]
    for path in ("/v1/messages", f"/v1/messages?key={key}"):
        with RawClient(relay.base_port) as client:
            assert client.ask("POST", path, body=messages_body(), headers=headers).status == 200
    assert in_tunnel(relay, "127.0.0.1", basic("alice", key)).status == 200
    found = relay.web_ui.flows()
    shown = [str(found), *(relay.web_ui.body(flow).decode() for flow in found)]
    shown += [str(request.headers) + request.path for request in upstream.requests]
    shown += [relay.log_text(), *(str(rows(tmp_path / "relay.db", table)) for table in ("requests", "attempts"))]
    encoded = base64.b64encode(f"alice:{key}".encode()).decode()
    assert not any(key in text or encoded in text for text in shown)
