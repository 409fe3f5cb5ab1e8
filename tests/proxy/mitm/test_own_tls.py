"""Which TLS is with the listener itself, and who may do without; what clients see of it is in tests/wire/test_own_tls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mitmproxy import options
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.connection import Client
from mitmproxy.net.http.http1 import read_response_head
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, ServerTLSLayer, modes
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.mode_specs import ProxyMode

from claude_relay.proxy.common.rejections import counted
from claude_relay.proxy.mitm.own_tls import LINGER, OwnTls, PlainRefused, is_outermost
from claude_relay.store.tls_pair import read
from proxy.stage import mitmproxy_with
from wire.certs import Authority

HELLO = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"


def connection(mode: str, peer: str = "192.0.2.9") -> context.Context:
    client = Client(
        peername=(peer, 1), sockname=("127.0.0.1", 2), timestamp_start=0.0, proxy_mode=ProxyMode.parse(mode)
    )
    found = context.Context(client, options.Options())
    (modes.ReverseProxy if mode.startswith("reverse") else modes.Socks5Proxy if mode == "socks5" else modes.HttpProxy)(
        found
    )
    return found


REVERSE, REGULAR = "reverse:http://api.anthropic.com:443", "regular"


@pytest.fixture
def own(tmp_path: Path) -> OwnTls:
    pair, _ = Authority(tmp_path).write_pair(tmp_path / "both.pem", "relay.example.com")
    found = OwnTls()
    with mitmproxy_with(TlsConfig()):
        found.present(read(pair, pair))
    return found


@pytest.mark.parametrize("mode", [REVERSE, REGULAR])
def test_mitmproxy_puts_tls_with_the_listener_right_behind_it(mode: str) -> None:
    """As its own addon stacks them; what comes within is further in."""
    found = connection(mode)
    stack = NextLayer._setup_reverse_proxy if mode == REVERSE else NextLayer._setup_explicit_http_proxy
    built = stack(found, HELLO)
    assert isinstance(built, ClientTLSLayer)
    assert is_outermost(found)
    assert isinstance(found.layers[0], modes.ReverseProxy if mode == REVERSE else modes.HttpProxy)
    inner = found.fork()
    ServerTLSLayer(inner)
    ClientTLSLayer(inner)
    assert not is_outermost(inner)
    assert is_outermost(found)


def test_tls_within_a_plain_tunnel_is_none_of_the_listeners() -> None:
    found = connection(REGULAR)
    HttpLayer(found, HTTPMode.regular)
    inner = found.fork()
    ServerTLSLayer(inner)
    ClientTLSLayer(inner)
    assert not is_outermost(inner)


def test_behind_socks_it_is_the_servers() -> None:
    found = connection("socks5")
    ClientTLSLayer(found)
    assert not is_outermost(found)


def refused(own: OwnTls, data: bytes, mode: str = REVERSE, peer: str = "192.0.2.9", within: bool = False) -> bool:
    surroundings = connection(mode, peer)
    if within:
        HttpLayer(surroundings, HTTPMode.regular)
    found = layer.NextLayer(surroundings)
    found.events.append(events.DataReceived(surroundings.client, data))
    settled = own.refuse_plain(found)
    assert settled is isinstance(found.layer, PlainRefused)
    return settled


def test_who_is_refused(own: OwnTls) -> None:
    before = counted()["plain"]
    plain = b"GET / HTTP/1.1\r\n"
    for mode in (REVERSE, REGULAR):
        assert refused(own, plain, mode)
        assert refused(own, b"\x16\x04", mode)
    assert counted()["plain"] == before + 4
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert not refused(own, plain, peer=peer)
    for data in (HELLO[:1], HELLO[:2], HELLO[:3], HELLO):
        assert not refused(own, data)
    assert not refused(own, plain, "socks5")
    assert not refused(own, plain, REGULAR, within=True)
    assert not refused(OwnTls(), plain)
    assert counted()["plain"] == before + 4


@pytest.mark.parametrize(
    "end",
    [
        lambda client, asked: events.Wakeup(asked),
        lambda client, asked: events.ConnectionClosed(client),
    ],
)
def test_a_refusal_waits_for_the_rest_of_the_request(
    end: Callable[[Client, commands.RequestWakeup], events.Event],
) -> None:
    found = PlainRefused(connection(REVERSE))
    client = found.context.client
    say, half, wake = found.handle_event(events.Start())
    assert isinstance(say, commands.SendData)
    head = read_response_head(say.data.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    assert (head.status_code, head.headers["x-should-retry"]) == (400, "false")
    assert isinstance(half, commands.CloseTcpConnection)
    assert half.half_close
    assert isinstance(wake, commands.RequestWakeup)
    assert wake.delay == LINGER
    assert list(found.handle_event(events.DataReceived(client, b"more"))) == []
    [close] = found.handle_event(end(client, wake))
    assert isinstance(close, commands.CloseConnection)
