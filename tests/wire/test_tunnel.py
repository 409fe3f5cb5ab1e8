"""All hosts but the intercepted ones are tunnelled unread, with their own certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .certs import Authority, client_context
from .clients import H2Client, RawClient, connect, connect_through, messages_body
from .conftest import StartRelay
from .relay import Relay, config
from .upstream import FakeUpstream

OTHER = "example.org"
MINE = "sk-ant-api03-the-clients-own"


@pytest.fixture
def other(authority: Authority) -> Iterator[FakeUpstream]:
    """A server that is none of the relay's business."""
    with FakeUpstream(
        authority.server_context(
            OTHER, "api.anthropic.com.example.org", "sub.api.anthropic.com", alpn=("h2", "http/1.1")
        )
    ) as found:
        yield found


@pytest.fixture
def relay(start: StartRelay, other: FakeUpstream, upstream: FakeUpstream) -> Relay:
    names = (f"{OTHER}:443", "api.anthropic.com.example.org:443", "sub.api.anthropic.com:443", "api.anthropic.com:444")
    return start(relay={"hosts": dict.fromkeys(names, other.port) | {f"{OTHER}:80": upstream.port}}, keys=["sk-pool-1"])


def peer_issuer(sock: ssl.SSLSocket) -> str:
    found = sock.getpeercert()
    assert found is not None
    return str(found["issuer"])


def test_the_certificate_is_the_hosts_own(relay: Relay, authority: Authority, other: FakeUpstream) -> None:
    with RawClient.through(relay.proxy_port, authority.ca_file, OTHER) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert "Claude Relay test CA" in peer_issuer(client.sock)
        answer = client.ask("POST", "/v1/messages", body=messages_body(), key=MINE)
    assert answer.status == 200
    assert not [n for n, _ in answer.headers if n.startswith("x-relay")]
    assert other.used_keys() == [MINE]
    assert MINE not in relay.log_text()


@pytest.mark.parametrize("host", ["api.anthropic.com.example.org", "sub.api.anthropic.com"])
def test_names_that_only_look_like_it(relay: Relay, authority: Authority, other: FakeUpstream, host: str) -> None:
    with RawClient.through(relay.proxy_port, authority.ca_file, host) as client:
        assert client.ask("GET", "/v1/models", key=MINE).status == 200
    assert other.used_keys() == [MINE]


def test_http2_goes_through(relay: Relay, authority: Authority, other: FakeUpstream) -> None:
    with H2Client(connect_through(relay.proxy_port, authority.ca_file, OTHER, alpn=("h2",)), OTHER) as client:
        assert client.ask("GET", "/v1/models", key=MINE).status == 200
    assert other.requests[0].version == "2"


def test_what_is_no_tls_goes_through(relay: Relay, other: FakeUpstream, upstream: FakeUpstream) -> None:
    with connect(relay.proxy_port) as sock:
        sock.sendall(f"CONNECT {OTHER}:80 HTTP/1.1\r\nHost: {OTHER}:80\r\n\r\n".encode())
        client = RawClient(sock=sock, host=OTHER)
        assert client.line() == b"HTTP/1.1 200 Connection established"
        client.header_lines()
        assert client.ask("GET", "/v1/models", key=MINE).status == 200
    assert upstream.used_keys() == [MINE]


def test_a_plain_request_to_another_host(relay: Relay, upstream: FakeUpstream, stack: ExitStack) -> None:
    client = stack.enter_context(RawClient(relay.proxy_port, host=OTHER))
    answer = client.ask("GET", f"http://{OTHER}/v1/models", key=MINE)
    assert answer.status == 200
    assert upstream.used_keys() == [MINE]
    assert upstream.paths() == ["/v1/models"]


def test_the_intercepted_host_shows_the_relays_certificate(relay: Relay) -> None:
    with connect_through(relay.proxy_port, relay.ca_file) as sock:
        assert "Claude Relay CA" in peer_issuer(sock)


def test_a_client_that_does_not_trust_the_relay_is_told_how(relay: Relay, authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect_through(relay.proxy_port, authority.ca_file)
    relay.wait_for_log("NODE_EXTRA_CA_CERTS")


def test_an_unreachable_host_is_the_clients_to_see(relay: Relay, authority: Authority) -> None:
    with pytest.raises((ConnectionError, ssl.SSLError)):
        connect_through(relay.proxy_port, authority.ca_file, "nowhere.invalid")


def test_other_hosts_can_be_intercepted(
    start: StartRelay, upstream: FakeUpstream, proxy_client: Callable[..., RawClient]
) -> None:
    relay = start(config(upstream.url, ["sk-pool-1"], intercept={"hosts": ["claude.example.com"]}))
    answer = proxy_client(relay, host="claude.example.com").ask("POST", "/v1/messages", body=messages_body(), key=MINE)
    assert answer.status == 200
    assert upstream.used_keys() == ["sk-pool-1"]


# -- a CA that is for the intercepted hosts only


def test_a_host_for_which_the_ca_may_not_sign(start: StartRelay, upstream: FakeUpstream) -> None:
    """`intercept.hosts` has grown since the CA was made: that is said at the edit and when a client refuses it, with the remedy."""
    relay = start(keys=["sk-pool-1"])
    relay.write_config(config(upstream.url, ["sk-pool-1"], intercept={"hosts": ["api.anthropic.com", "grown.example"]}))
    said = relay.wait_for_log("certificates for grown.example and not connect")
    assert "delete the files mitmproxy-ca* in that folder" in said
    assert "api.anthropic.com" not in said
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        connect_through(relay.proxy_port, relay.ca_file, "grown.example")
    relay.wait_for_log("certificates for grown.example and not connect", count=2)


@pytest.mark.parametrize("sent", ["api.anthropic.com", None])
def test_a_client_that_connects_by_address_trusts_the_certificate(relay: Relay, sent: str | None) -> None:
    """The address is no name that the CA may sign for, so it is not in the certificate."""
    context = client_context(relay.ca_file)
    context.check_hostname = False
    with connect(relay.proxy_port) as sock:
        place = "192.0.2.1" if sent else "api.anthropic.com"
        sock.sendall(f"CONNECT {place}:443 HTTP/1.1\r\nHost: {place}:443\r\n\r\n".encode())
        assert b" 200 " in sock.recv(4096)
        with context.wrap_socket(sock, server_hostname=sent) as secured:
            certificate = secured.getpeercert()
    assert certificate is not None
    assert certificate["subjectAltName"] == (("DNS", "api.anthropic.com"),)
