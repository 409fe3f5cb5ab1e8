"""Tunnels through outbound proxies, layer by layer; with real proxies: tests/wire/test_socks.py."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.layers.http import _upstream_proxy

from claude_relay.core.config import OutboundProxy
from claude_relay.proxy.mitm import shortcuts
from claude_relay.proxy.mitm.outbound import introduce, via
from claude_relay.proxy.mitm.tunnels import FAILED, Connect, RelayWayHook, Socks5, Tunnel, make

from .layers import surroundings

SOCKS = OutboundProxy.parse("socks5://me:secret@proxy.example")


class Child(layer.Layer):
    """Opens the connection and remembers what came of it."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            self.error = yield commands.OpenConnection(self.context.server)
            self.heard = b""
        elif isinstance(event, events.DataReceived):
            self.heard += event.data


def tunnel(proxy: OutboundProxy) -> tuple[Tunnel, Child, list[commands.Command]]:
    """One whose proxy has just been reached, and what it has asked for since."""
    around = surroundings()
    around.server = Server(address=("far.example", 443))
    around.server.via = via(proxy)
    stack = make(Tunnel, around, True)
    built, child = stack[-1], Child(around)
    assert isinstance(built, Tunnel)
    stack /= child
    [opening] = [*built.handle_event(events.Start())]
    assert isinstance(opening, commands.OpenConnection)
    assert opening.connection is built.tunnel_connection
    built.tunnel_connection.state = ConnectionState.OPEN
    return built, child, run(built, events.OpenConnectionCompleted(opening, None))


def run(built: layer.Layer, event: events.Event) -> list[commands.Command]:
    """What it asks for; the hook is answered at once."""
    found: list[commands.Command] = []
    for command in built.handle_event(event):
        found.append(command)
        if isinstance(command, RelayWayHook):
            introduce(command.way, [None, SOCKS])
            assert "secret" not in repr(command.way)
    for command in [*found]:
        if isinstance(command, commands.StartHook):
            found += run(built, events.HookCompleted(command))
    return found


def sent(found: list[commands.Command]) -> bytes:
    return b"".join(command.data for command in found if isinstance(command, commands.SendData))


def test_which_layers_a_proxy_has() -> None:
    around = surroundings()
    for url, kinds in (
        ("http://p", [Connect]),
        ("https://p", [tls.ServerTLSLayer, Connect]),
        ("socks5://p", [Socks5]),
    ):
        around.server = Server(address=("far.example", 443))
        around.server.via = via(OutboundProxy.parse(url))
        assert [type(found) for found in make(Tunnel, around, True)._stack] == kinds


def test_it_takes_the_place_of_mitmproxys_own() -> None:
    before = vars(_upstream_proxy.HttpUpstreamProxy)["make"]
    shortcuts.install()
    try:
        around = surroundings()
        around.server = Server(address=("far.example", 443))
        around.server.via = via(SOCKS)
        assert isinstance(_upstream_proxy.HttpUpstreamProxy.make(around, True)[0], Socks5)
    finally:
        shortcuts.remove()
    assert vars(_upstream_proxy.HttpUpstreamProxy)["make"] is before


def test_the_handshake_and_the_far_ends_first_words() -> None:
    built, child, asked = tunnel(SOCKS)
    assert sent(asked) == b"\x05\x02\x00\x02"
    assert sent(feed(built, b"\x05\x02")) == b"\x01\x02me\x06secret"
    assert sent(feed(built, b"\x01\x00")) == b"\x05\x01\x00\x03\x0bfar.example\x01\xbb"
    feed(built, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50hello")
    assert (child.error, child.heard) == (None, b"hello")
    feed(built, b" again")
    assert child.heard == b"hello again"


def feed(built: Tunnel, data: bytes) -> list[commands.Command]:
    return run(built, events.DataReceived(built.tunnel_connection, data))


@pytest.mark.parametrize("proxy", [SOCKS, OutboundProxy.parse("http://proxy.example")])
def test_its_time_is_over(proxy: OutboundProxy) -> None:
    built, child, asked = tunnel(proxy)
    alarm: Any = next(command for command in asked if isinstance(command, commands.RequestWakeup))
    assert alarm.delay == 10.0
    closed = run(built, events.Wakeup(alarm))
    assert [type(command) for command in closed] == [commands.CloseConnection]
    assert child.error == f"{FAILED}the proxy gave no answer within 10 s"


def test_an_alarm_after_the_handshake_is_none() -> None:
    built, child, asked = tunnel(SOCKS)
    alarm: Any = next(command for command in asked if isinstance(command, commands.RequestWakeup))
    feed(built, b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    assert run(built, events.Wakeup(alarm)) == []
    assert child.error is None


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_it_hangs_up(size: int) -> None:
    built, child, _ = tunnel(SOCKS)
    feed(built, b"\x05\x00\x05"[:size])
    run(built, events.ConnectionClosed(built.tunnel_connection))
    assert child.error == f"{FAILED}the proxy hung up in the middle of the handshake"


def test_a_name_that_does_not_fit() -> None:
    around = surroundings()
    around.server = Server(address=("a" * 300, 443))
    around.server.via = via(SOCKS)
    stack = make(Tunnel, around, True)
    built, child = stack[-1], Child(around)
    stack /= child
    assert isinstance(built, Tunnel)
    [opening] = [*built.handle_event(events.Start())]
    assert isinstance(opening, commands.OpenConnection)
    run(built, events.OpenConnectionCompleted(opening, None))
    assert child.error is not None
    assert "longer than 255 bytes" in child.error


def test_layers_of_mitmproxys_that_this_stands_on() -> None:
    assert layers.TCPLayer
    for name in (
        "start_handshake",
        "receive_handshake_data",
        "on_handshake_error",
        "_handshake_finished",
        "event_to_child",
    ):
        assert hasattr(Tunnel, name)
