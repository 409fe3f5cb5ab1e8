"""Listeners with a certificate of their own (`listen.tls`): who sees it, who must speak TLS, and what happens when it is renewed."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from claude_relay.proxy.common.rejections import counted
from claude_relay.proxy.lifecycle import renewal
from waiting import PATIENCE

from . import steps
from .certs import Authority, client_context
from .clients import H2Client, RawClient, connect, messages_body
from .conftest import StartRelay
from .relay import Relay, RelayFailed, config, free_ports, rows
from .test_handshakes import greeting
from .upstream import FakeUpstream
from .visiting import dial, everywhere, far_address

NAME = "relay.example.com"
KEY = "sk-ant-api03-secret-1"


class Files:
    """The certificate of the listeners and its key, as some program renews them."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.cert, self.key, self.authority = folder / "cert.pem", folder / "key.pem", authority
        self.serial = self.renew()

    def renew(self, *names: str, **how: Any) -> int:
        self.serial = self.authority.write_pair(self.cert, *(names or (NAME, "localhost")), key_file=self.key, **how)[1]
        return self.serial

    @property
    def listen(self) -> dict[str, Any]:
        return {"tls": {"cert": self.cert.name, "key": self.key.name}, "hosts": [NAME]}


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    return Files(tmp_path, authority)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "INTERVAL", 0.02)


def tls(sock: socket.socket, authority: Authority, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLSocket:
    return authority.client_context(alpn).wrap_socket(sock, server_hostname=NAME)


def serial_of(sock: ssl.SSLSocket) -> int:
    return int(sock.getpeercert()["serialNumber"], 16)  # type: ignore[index, arg-type]


def seen_at(port: int, authority: Authority) -> int:
    """The certificate that a new client sees."""
    with tls(connect(port), authority) as sock:
        return serial_of(sock)


@pytest.fixture
def far() -> str:
    return far_address()


@pytest.fixture
def open_to_all(start: StartRelay, files: Files) -> Relay:
    """A relay that other machines reach."""
    ports = free_ports(2)
    return start(keys=[KEY], listen=files.listen | everywhere(*ports), relay={"ports": tuple(ports)})


# -- who sees it


def test_http1_at_the_base_url(start: StartRelay, files: Files, authority: Authority, upstream: FakeUpstream) -> None:
    relay = start(keys=[KEY], listen=files.listen)
    with tls(connect(relay.base_port), authority) as sock:
        assert serial_of(sock) == files.serial
        assert sock.selected_alpn_protocol() == "http/1.1"
        client = RawClient(sock=sock, host=NAME)
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        assert client.ask("POST", "/v1/messages", body=messages_body(stream=True)).complete
    assert [seen.key for seen in upstream.requests] == [KEY, KEY]


def test_http2_at_the_base_url(start: StartRelay, files: Files, authority: Authority, upstream: FakeUpstream) -> None:
    relay = start(keys=[KEY], listen=files.listen)
    with H2Client(tls(connect(relay.base_port), authority, ("h2", "http/1.1")), NAME) as client:
        assert serial_of(client.sock) == files.serial
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert [seen.key for seen in upstream.requests] == [KEY]


def test_the_api_is_called_by_its_own_name(
    start: StartRelay, files: Files, authority: Authority, claude_host: FakeUpstream
) -> None:
    """Not by the one that the client has for the relay: the API's certificate would not be for that."""
    text = config("https://api.anthropic.com", [KEY], listen=files.listen)
    relay = start(text, relay={"hosts": {"api.anthropic.com:443": claude_host.port}})
    with tls(connect(relay.base_port), authority) as sock:
        assert RawClient(sock=sock, host=NAME).ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert [seen.key for seen in claude_host.requests] == [KEY]


def test_pages_lead_back_to_where_their_client_is(
    start: StartRelay, files: Files, authority: Authority, upstream: FakeUpstream
) -> None:
    page = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
    }
    upstream.default = steps.answer([json.dumps(page).encode()])
    relay = start(keys=[KEY], listen=files.listen)
    with tls(connect(relay.base_port), authority) as sock:
        found = RawClient(sock=sock, host=f"{NAME}:{relay.base_port}").ask("GET", "/v1/messages/batches/msgbatch_1")
    assert found.json()["results_url"] == f"https://{NAME}:{relay.base_port}/v1/messages/batches/msgbatch_1/results"


@pytest.mark.parametrize("http2", [False, True])
def test_tunnels_within_tls(
    start: StartRelay, files: Files, authority: Authority, upstream: FakeUpstream, http2: bool
) -> None:
    """Around the tunnel the listener's certificate, within it one of the CA's."""
    relay = start(keys=[KEY], listen=files.listen)
    proxy = httpx.Proxy(f"https://localhost:{relay.proxy_port}", ssl_context=authority.client_context())
    inner = client_context(relay.ca_file, ("h2", "http/1.1") if http2 else ("http/1.1",))
    with httpx.Client(proxy=proxy, verify=inner, http2=http2, timeout=PATIENCE, trust_env=False) as client:
        answer = client.post(
            "https://api.anthropic.com/v1/messages", content=messages_body(), headers={"x-api-key": "sk-ant-mine"}
        )
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
    assert [seen.key for seen in upstream.requests] == [KEY]


def test_other_hosts_are_tunnelled_unread(start: StartRelay, files: Files, authority: Authority) -> None:
    relay = start(keys=[KEY], listen=files.listen, relay={"hosts": {}})
    with FakeUpstream(authority.server_context("localhost")) as other:
        proxy = httpx.Proxy(f"https://localhost:{relay.proxy_port}", ssl_context=authority.client_context())
        with httpx.Client(proxy=proxy, verify=authority.client_context(), timeout=PATIENCE, trust_env=False) as client:
            assert (
                client.post(f"https://localhost:{other.port}/v1/messages", content=messages_body()).status_code == 200
            )
        assert len(other.requests) == 1


def test_nobody_asks_for_a_tunnel_over_http2(start: StartRelay, files: Files, authority: Authority) -> None:
    relay = start(keys=[KEY], listen=files.listen)
    with tls(connect(relay.proxy_port), authority, ("h2", "http/1.1")) as sock:
        assert (serial_of(sock), sock.selected_alpn_protocol()) == (files.serial, "http/1.1")


# -- who must speak TLS


def test_programs_of_this_machine_may_do_without(start: StartRelay, files: Files, upstream: FakeUpstream) -> None:
    relay = start(keys=[KEY], listen=files.listen)
    for client in (RawClient(relay.base_port), RawClient.through(relay.proxy_port, relay.ca_file)):
        with client:
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("port", ["base_port", "proxy_port"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_others_are_refused_before_anything_is_read(open_to_all: Relay, far: str, port: str, size: int) -> None:
    before = counted()["plain"]
    with dial(getattr(open_to_all, port), far) as client:
        found = client.ask("POST", "/v1/messages", body=messages_body(text="x" * size), key="sk-ant-mine-0123456789")
        assert (found.status, found.error_type, found.header("connection")) == (400, "invalid_request_error", "close")
        assert "https://" in str(found.json())
        assert client.at_end()
    assert counted()["plain"] == before + 1
    open_to_all.wait_until_clients_left()
    assert rows(open_to_all.database) == []
    assert "sk-ant-mine" not in open_to_all.log_text()


def test_others_speak_tls(open_to_all: Relay, far: str, files: Files, authority: Authority) -> None:
    """Whether they are served is another question."""
    with tls(socket.create_connection((far, open_to_all.base_port), PATIENCE), authority) as sock:
        assert serial_of(sock) == files.serial
        assert RawClient(sock=sock, host=NAME).ask("GET", "/health").json() == {"ok": True}
    with tls(socket.create_connection((far, open_to_all.proxy_port), PATIENCE), authority) as sock:
        assert serial_of(sock) == files.serial


@pytest.mark.parametrize("cut", [1, 2, 3, 50])
def test_a_greeting_in_pieces_is_one(
    open_to_all: Relay, far: str, files: Files, authority: Authority, cut: int
) -> None:
    places = (open_to_all.base_port, open_to_all.proxy_port)
    for port in places:
        with closing(socket.create_connection((far, port), PATIENCE)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            hello = greeting(authority.ca_file)
            sock.sendall(hello[:cut])
            if cut < 3:
                # mitmproxy is asked twice: by the relay, and by itself
                open_to_all.wait_for_log("Deferring layer decision", 2 * places.index(port) + 2)
            sock.sendall(hello[cut:])
            assert sock.recv(3)[:2] == b"\x16\x03"  # a ServerHello, no alert


def test_who_does_not_trust_it_is_reported(start: StartRelay, files: Files, confdir: Path) -> None:
    relay = start(keys=[KEY], listen=files.listen)
    with closing(connect(relay.base_port)) as sock, pytest.raises(ssl.SSLCertVerificationError):
        client_context(relay.ca_file).wrap_socket(sock, server_hostname=NAME)
    assert "127.0.0.1" in relay.wait_for_log("does not accept the certificate of listen.tls for relay.example.com")


# -- renewed, near its end, of no use


def test_a_renewed_one_is_shown_to_new_clients(
    start: StartRelay, files: Files, authority: Authority, upstream: FakeUpstream
) -> None:
    relay = start(keys=[KEY], listen=files.listen)
    old = files.serial
    with tls(connect(relay.base_port), authority) as sock:
        client = RawClient(sock=sock, host=NAME)
        assert client.ask("GET", "/health").status == 200
        files.renew()
        relay.wait_for_log("the certificate of listen.tls was renewed")
        assert seen_at(relay.base_port, authority) == seen_at(relay.proxy_port, authority) == files.serial != old
        assert client.ask("GET", "/health").status == 200


def test_one_of_no_use_leaves_the_old_one(start: StartRelay, files: Files, authority: Authority) -> None:
    relay, old = start(keys=[KEY], listen=files.listen), files.serial
    good = files.cert.read_bytes(), files.key.read_bytes()
    authority.write_pair(files.cert, NAME, key_file=files.cert.with_name("other.pem"))  # the key is yet to come
    said = relay.wait_for_log("stays in use")
    assert "key.pem is not the key of" in said
    assert seen_at(relay.base_port, authority) == old
    files.cert.unlink()
    assert "there is no" in relay.wait_for_log("stays in use", 2)
    files.cert.write_bytes(good[0])
    relay.wait_for_log("the certificate of listen.tls was renewed")
    assert seen_at(relay.base_port, authority) == old
    assert relay.log_text().count("stays in use") == 2


def test_what_is_wrong_with_it_is_said_at_the_start(start: StartRelay, files: Files) -> None:
    files.renew("other.example.com", expired=True)
    relay = start(keys=[KEY], listen=files.listen)
    relay.wait_for_log("so clients refuse it; renew it")
    relay.wait_for_log("is for other.example.com, not for relay.example.com of listen.hosts")


def test_without_its_files_the_relay_does_not_start(start: StartRelay, files: Files) -> None:
    files.key.unlink()
    with pytest.raises(
        RelayFailed, match=r"listen\.tls\.key: there is no .*key\.pem; paths start from the folder of relay"
    ):
        start(keys=[KEY], listen=files.listen)


def test_listeners_that_are_open_without_it_are_told_of(start: StartRelay) -> None:
    ports = free_ports(2)
    relay = start(keys=[KEY], listen=everywhere(*ports), relay={"ports": tuple(ports)})
    relay.wait_for_log("listen.proxy is open to the network without TLS")
    assert f"0.0.0.0:{ports[1]}" in relay.wait_for_log("listen.base_url is open to the network without TLS")


# -- the other certificate: that of the CA, for clients of the proxy


@pytest.mark.parametrize("key", [None, "sk-ant-mine-0123456789"])
def test_the_cas_certificate_for_everybody(open_to_all: Relay, far: str, authority: Authority, key: str | None) -> None:
    with tls(socket.create_connection((far, open_to_all.base_port), PATIENCE), authority) as sock:
        client = RawClient(sock=sock, host=NAME)
        found = client.ask("GET", "/relay/ca.pem", key=key)
        assert (found.status, found.header("content-type")) == (200, "application/x-pem-file")
        assert found.body == open_to_all.ca_file.read_bytes()
        assert b"PRIVATE" not in found.body
        head = client.ask("HEAD", "/relay/ca.pem", key=key)
        assert (head.status, head.body) == (200, b"")
        assert client.ask("DELETE", "/relay/ca.pem", key=key).status == 405
        assert client.ask("GET", "/relay/ca.pem/x", key=key).status == 404
    open_to_all.wait_until_clients_left()
    assert rows(open_to_all.database) == []


def test_but_for_no_page_of_somebody_else(start: StartRelay) -> None:
    relay = start(keys=[KEY])
    with RawClient(relay.base_port, host="evil.example") as client:
        assert client.ask("GET", "/relay/ca.pem").status == 403
