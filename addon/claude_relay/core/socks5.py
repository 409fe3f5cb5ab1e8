"""The client's side of a SOCKS5 handshake, sans I/O: bytes in, bytes out.

    handshake = Handshake("api.anthropic.com", 443, "me", "secret")
    send(handshake.begin())
    while not handshake.done:
        send(handshake.receive(read()))       raises SocksError; what comes after the handshake is in `handshake.rest`

    greeting ──► method ──┬──► reply ──► done        https://www.rfc-editor.org/rfc/rfc1928
                          └──► password ──► reply    https://www.rfc-editor.org/rfc/rfc1929

Names are not looked up here: the proxy does it. It must not know sockets, nor what the tunnel is for. No error repeats a credential or
what the proxy has said.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

VERSION: Final = 5
LONGEST: Final = 255
"""Bytes of a host's name, a user's, a password: each has one byte for its length."""
NOT_USABLE: Final = 0xFF
NAME: Final = 3
REPLY_LENGTHS: Final = {1: 10, 4: 22}
"""Bytes of a whole reply, by the type of the address in it; one with a name says by itself how long that is."""

REFUSALS: Final = {
    1: "the proxy has failed in general",
    2: "the proxy does not allow connections to this host",
    3: "the proxy says that the network is unreachable",
    4: "the proxy says that the host is unreachable or has no such name",
    5: "the proxy says that the host refused the connection",
    6: "the proxy says that the time to live expired",
    7: "the proxy does not know how to connect",
    8: "the proxy does not take this type of address",
}
"""What a reply other than success means."""
NO_SOCKS: Final = "no SOCKS5 proxy is there"
SPEAKS_HTTP: Final = "no SOCKS5 proxy is there, but one that speaks HTTP: write http:// in the place of socks5://"
WANTS_PASSWORD: Final = "the proxy wants a user and a password"
WANTS_OTHER: Final = "the proxy takes neither a user with a password nor nobody in particular"
REFUSED_PASSWORD: Final = "the proxy refused the user or the password"
ENDED: Final = "the proxy hung up in the middle of the handshake"


class SocksError(Exception):
    """There will be no tunnel; the text is the reason, in words for people."""


class Handshake:
    """One handshake. `username` and `password`: both empty for nobody in particular."""

    def __init__(self, host: str, port: int, username: str = "", password: str = "") -> None:
        """Raises SocksError for what does not fit into the protocol."""
        self._request = bytes((VERSION, 1, 0)) + _address(host) + port.to_bytes(2, "big")
        self._password = _password(username, password) if username or password else b""
        self._buffer = b""
        self._state: Callable[[], bytes | None] = self._method
        self.done = False
        """Whether the tunnel stands."""

    def begin(self) -> bytes:
        """The greeting: the ways to sign in that we know."""
        return b"\x05\x02\x00\x02" if self._password else b"\x05\x01\x00"

    def receive(self, data: bytes) -> bytes:
        """Take in what came, in pieces of any size; returns what to answer. Raises SocksError."""
        self._buffer += data
        answers = b""
        while not self.done and (answer := self._state()) is not None:
            answers += answer
        return answers

    @property
    def rest(self) -> bytes:
        """What came after the handshake: the far end's first words."""
        return self._buffer if self.done else b""

    @property
    def wanted(self) -> int:
        """At least so many bytes are still to come, for readers that must not take one too many."""
        have = len(self._buffer)
        if self._state != self._reply:
            return 2 - have
        return 5 - have if have < 5 else REPLY_LENGTHS.get(self._buffer[3], 7 + self._buffer[4]) - have

    # -- states: what to answer, or None while more must come

    def _method(self) -> bytes | None:
        if self._buffer and self._buffer[0] != VERSION:
            raise SocksError(SPEAKS_HTTP if self._buffer[:1] == b"H" else NO_SOCKS)
        if len(self._buffer) < 2:
            return None
        chosen, self._buffer = self._buffer[1], self._buffer[2:]
        if chosen == 0:
            self._state = self._reply
            return self._request
        if chosen == 2 and self._password:
            self._state = self._signed_in
            return self._password
        if chosen in (2, NOT_USABLE) and not self._password:
            raise SocksError(WANTS_PASSWORD)
        raise SocksError(WANTS_OTHER if chosen == NOT_USABLE else NO_SOCKS)

    def _signed_in(self) -> bytes | None:
        if len(self._buffer) < 2:
            return None
        status, self._buffer = self._buffer[1], self._buffer[2:]
        if status:
            raise SocksError(REFUSED_PASSWORD)
        self._state = self._reply
        return self._request

    def _reply(self) -> bytes | None:
        start = self._buffer
        if start and start[0] != VERSION:
            raise SocksError(NO_SOCKS)
        if len(start) > 1 and start[1]:  # some proxies send no more of a refusal
            raise SocksError(REFUSALS.get(start[1], f"the proxy refused for a reason of its own ({start[1]})"))
        if len(start) < 5:
            return None
        if start[3] not in (*REPLY_LENGTHS, NAME):
            raise SocksError(NO_SOCKS)
        length = REPLY_LENGTHS.get(start[3], 7 + start[4])
        if len(start) < length:
            return None
        self._buffer, self.done = start[length:], True
        return b""


def _address(host: str) -> bytes:
    try:
        number = ip_address(host)
    except ValueError:
        return b"\x03" + _counted(_encoded(host), "the name of the host")
    return (b"\x01" if number.version == 4 else b"\x04") + number.packed


def _encoded(host: str) -> bytes:
    try:
        return host.encode("ascii") if host.isascii() else host.encode("idna")
    except UnicodeError:
        raise SocksError("the host has no valid name") from None


def _password(username: str, password: str) -> bytes:
    texts = ((username, "the proxy's user"), (password, "the proxy's password"))
    return b"\x01" + b"".join(_counted(text.encode("utf-8", "surrogateescape"), what) for text, what in texts)


def _counted(data: bytes, what: str) -> bytes:
    if len(data) > LONGEST:
        raise SocksError(f"{what} is longer than {LONGEST} bytes, which SOCKS5 has no room for")
    return bytes((len(data),)) + data
