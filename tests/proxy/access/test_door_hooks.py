"""The hooks at which people are let in, as mitmproxy calls them."""

from __future__ import annotations

import asyncio
import json

import pytest
from mitmproxy.proxy.mode_specs import ProxyMode

from claude_relay.core.config import parse
from claude_relay.proxy.access import doors
from claude_relay.proxy.access.door_hooks import DoorHooks
from claude_relay.proxy.running.runtime import Runtime
from proxy.stage import mitmproxy_with

from .test_doors import flow_of


@pytest.fixture
def hooks() -> DoorHooks:
    found = DoorHooks()
    found.runtime = Runtime.of(parse("providers: {anthropic: {preset: anthropic}}", environ={}))
    return found


@pytest.mark.parametrize(("peer", "let_in"), [("127.0.0.1", True), ("192.0.2.9", False)])
@pytest.mark.parametrize("mode", ["socks5", "regular"])
def test_socks_clients_of_other_machines_get_no_further(hooks: DoorHooks, mode: str, peer: str, let_in: bool) -> None:
    """Those that speak HTTP are told in HTTP."""
    client = flow_of(peer).client_conn
    client.proxy_mode = ProxyMode.parse(mode)
    hooks.client_connected(client)
    assert (client.error is None) is (let_in or mode == "regular")


def test_socks_cannot_say_who_asks(hooks: DoorHooks) -> None:
    hooks.runtime = Runtime.of(parse("clients: {required: true}", environ={}))
    client = flow_of().client_conn
    client.proxy_mode = ProxyMode.parse("socks5")
    hooks.client_connected(client)
    assert client.error is not None


def status_of_connect(hooks: DoorHooks, peer: str) -> int | None:
    async def main() -> int | None:
        with mitmproxy_with():
            flow = flow_of(peer)
            await hooks.http_connect(flow)
            if flow.response is None:
                return None
            assert json.loads(flow.response.raw_content or b"")["type"] == "error"
            return flow.response.status_code

    return asyncio.run(main())


def test_a_tunnel_is_for_programs_on_this_machine(hooks: DoorHooks) -> None:
    assert status_of_connect(hooks, "127.0.0.1") is None
    assert status_of_connect(hooks, "192.0.2.9") == 407


def test_without_a_configuration_the_doors_are_as_narrow() -> None:
    assert DoorHooks().panel is None
    assert status_of_connect(DoorHooks(), "127.0.0.1") is None
    assert status_of_connect(DoorHooks(), "192.0.2.9") == 407


def test_a_hook_that_fails_opens_no_tunnel(
    hooks: DoorHooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doors, "passage", lambda *_, **__: 1 / 0)
    assert status_of_connect(hooks, "127.0.0.1") == 502
    assert "http_connect failed" in caplog.text


@pytest.mark.parametrize(("host", "watched"), [("api.anthropic.com", True), ("example.com", False)])
def test_who_has_a_tunnel_that_is_read_must_say_something(
    hooks: DoorHooks, monkeypatch: pytest.MonkeyPatch, host: str, watched: bool
) -> None:
    waited: list[object] = []
    monkeypatch.setattr("claude_relay.proxy.mitm.backpressure.wait_for_word", waited.append)
    flow = flow_of()
    flow.request.host, flow.request.port = host, 443
    hooks.http_connected(flow)
    assert waited == [flow.client_conn] * watched
