"""Who asks: the decisions, one by one. What becomes of them on the wire is in tests/wire/test_client_keys.py."""

from __future__ import annotations

import asyncio
import base64

import pytest
from mitmproxy import http

from claude_relay.core.clients.credentials import Kind, digest
from claude_relay.core.clients.directory import Client, Directory, Grant
from claude_relay.core.clients.offers import Offer
from claude_relay.core.config import parse
from claude_relay.core.errors import RelayError
from claude_relay.proxy.access import identity
from claude_relay.proxy.messages.wire import lower_headers

from .test_doors import BASE, flow_of

KEY = "rk-" + "1" * 48
OTHER = "rk-" + "2" * 48


class Known:
    """Clients that need no database."""

    unread: str | None = None

    def __init__(self, **keys: str) -> None:
        grants = {digest(key): Grant(Client(name, name), Kind.KEY) for name, key in keys.items()}
        self.directory = Directory(grants=grants)

    async def find(self, secret: str) -> Grant | None:
        return self.directory.find(secret)


def basic(name: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()


def offers(flow: http.HTTPFlow) -> list[tuple[str, str | None]]:
    return [(offer.secret, offer.name) for offer in identity.offers_of(flow, lower_headers(flow.request))]


def test_what_is_said_at_the_base_url_and_what_at_the_proxy() -> None:
    said = {"proxy_authorization": basic("alice", KEY), "authorization": f"Bearer {OTHER}"}
    assert offers(flow_of(**said)) == [(KEY, "alice"), (OTHER, None)]
    assert offers(flow_of(mode=BASE, **said)) == [(OTHER, None)]
    assert offers(flow_of(authorization="Bearer sk-ant-x", proxy_authorization=basic("me", "password"))) == []


def behind(known: Known | None, *offers: Offer) -> str:
    async def main() -> str:
        try:
            client = await identity.client_behind(offers, known, "ops", at_proxy=False)  # type: ignore[arg-type]
        except RelayError as error:
            return f"{error.status} {error.message}"
        return client.name if client else ""

    return asyncio.run(main())


def test_the_client_behind_keys() -> None:
    known = Known(alice=KEY, bob=OTHER)
    assert behind(known) == ""
    assert behind(known, Offer(KEY), Offer(KEY, "alice")) == "alice"
    assert "401" in behind(known, Offer(KEY, "bob"))
    assert "different clients" in behind(known, Offer(KEY), Offer(OTHER))
    assert "not known. Copy it again" in behind(known, Offer("rk-wrong"))
    assert behind(None, Offer(KEY)).startswith("503")
    known.unread = "it is locked"
    assert behind(known, Offer(KEY)) == "alice"
    assert "it is locked" in behind(known, Offer("rk-wrong"))


@pytest.mark.parametrize(("peer", "expected"), [("10.0.0.1", "192.0.2.7"), ("127.0.0.1", "127.0.0.1")])
def test_the_address_of_a_client(peer: str, expected: str) -> None:
    config = parse("listen: {trusted_proxies: [10.0.0.0/8]}", environ={})
    assert str(identity.address_of(flow_of(peer, x_forwarded_for="192.0.2.7"), config)) == expected
