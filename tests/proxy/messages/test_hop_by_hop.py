"""Which header fields are for one hop."""

from __future__ import annotations

import pytest

from claude_relay.proxy.messages.hop_by_hop import HOP_BY_HOP, OF_THE_BODY, led_on, onward

KEPT = (b"X-Kept", b"1")


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_what_every_proxy_has_to_know(name: bytes) -> None:
    for spelt in (name, name.title(), name.upper()):
        assert onward((KEPT, (spelt, b"x"))) == (KEPT,)


@pytest.mark.parametrize(
    "fields",
    [
        ((b"Connection", b"X-Mine"), (b"x-mine", b"1")),
        ((b"connection", b"close, x-mine"), (b"X-Mine", b"1"), (b"x-MINE", b"2")),
        ((b"X-Mine", b"1"), (b"Connection", b"\tX-Mine ,, x-other"), (b"X-Other", b"1")),
        ((b"Connection", b"keep-alive"), (b"Connection", b"x-mine"), (b"Keep-Alive", b"5"), (b"X-Mine", b"1")),
    ],
)
def test_what_connection_names(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    assert onward((KEPT, *fields)) == (KEPT,)


def test_nobody_can_name_away_what_tells_of_the_body() -> None:
    names = sorted(OF_THE_BODY)
    fields = tuple((name, b"x") for name in names)
    assert onward(((b"Connection", b", ".join(names)), *fields)) == fields


@pytest.mark.parametrize(
    ("connection", "te", "found"),
    [
        (b"", b"trailers", (b"TE", b"trailers")),
        (b"", b"gzip;q=0.5, Trailers", (b"TE", b"trailers")),
        (b"", b"gzip", None),
        (b"", b"xtrailers", None),
        (b"TE", b"trailers", None),
    ],
)
def test_te(connection: bytes, te: bytes, found: tuple[bytes, bytes] | None) -> None:
    fields = ((b"Connection", connection), (b"TE", te), KEPT)
    assert onward(fields) == tuple(field for field in (found, KEPT) if field)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (((b"connection", b"Upgrade, X-Mine"), (b"Upgrade", b"websocket"), (b"X-Mine", b"1"), KEPT), b"websocket"),
        (((b"Connection", b"X-Mine"), (b"Upgrade", b"h2c"), (b"X-Mine", b"1"), KEPT), None),
        (((b"Connection", b"upgrade"), (b"Proxy-Authorization", b"Basic Zg=="), KEPT), None),
    ],
)
def test_a_change_of_protocol_is_led_on(fields: tuple[tuple[bytes, bytes], ...], found: bytes | None) -> None:
    upgrade = ((b"Connection", b"Upgrade"), (b"Upgrade", found)) if found else ()
    assert led_on(fields) == (KEPT, *upgrade)
    assert led_on((KEPT,)) == (KEPT,)


def test_nothing_else_changes() -> None:
    fields = ((b"Host", b"a"), (b"A", b"1"), (b"a", b"2"), (b"B", b"\xff"), (b"Connectionx", b"a"))
    assert onward(fields) == fields
