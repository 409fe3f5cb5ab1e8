"""A connection that goes elsewhere than the host whose name it has: no key leaves on it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from claude_relay.proxy.common.rejections import Reason, counted

from .certs import Authority, client_context
from .clients import HOST, PLACEHOLDER, RawClient, connect, messages_body
from .conftest import StartRelay
from .relay import Relay, free_ports
from .upstream import FakeUpstream
from .visiting import dial, tunnel

POOL = "sk-ant-api03-pool-secret"
PLACEHELD = [("x-api-key", PLACEHOLDER)]
OWN_KEY = [("x-api-key", "sk-ant-api03-the-clients-own")]
type Way = Callable[[Relay, str, int], socket.socket]


def by_connect(relay: Relay, place: str, to: int) -> socket.socket:
    """A tunnel to a place, by HTTP."""
    client = dial(relay.proxy_port)
    assert tunnel(client, f"{place}:{to}").status == 200
    return client.sock


def by_socks(relay: Relay, place: str, to: int) -> socket.socket:
    """The same by SOCKS5: addresses as such, all else as a name."""
    sock = connect(int(relay.settings["mode"][-1].rpartition(":")[2]))
    sock.sendall(b"\x05\x01\x00")
    assert sock.recv(2) == b"\x05\x00"
    try:
        address = b"\x01" + socket.inet_aton(place)
    except OSError:
        address = b"\x03" + bytes([len(place)]) + place.encode()
    sock.sendall(b"\x05\x01\x00" + address + to.to_bytes(2, "big"))
    assert sock.recv(64)[:2] == b"\x05\x00"
    return sock


WAYS = {"connect": by_connect, "socks": by_socks}


@pytest.fixture
def elsewhere(authority: Authority) -> Iterator[FakeUpstream]:
    """Somebody else, who has a certificate that the relay trusts."""
    with FakeUpstream(authority.server_context("127.0.0.1", "localhost", HOST)) as found:
        yield found


@pytest.fixture
def relay(start: StartRelay) -> Relay:
    proxy, base, socks = free_ports(3)
    modes = [
        f"regular@127.0.0.1:{proxy}",
        f"reverse:http://{HOST}:443@127.0.0.1:{base}",
        f"socks5@127.0.0.1:{socks}",
    ]
    return start(keys=[POOL], relay={"ports": (proxy, base), "settings": {"mode": modes}})


@pytest.mark.parametrize("place", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_leads_elsewhere_has_no_key(
    relay: Relay, upstream: FakeUpstream, elsewhere: FakeUpstream, way: str, place: str
) -> None:
    """Its TLS, its Host, or both have the name of the API."""
    before = counted()[Reason.WEB_PAGE]
    there = f"{place}:{elsewhere.port}"
    for headers in (PLACEHELD, OWN_KEY):
        for sni, host in ((HOST, HOST), (HOST, there), (place, HOST)):
            sock = WAYS[way](relay, place, elsewhere.port)
            trusting = client_context(relay.ca_file)
            trusting.check_hostname = False
            if sni != HOST:  # nobody reads it: what is within is between the two
                with contextlib.suppress(ssl.SSLError), trusting.wrap_socket(sock, server_hostname=sni):
                    pytest.fail("a tunnel to another host was opened by the relay")
                continue
            with RawClient(sock=trusting.wrap_socket(sock, server_hostname=sni), host=host) as client:
                answer = client.ask("POST", "/v1/messages", body=messages_body(), headers=headers)
            assert (answer.status, answer.error_type) == (403, "permission_error")
        with RawClient(sock=WAYS[way](relay, place, elsewhere.port), host=HOST) as client:
            answer = client.ask("POST", "/v1/messages", body=messages_body(), headers=headers)
            assert (answer.status, answer.error_type) == (403, "permission_error")
    assert elsewhere.requests == upstream.requests == []
    assert counted()[Reason.WEB_PAGE] == before + 6


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_to_the_name_has_one(relay: Relay, upstream: FakeUpstream, way: str) -> None:
    sock = client_context(relay.ca_file).wrap_socket(WAYS[way](relay, HOST, 443), server_hostname=HOST)
    with RawClient(sock=sock, host=HOST) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert upstream.used_keys() == [POOL]
