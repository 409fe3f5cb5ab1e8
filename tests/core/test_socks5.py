"""SOCKS5's handshake, as bytes."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import socks5
from claude_relay.core.socks5 import REFUSALS, Handshake, SocksError

BOUND = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
NAMED = b"\x05\x00\x00\x03\x04name\x00\x50"
SIX = b"\x05\x00\x00\x04" + bytes(16) + b"\x00\x50"


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(socks5).failed == 0


def test_nobody_in_particular() -> None:
    handshake = Handshake("api.example", 443)
    assert handshake.begin() == b"\x05\x01\x00"
    assert handshake.receive(b"\x05\x00") == b"\x05\x01\x00\x03\x0bapi.example\x01\xbb"
    assert handshake.receive(BOUND) == b""
    assert handshake.done
    assert handshake.rest == b""


def test_user_and_password() -> None:
    handshake = Handshake("10.0.0.1", 80, "me", "pä:ss")
    assert handshake.begin() == b"\x05\x02\x00\x02"
    assert handshake.receive(b"\x05\x02") == b"\x01\x02me\x06" + "pä:ss".encode()
    assert handshake.receive(b"\x01\x00") == b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50"
    assert handshake.receive(SIX) == b""
    assert handshake.done


def test_a_proxy_that_wants_no_password_gets_none() -> None:
    handshake = Handshake("2001:db8::1", 443, "me", "secret")
    handshake.begin()
    said = handshake.receive(b"\x05\x00")
    assert said[:4] == b"\x05\x01\x00\x04"
    assert b"secret" not in said


@pytest.mark.parametrize("reply", [BOUND, NAMED, SIX])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_it_comes_in_pieces(reply: bytes, size: int) -> None:
    handshake = Handshake("api.example", 443, "me", "secret")
    whole = b"\x05\x02" + b"\x01\x00" + reply + b"first words"
    answers = b"".join(handshake.receive(whole[at : at + size]) for at in range(0, len(whole), size))
    assert answers == b"\x01\x02me\x06secret" + b"\x05\x01\x00\x03\x0bapi.example\x01\xbb"
    assert handshake.done
    assert handshake.rest == b"first words"


@pytest.mark.parametrize("code", [*REFUSALS, 9, 255])
def test_refusals_by_name(code: int) -> None:
    handshake = Handshake("api.example", 443)
    handshake.receive(b"\x05\x00")
    with pytest.raises(SocksError, match="the proxy") as raised:
        handshake.receive(bytes((5, code)))
    assert REFUSALS.get(code, str(code)) in str(raised.value)
    assert not handshake.done


@pytest.mark.parametrize(
    ("user", "says", "words"),
    [
        ("", b"\x05\xff", "wants a user and a password"),
        ("", b"\x05\x02", "wants a user and a password"),
        ("me", b"\x05\xff", "takes neither"),
        ("me", b"\x05\x01", "no SOCKS5 proxy"),
        ("me", b"\x05\x02\x01\x01", "refused the user or the password"),
        ("", b"\x04\x00", "no SOCKS5 proxy"),
        ("", b"H", "speaks HTTP"),
        ("", b"HTTP/1.1 400 Bad Request\r\n", "write http://"),
        ("", b"\x05\x00\x04", "no SOCKS5 proxy"),
        ("", b"\x05\x00\x05\x00\x00\x07\x00", "no SOCKS5 proxy"),
    ],
)
def test_what_cannot_be(user: str, says: bytes, words: str) -> None:
    with pytest.raises(SocksError, match=words) as raised:
        Handshake("api.example", 443, user, "hunter2" if user else "").receive(says)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "user", "password"),
    [("a" * 256, "", ""), ("h", "u" * 256, "p"), ("h", "u", "p" * 256), ("é" * 100, "", "")],
)
def test_what_does_not_fit(host: str, user: str, password: str) -> None:
    with pytest.raises(SocksError):
        Handshake(host, 443, user, password)


def test_an_international_name() -> None:
    assert b"xn--bcher-kva.x" in Handshake("bücher.x", 1).receive(b"\x05\x00")


@given(st.binary(max_size=300), st.booleans())
def test_whatever_comes(data: bytes, signed: bool) -> None:
    """It ends in a tunnel, a wait for more, or a reason; and it is all the same in which pieces it comes."""

    def outcome(pieces: list[bytes]) -> object:
        handshake = Handshake("api.example", 443, *(("me", "secret") if signed else ()))
        try:
            answers = b"".join(map(handshake.receive, pieces))
        except SocksError as error:
            return str(error)
        return answers, handshake.done, handshake.rest

    assert outcome([data]) == outcome([data[at : at + 1] for at in range(len(data))])
