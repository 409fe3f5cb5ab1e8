"""What is known of a request from its head: the client's credentials leave the flow before anything else happens."""

from __future__ import annotations

import asyncio

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.exchange import Endpoint
from claude_relay.proxy.flow.claiming import admit, claim, lead_on
from claude_relay.proxy.flow.parts import Parts
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.inspection import View
from proxy.stage import mitmproxy_with

SECRET = "sk-ant-api03-the-clients-own"
RUNTIME = Runtime.of(parse("{}", environ={}), environ={})


def flow_of(path: str, mode: str = "regular", peer: str = "127.0.0.1", **headers: str) -> http.HTTPFlow:
    fields = http.Headers(tuple((n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()))
    flow = tflow.tflow(req=tflow.treq(host="api.anthropic.com", port=443, path=path.encode(), headers=fields))
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.client_conn.peername = (peer, 50_000)
    flow.client_conn.sockname = ("127.0.0.1", 8082)
    return flow


def claimed(flow: http.HTTPFlow) -> Relayed:
    with mitmproxy_with():
        relayed = claim(flow, RUNTIME, Parts(View(1, 1)))
    assert RELAYED.pop(flow) is relayed
    return relayed


def test_the_clients_credential_leaves_the_flow() -> None:
    flow = flow_of("/v1/messages", host="api.anthropic.com", x_api_key=SECRET)
    relayed = claimed(flow)
    assert SECRET not in str(flow.request.headers)
    assert relayed.client_signature is not None
    assert SECRET in str(relayed.client_signature.fields)
    assert (relayed.placeholder_only, relayed.local) == (False, True)
    assert SECRET not in relayed.redaction.text(f"it said {SECRET}")


@pytest.mark.parametrize(
    ("path", "endpoint"), [("/v1/messages?beta=true", Endpoint.MESSAGES), ("/api/hello", Endpoint.SIDE)]
)
def test_what_it_asks_for(path: str, endpoint: Endpoint) -> None:
    relayed = claimed(flow_of(path, host="api.anthropic.com"))
    assert relayed.facts.endpoint is endpoint
    side = endpoint is Endpoint.SIDE
    assert relayed.limits is (RUNTIME.side_limits if side else RUNTIME.limits)


def test_at_the_base_url_the_intercepted_host_is_meant() -> None:
    mode = "reverse:http://api.anthropic.com:443@127.0.0.1:8082"
    flow = flow_of("/v1/messages", mode, host="127.0.0.1:8082")
    relayed = claimed(flow)
    assert (flow.request.scheme, flow.request.headers["host"]) == ("https", "api.anthropic.com")
    assert relayed.base == "http://127.0.0.1:8082"


def test_who_comes_from_another_machine_is_turned_away() -> None:
    flow = flow_of("/v1/messages", peer="192.0.2.7", host="api.anthropic.com")
    relayed = claimed(flow)
    asyncio.run(admit(flow, relayed, None))
    assert (relayed.local, relayed.served) == (False, False)
    assert relayed.turned_away is not None
    assert relayed.turned_away.status == 407


def test_a_client_key_leaves_the_flow_and_goes_nowhere() -> None:
    key = "rk-" + "0a" * 24
    flow = flow_of(f"/v1/models?key={key}", host="api.anthropic.com", authorization=f"Bearer {key}", x_mine=f"my {key}")
    relayed = claimed(flow)
    assert [offer.secret for offer in relayed.offers] == [key]
    assert key not in f"{flow.request.headers} {flow.request.path}"
    assert relayed.client_signature is not None
    assert key not in str(relayed.client_signature.fields)
    assert relayed.placeholder_only
    assert key not in relayed.redaction.text(f"it said {key}")


@pytest.mark.parametrize(("peer", "may"), [("127.0.0.1", True), ("192.0.2.7", False)])
def test_other_hosts_are_led_on_for_programs_on_this_machine_only(peer: str, may: bool) -> None:
    flow = flow_of("/", peer=peer, host="example.org")
    flow.request.host = "example.org"
    with mitmproxy_with():
        asyncio.run(lead_on(flow, RUNTIME, None))
    assert (flow.response is None) is may
    assert bool(flow.request.stream) is may
