"""What a connection is, by its first bytes: in any pieces, and never from more of them than a head may have."""

from __future__ import annotations

import pytest
from mitmproxy.addons.next_layer import NeedsMoreData
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.layers.tls import ClientTLSLayer

from claude_relay.proxy.mitm.first_bytes import GREETING, BoundedGreeting, bound, host_header, settle
from claude_relay.proxy.mitm.heads import BOUNDS

from .layers import surroundings


def host(data: bytes, answered: bytes = b"") -> str | None:
    return host_header(surroundings(), data, answered)


HEAD = b"POST /v1/messages HTTP/1.1\r\naccept: */*\r\nHOST:  api.anthropic.com:443 \r\nx: y\r\n\r\n"


def test_the_host_is_found_as_soon_as_its_line_is_whole() -> None:
    known, whole = HEAD.index(b"HTTP/") + 5, HEAD.index(b"\r\nx") + 2
    for size in range(3, len(HEAD) + 1):
        if size < known:
            assert host(HEAD[:size]) is None
        elif size < whole:
            with pytest.raises(NeedsMoreData):
                host(HEAD[:size])
        else:
            assert host(HEAD[:size]) == "api.anthropic.com:443"


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\x03", b"SSH-2.0-OpenSSH\r\n", b"GET /\r\n", b"GET / HTTP/1.1\r\na: b\r\n\r\n", b"PRI\n"]
)
def test_what_names_none(data: bytes) -> None:
    assert host(data) is None


@pytest.mark.parametrize("data", [b"\x16", b"\x16\x03"])
def test_so_few_bytes_tell_nothing(data: bytes) -> None:
    with pytest.raises(NeedsMoreData):
        host(data)


def test_a_head_that_does_not_end() -> None:
    assert host(b"GET / HTTP/1.1\r\na: " + b"b" * BOUNDS.bounds.head) is None
    assert host(HEAD, answered=b"220 hello") is None


def settled(size: int) -> layer.NextLayer:
    found = layer.NextLayer(surroundings())
    found.events.append(events.DataReceived(found.context.client, b"x" * size))
    settle(found)
    return found


def test_who_says_much_and_is_still_not_known_is_hung_up_on() -> None:
    assert settled(BOUNDS.bounds.head).layer is None
    found = settled(BOUNDS.bounds.head + 1)
    assert found.layer is not None
    assert [type(command) for command in found.layer.handle_event(events.Start())] == [commands.CloseConnection]


def test_the_greeting_of_a_tls_client_is_bounded() -> None:
    around = surroundings()
    built = layers.ServerTLSLayer(around)
    built.child_layer = ClientTLSLayer(around)
    bound(built)
    greeting = built.child_layer
    assert type(greeting) is BoundedGreeting
    generator = greeting.receive_handshake_data(b"\x16\x03\x01\x40\x00" + b"x" * GREETING)
    with pytest.raises(StopIteration) as over:
        next(generator)
    assert over.value.value == (False, "the TLS ClientHello is too long")
