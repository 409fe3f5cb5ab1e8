"""Telemetry of clients on its way to a collector; over real sockets in tests/wire/test_own_pages."""

from __future__ import annotations

import logging
import socket

import pytest

from claude_relay.core.config import WayOut
from claude_relay.proxy.pages import forwarding
from claude_relay.proxy.pages.forwarding import ENDPOINT, HEADERS, Export, Forwarder, address_of, headers_of
from waiting import PATIENCE, eventually


def export(size: int = 10) -> Export:
    return Export("logs", b"x" * size, {"content-type": "application/json"}, WayOut())


def test_where_a_signal_goes() -> None:
    environ = {ENDPOINT: "http://collector:4318/", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces.example/in"}
    assert address_of("metrics", environ) == "http://collector:4318/v1/metrics"
    assert address_of("traces", environ) == "https://traces.example/in"
    assert address_of("logs", {}) is None


def test_what_the_collector_wants_besides() -> None:
    assert headers_of({HEADERS: "Authorization=Basic%20eA==, x-tenant = t1,nonsense,=x"}) == {
        "authorization": "Basic eA==",
        "x-tenant": "t1",
    }


def test_nobody_wants_it() -> None:
    assert not Forwarder({}).put(export())


def test_what_is_too_much_is_dropped(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The collector takes connections and never answers."""
    monkeypatch.setattr(forwarding, "MOST_WAITING", 100)
    with socket.create_server(("127.0.0.1", 0)) as collector:
        environ = {ENDPOINT: f"http://127.0.0.1:{collector.getsockname()[1]}"}
        forwarder = Forwarder(environ, patience=1.0)
        with caplog.at_level(logging.WARNING):
            assert [forwarder.put(export(40)) for _ in range(4)] == [True, True, False, False]
        eventually(lambda: not forwarder._size)
    forwarder.close()
    assert caplog.text.count("does not keep up") == 1
    assert caplog.text.count("telemetry of clients is not taken: no answer") == 1
    assert forwarder._size == 0


@pytest.mark.parametrize("address", ["nonsense", "http://[::1", "ftp://x", "http://127.0.0.1:1"])
def test_an_address_of_no_use_ends_no_thread(address: str, caplog: pytest.LogCaptureFixture) -> None:
    forwarder = Forwarder({ENDPOINT: address}, patience=PATIENCE)
    with caplog.at_level(logging.WARNING):
        assert forwarder.put(export())
        assert forwarder.put(export())
        eventually(lambda: not forwarder._size)
        forwarder.close()
    assert caplog.text.count("is not taken") == 1
    assert address not in caplog.text
