"""Connections through an outbound proxy, in mitmproxy's words."""

from __future__ import annotations

import copy
import doctest

import pytest
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import layers
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from claude_relay.core.config import OutboundProxy, WayOut
from claude_relay.core.exchange import Failure, Outcome
from claude_relay.proxy.mitm import outbound
from claude_relay.proxy.mitm.outbound import Place, Tunnel, authorize, lead, lead_on, through, via, with_proxy

from .layers import surroundings

MINE, YOURS = (OutboundProxy.parse(f"http://{who}:pass@proxy.example:3128") for who in ("me", "you"))
TLS = OutboundProxy.parse("https://proxy.example")


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(outbound).failed == 0


def test_another_credential_is_another_place() -> None:
    assert Place.of(MINE) == Place.of(MINE)
    assert Place.of(MINE) != Place.of(YOURS)
    assert tuple(Place.of(MINE)) == tuple(Place.of(YOURS)) == ("proxy.example", 3128)
    assert Place.of(MINE) != ("proxy.example", 3128)
    assert len({Place.of(MINE), Place.of(YOURS), Place.of(MINE)}) == 2
    assert b"pass" not in Place.of(MINE).mark
    assert type(copy.deepcopy(Place.of(MINE))) is tuple


def test_a_flow_is_led_through_a_proxy_and_off_it_again() -> None:
    flow = tflow.tflow()
    before = flow.server_conn
    lead(flow, None)
    assert flow.server_conn is before
    lead(flow, TLS)
    assert flow.server_conn.via == via(TLS) == ("https", Place.of(TLS))
    through_it = flow.server_conn
    lead(flow, TLS)
    assert flow.server_conn is through_it
    lead(flow, MINE)
    assert flow.server_conn.via == ("http", Place.of(MINE))
    lead(flow, None)
    assert flow.server_conn.via is None


def test_where_the_environment_says_nothing_mitmproxy_has_its_way() -> None:
    flow = tflow.tflow()
    lead(flow, MINE)
    assert lead_on(flow, WayOut()) is None
    assert flow.server_conn.via == ("http", Place.of(MINE))
    flow.request.host = "far.example"
    assert lead_on(flow, WayOut(http=YOURS)) == YOURS
    assert flow.server_conn.via == ("http", Place.of(YOURS))


@pytest.mark.parametrize("host", ["h.example", "2001:db8::1"])
def test_a_connect_gets_the_credential_of_its_proxy(host: str) -> None:
    flow = tflow.tflow()
    flow.request.host, flow.request.port = host, 443
    flow.server_conn.address = Place.of(YOURS)
    authorize(flow, [None, MINE, TLS])
    assert "proxy-authorization" not in flow.request.headers
    authorize(flow, [MINE, YOURS])
    assert flow.request.headers["proxy-authorization"] == YOURS.authorization
    if ":" in host:
        assert flow.request.headers["host"] == f"[{host}]:443"


def test_what_went_wrong_is_told_with_the_proxys_name() -> None:
    broken = Outcome(failure=Failure.CONNECT, message="Error connecting to proxy.example:3128: no HTTP")
    assert with_proxy(broken, None) is broken
    assert with_proxy(broken, MINE).message == "no proxy is there, through http://proxy.example:3128"
    answered = Outcome(502, message="bad")
    assert with_proxy(answered, MINE) is answered


@pytest.mark.parametrize(
    ("mode", "port", "led"), [("regular", 443, True), ("regular", 80, False), ("socks5", 443, False)]
)
def test_an_unread_tunnel_goes_through_the_environments_proxy(mode: str, port: int, led: bool) -> None:
    around = surroundings()
    around.client.proxy_mode = ProxyMode.parse(mode)
    around.server.state = ConnectionState.CLOSED
    around.server.address = ("far.example", port)
    built = layers.TCPLayer(around)
    found = through(built, WayOut(https=MINE))
    assert isinstance(found, Tunnel) is led
    assert (found is built) is not led
    assert around.server.via == (via(MINE) if led else None)
