"""Who is let in: the decisions, one by one. What becomes of them on the wire is in tests/wire/test_doors.py."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.test import tflow

from claude_relay.core.config import Address, Config, parse
from claude_relay.proxy.access import doors, trail
from claude_relay.proxy.messages.wire import lower_headers
from proxy.stage import mitmproxy_with

PLAIN = parse("providers: {anthropic: {preset: anthropic}}", environ={})
BEHIND = parse(
    "listen: {hosts: [relay.example], trusted_proxies: [10.0.0.0/8], cors: ['https://app.example']}", environ={}
)


def flow_of(
    peer: str = "127.0.0.1", *, mode: str = "regular", host: str = "api.anthropic.com", **headers: str
) -> http.HTTPFlow:
    client = Client(peername=(peer, 1), sockname=("127.0.0.1", 8082), timestamp_start=time.time())
    client.proxy_mode = ProxyMode.parse(mode)
    flow = tflow.tflow(client_conn=client)
    flow.request = http.Request.make("POST", "https://api.anthropic.com/v1/messages")
    flow.request.host_header = host
    for name, value in headers.items():
        flow.request.headers[name.replace("_", "-")] = value
    return flow


def entrance(flow: http.HTTPFlow, config: Config = PLAIN) -> tuple[bool, int | None]:
    local, error = doors.entrance(flow, config, lower_headers(flow.request))
    return local, None if error is None else error.status


BASE = "reverse:https://api.anthropic.com"


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ({}, (True, None)),
        ({"peer": "::1"}, (True, None)),
        ({"peer": "192.0.2.9"}, (False, None)),
        ({"peer": "192.0.2.9", "mode": BASE, "host": "127.0.0.1:8082"}, (False, None)),
        ({"x_forwarded_for": "192.0.2.9"}, (False, None)),
        ({"host": "other.example"}, (False, 403)),
        ({"mode": BASE, "host": "127.0.0.1:8082"}, (True, None)),
        ({"mode": BASE, "host": "localhost:8082"}, (True, None)),
        ({"mode": BASE, "host": "evil.example:8082"}, (False, 403)),
        ({"origin": "https://evil.example"}, (False, 403)),
        ({"sec_fetch_site": "cross-site"}, (False, 403)),
        ({"relay_via": f"x, {trail.TOKEN}"}, (False, 508)),
    ],
)
def test_the_entrance(flow: dict[str, Any], expected: tuple[bool, int | None]) -> None:
    assert entrance(flow_of(**flow)) == expected


def test_what_a_configuration_allows() -> None:
    near = {"peer": "10.0.0.1", "mode": BASE, "host": "relay.example:8082"}
    assert entrance(flow_of(**near), BEHIND) == (False, None)  # another machine
    assert entrance(flow_of(**near, x_forwarded_for="127.0.0.1"), BEHIND) == (True, None)
    assert entrance(flow_of(mode=BASE, host="relay.example:8082", origin="https://app.example"), BEHIND) == (True, None)
    assert entrance(flow_of(mode=BASE, host="relay.example:8082")) == (False, 403)


def test_a_request_without_host_or_with_two() -> None:
    none, two = flow_of(), flow_of()
    del none.request.headers["host"]
    two.request.headers.fields += ((b"host", b"other.example"),)
    for flow in (none, two):
        assert entrance(flow) == (False, 403)


def passage(flow: http.HTTPFlow) -> int | None:
    async def main() -> int | None:
        with mitmproxy_with():
            error = await doors.passage(flow, PLAIN, lower_headers(flow.request), None, intercepted=False)
            return None if error is None else error.status

    return asyncio.run(main())


def test_the_passage_is_for_programs_on_this_machine_and_not_to_the_panel() -> None:
    assert passage(flow_of()) is None
    assert passage(flow_of("192.0.2.9")) == 407
    assert passage(flow_of(relay_via=trail.TOKEN)) == 508
    to_panel = flow_of()
    assert PLAIN.listen.panel is not None
    to_panel.request.host, to_panel.request.port = "127.0.0.1", PLAIN.listen.panel.port
    assert passage(to_panel) == 403


def test_a_request_that_means_an_intercepted_host_and_goes_elsewhere() -> None:
    def claims(host: str, port: int) -> bool:
        return host == "api.anthropic.com"

    astray = flow_of()
    error = doors.astray(astray, claims)
    assert error is not None
    assert error.status == 403
    astray.request.host_header = "other.example"
    assert doors.astray(astray, claims) is None
    astray.client_conn.sni = "api.anthropic.com"
    assert doors.astray(astray, claims) is not None


def test_no_connection_leads_to_a_listener_of_the_relays_own() -> None:
    async def main() -> None:
        with mitmproxy_with(), socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            panel = Address("127.0.0.1", port)
            for host, refused in (("127.0.0.1", True), ("localhost", True), ("192.0.2.1", False)):
                data = ServerConnectionHookData(Server(address=(host, port)), flow_of().client_conn)
                await doors.connecting(data, panel)
                assert bool(data.server.error) is refused, host
            data = ServerConnectionHookData(Server(address=None), flow_of().client_conn)
            await doors.connecting(data, panel)
            assert data.server.error is None

    asyncio.run(main())
