"""Relays that listen on every address, and clients that come from elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from waiting import PATIENCE

from .clients import Answer, RawClient


def far_address(family: socket.AddressFamily = socket.AF_INET) -> str:
    """An address of this machine that is no loopback one: who dials it comes from it. Nothing is sent to find it out."""
    outside = "198.51.100.1" if family == socket.AF_INET else "2001:db8::1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((outside, 9))
        except OSError:
            pytest.skip("this machine has no address but loopback ones")
        return str(probe.getsockname()[0])


def dial(port: int, host: str = "127.0.0.1", *, call: str | None = None) -> RawClient:
    """A client that connects to `host`, and names it `call`."""
    return RawClient(sock=socket.create_connection((host, port), timeout=PATIENCE), host=call or host)


def everywhere(*ports: int, **more: Any) -> dict[str, Any]:
    """`listen` for the proxy and the base URL on all addresses."""
    return {"proxy": f"0.0.0.0:{ports[0]}", "base_url": f"0.0.0.0:{ports[1]}"} | more


def tunnel(client: RawClient, place: str, *, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """The answer to a CONNECT."""
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *(f"{n}: {v}" for n, v in headers)]
    client.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    found = client.head()
    while found.status != 200 and client.piece() is not None:
        pass
    return found
