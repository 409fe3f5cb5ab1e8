"""Whoever asks for a tunnel to an intercepted host must say what it wants there; tunnels to other hosts live as long as they like."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_relay.proxy.common.rejections import counted
from waiting import BRIEF, PATIENCE

from .certs import Authority, client_context
from .clients import RawClient, connect, messages_body
from .conftest import StartRelay
from .relay import Relay, free_ports
from .upstream import FakeUpstream
from .visiting import tunnel

HOST, OTHER = "api.anthropic.com:443", "example.org"
SOON = {"limits": {"head_time": BRIEF}}


def greeting(ca_file: Path, alpn: tuple[str, ...] = ("http/1.1",)) -> bytes:
    """A TLS ClientHello."""
    sent = ssl.MemoryBIO()
    talk = client_context(ca_file, alpn).wrap_bio(ssl.MemoryBIO(), sent, server_hostname="api.anthropic.com")
    with contextlib.suppress(ssl.SSLWantReadError):
        talk.do_handshake()
    return sent.read()


def never_goes_on(client: RawClient) -> None:
    """All that comes is an end."""
    while client.fill():
        pass


HANDSHAKES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "one byte": lambda hello: hello[:1],
    "half a greeting": lambda hello: hello[: len(hello) // 2],
    "a greeting and no more": lambda hello: hello,
}


@pytest.mark.parametrize("said", HANDSHAKES)
def test_a_tunnel_in_which_no_handshake_goes_on_is_closed(start: StartRelay, said: str) -> None:
    relay, before = start(**SOON), counted()["head"]
    with RawClient(relay.proxy_port) as client:
        assert tunnel(client, HOST).status == 200
        client.send(HANDSHAKES[said](greeting(relay.ca_file)))
        never_goes_on(client)
    assert counted()["head"] == before + 1


@pytest.mark.parametrize("said", HANDSHAKES)
def test_so_is_one_to_a_listener_with_tls_at_once(start: StartRelay, said: str) -> None:
    """Where the proxy itself is spoken to in TLS."""
    relay = start(**SOON)
    with RawClient(relay.proxy_port) as client:
        client.send(HANDSHAKES[said](greeting(relay.ca_file)))
        never_goes_on(client)


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_a_handshake_after_which_nothing_comes(start: StartRelay, alpn: str) -> None:
    relay = start(**SOON)
    with connect(relay.proxy_port) as sock:
        client = RawClient(sock=sock)
        assert tunnel(client, HOST).status == 200
        with client_context(relay.ca_file, (alpn,)).wrap_socket(sock, server_hostname="api.anthropic.com") as inside:
            never_goes_on(RawClient(sock=inside))


def test_a_request_in_a_tunnel_may_take_longer(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = start(**SOON)
    with RawClient.through(relay.proxy_port, relay.ca_file) as client, RawClient(relay.proxy_port) as silent:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        assert tunnel(silent, HOST).status == 200
        never_goes_on(silent)
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200


# -- tunnels to others


@pytest.fixture
def other(authority: Authority) -> Iterator[FakeUpstream]:
    with FakeUpstream(authority.server_context(OTHER)) as found:
        yield found


@pytest.fixture
def relay(start: StartRelay, other: FakeUpstream) -> tuple[Relay, int]:
    """One with a SOCKS listener besides, and its port."""
    proxy, base, socks = free_ports(3)
    modes = [
        f"regular@127.0.0.1:{proxy}",
        f"reverse:http://api.anthropic.com:443@127.0.0.1:{base}",
        f"socks5@127.0.0.1:{socks}",
    ]
    way = {"ports": (proxy, base), "settings": {"mode": modes}, "hosts": {f"{OTHER}:443": other.port}}
    return start(relay=way, **SOON), socks


def by_connect(relay: Relay, _: int) -> socket.socket:
    sock = connect(relay.proxy_port)
    assert tunnel(RawClient(sock=sock), f"{OTHER}:443").status == 200
    return sock


def by_socks(_: Relay, port: int) -> socket.socket:
    """https://www.rfc-editor.org/rfc/rfc1928"""
    sock = connect(port)
    sock.sendall(b"\x05\x01\x00")
    assert sock.recv(2) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x03" + bytes((len(OTHER),)) + OTHER.encode() + (443).to_bytes(2))
    assert sock.recv(10)[:2] == b"\x05\x00"
    return sock


@pytest.mark.parametrize("way", [by_connect, by_socks])
@pytest.mark.parametrize("said", HANDSHAKES)
def test_a_tunnel_to_another_host_lives_as_long_as_it_likes(
    relay: tuple[Relay, int], authority: Authority, way: Callable[[Relay, int], socket.socket], said: str
) -> None:
    if way is by_socks and said != "a greeting and no more":
        pytest.skip("an address may belong to any host: only the greeting says which one is meant")
    sent, came = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = client_context(authority.ca_file).wrap_bio(came, sent, server_hostname=OTHER)
    with contextlib.suppress(ssl.SSLWantReadError):
        talk.do_handshake()
    hello = sent.read()
    begun = HANDSHAKES[said](hello)
    with way(*relay) as sock, RawClient(relay[0].proxy_port) as silent:
        sock.settimeout(PATIENCE)
        sock.sendall(begun)
        assert tunnel(silent, HOST).status == 200
        never_goes_on(silent)
        sock.sendall(hello[len(begun) :])
        while data := sock.recv(65536):
            came.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                talk.do_handshake()
                break
        talk.write(f"GET /v1/models HTTP/1.1\r\nHost: {OTHER}\r\n\r\n".encode())
        sock.sendall(sent.read())
        answer = b""
        while not answer and (data := sock.recv(65536)):
            came.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                answer = talk.read()
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_greeting_that_comes_byte_by_byte_is_read_all_the_same(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = start()
    sent, came = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = client_context(relay.ca_file).wrap_bio(came, sent, server_hostname="api.anthropic.com")
    with connect(relay.proxy_port) as sock:
        assert tunnel(RawClient(sock=sock), HOST).status == 200
        with contextlib.suppress(ssl.SSLWantReadError):
            talk.do_handshake()
        for byte in (hello := sent.read())[:3]:
            sock.sendall(bytes((byte,)))
            with RawClient(relay.proxy_port) as another:  # once that is answered, the byte was read
                assert tunnel(another, HOST).status == 200
        sock.sendall(hello[3:])
        while data := sock.recv(65536):
            came.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                talk.do_handshake()
                break
        assert "Claude Relay CA" in str(talk.getpeercert())
