"""Whether an address leads to a listener of this process, however it is written."""

from __future__ import annotations

import socket

import pytest

from claude_relay.proxy.access.own_listeners import is_mine, listening_at, reaches


@pytest.mark.parametrize(
    ("target", "listener", "reached"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("127.0.0.2", "0.0.0.0", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("::1", "::1", True),
        ("::1", "::", True),
        ("::1", "127.0.0.1", False),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("::", "::1", True),
        ("0.0.0.0", "192.0.2.99", False),
        ("192.0.2.99", "192.0.2.99", True),
        ("198.51.100.7", "0.0.0.0", False),
        ("2001:db8::7", "::", False),
        ("198.51.100.7", "127.0.0.1", False),
        ("255.255.255.255", "0.0.0.0", False),
    ],
)
def test_who_arrives(target: str, listener: str, reached: bool) -> None:
    place = (target, 8080, 0, 0) if ":" in target else (target, 8080)
    assert reaches(place, listener) is reached


@pytest.mark.parametrize(("family", "outside"), [(socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")])
def test_the_addresses_of_this_machine(family: socket.AddressFamily, outside: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((outside, 9))
        except OSError:
            pytest.skip("there are none but loopback ones")
        mine = probe.getsockname()
    assert is_mine((mine[0], 8080, *mine[2:]))
    assert reaches((mine[0], 8080, *mine[2:]), "0.0.0.0")
    assert reaches((mine[0], 8080, *mine[2:]), "::")
    assert not is_mine((outside, 8080))


def test_sockets_that_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert listening_at(listener) == listener.getsockname()
        with socket.create_connection(listener.getsockname()) as client:
            assert listening_at(client) is None
    assert listening_at(listener) is None
