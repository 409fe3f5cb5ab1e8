"""Web pages get nothing: not by fetch, not as an image, not under a name of their own; programs that use the API notice nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, free_ports
from .test_doors import refused
from .upstream import FakeUpstream
from .visiting import dial as connect_to
from .visiting import everywhere, far_address

POOL = "sk-ant-api03-pool-secret"
LISTED = "https://app.example"
PAGES = {
    "fetch": [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors")],
    "fetch of an older browser": [("Origin", "https://evil.example")],
    "sandboxed": [("Origin", "null")],
    "image": [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")],
    "same site": [("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")],
    "rebound": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")],
    "link": [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")],
    "websocket": [
        ("Origin", "https://evil.example"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    "preflight": [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")],
}
PROGRAMS = {
    "script": [],
    "node": [("Sec-Fetch-Mode", "cors"), ("User-Agent", "node")],
    "address bar": [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-User", "?1")],
    "listed page": [
        ("Origin", LISTED),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "cors"),
        ("anthropic-dangerous-direct-browser-access", "true"),
    ],
}
ASKED = [("GET", "/v1/files/file_1/content"), ("POST", "/v1/messages"), ("GET", "/v1/models"), ("GET", "/api/x")]
Begin = Callable[..., Relay]


@pytest.fixture
def begin(start: StartRelay, claude_host: FakeUpstream) -> Begin:
    def run(**listen: Any) -> Relay:
        return start(
            keys=[POOL],
            relay={"hosts": {"api.anthropic.com:443": claude_host.port}},
            listen={"cors": [LISTED]} | listen,
        )

    return run


def ask(client: Any, method: str, path: str, headers: list[tuple[str, str]]) -> Answer:
    h2 = isinstance(client, H2Client)
    fields = (
        [(n.lower(), v) for n, v in headers if not (h2 and n.lower() in ("connection", "upgrade"))] if h2 else headers
    )
    found: Answer = client.ask(method, path, body=messages_body() if method == "POST" else b"", headers=fields)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_gets_nothing(
    begin: Begin, dial: Dial, upstream: FakeUpstream, claude_host: FakeUpstream, page: str
) -> None:
    relay = begin()
    for method, path in ASKED:
        client = dial(relay)
        method = "OPTIONS" if page == "preflight" else method
        answer = ask(client, method, path, PAGES[page])
        assert "listen.cors" in refused(answer), (method, path)
        assert answer.header("access-control-allow-origin") is None
    assert upstream.requests + claude_host.requests == []
    relay.wait_for_log("was refused")


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_notice_nothing(begin: Begin, dial: Dial, upstream: FakeUpstream, program: str) -> None:
    client = dial(begin())
    for method, path in ASKED[:3]:
        answer = ask(client, method, path, PROGRAMS[program])
        assert answer.status == 200
        assert answer.header("access-control-allow-origin") == (LISTED if program == "listed page" else None)
    assert set(upstream.used_keys()) == {POOL}


def test_a_preflight_of_a_listed_page(
    begin: Begin, dial: Dial, upstream: FakeUpstream, claude_host: FakeUpstream
) -> None:
    fields = [
        ("Origin", LISTED),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-api-key"),
    ]
    answer = ask(dial(begin()), "OPTIONS", "/v1/messages", fields)
    assert (answer.status, answer.header("access-control-allow-origin")) == (204, LISTED)
    assert upstream.requests + claude_host.requests == []


def test_the_address_bar(begin: Begin) -> None:
    relay = begin()
    with RawClient(relay.base_port) as client:
        assert client.ask("GET", "/health", headers=PROGRAMS["address bar"], key=None).json() == {"ok": True}


# -- names

FOREIGN = ["evil.example", "evil.example:8082", "127.0.0.1.evil.example", "localhost@evil.example", "192.0.2.99", ""]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_page_that_points_its_own_name_here(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, host: str
) -> None:
    relay = begin()
    for method, path in [*ASKED, ("GET", "/health"), ("GET", "/oauth/x")]:
        with connect_to(relay.base_port, call=host) as client:
            client.host = host
            assert "Host" in refused(ask(client, method, path, [])), path
    assert upstream.requests + claude_host.requests == []


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9999", "127.0.0.1", "127.3.2.1:80", "[::1]:8082", "relay.lan", "Relay.LAN.:8082"]
)
def test_names_of_the_relay(begin: Begin, upstream: FakeUpstream, host: str) -> None:
    relay = begin(hosts=["relay.lan"])
    with connect_to(relay.base_port, call=host) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert upstream.used_keys() == [POOL]


RAW = {
    "no Host": (b"GET {} HTTP/1.1\r\n", 403),
    "no Host in HTTP/1.0": (b"GET {} HTTP/1.0\r\n", 403),
    "two": (b"GET {} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 403),
    "two, one evil": (b"GET {} HTTP/1.1\r\nHost: evil.example\r\nhost: localhost\r\n", 403),
    "an evil target": (b"GET http://evil.example{} HTTP/1.1\r\nHost: localhost\r\n", 403),
    "an evil Host beside the target": (b"GET http://localhost{} HTTP/1.1\r\nHost: evil.example\r\n", 403),
    "a target in absolute form": (b"GET http://localhost:1{} HTTP/1.1\r\nHost: localhost:1\r\n", 200),
}


@pytest.mark.parametrize("name", RAW)
def test_heads(begin: Begin, upstream: FakeUpstream, name: str) -> None:
    head, status = RAW[name]
    relay = begin()
    with RawClient(relay.base_port) as client:
        client.send(head.replace(b"{}", b"/v1/files/file_1") + b"\r\n")
        answer = client.answer()
    assert answer.status == status
    assert [request.path for request in upstream.requests] == ["/v1/files/file_1"] * (status == 200)
    if status == 403:
        refused(answer)


def test_a_listener_on_all_addresses(start: StartRelay, upstream: FakeUpstream) -> None:
    ports = free_ports(2)
    relay = start(config(upstream.url, [POOL], listen=everywhere(*ports)), relay={"ports": tuple(ports)})
    for host, status in (("192.0.2.99", 200), (far_address(), 200), ("evil.example", 403), ("0.0.0.0", 200)):
        with connect_to(relay.base_port, call=host) as client:
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == status, host


@pytest.mark.parametrize(
    "host", ["evil.example", "api.anthropic.com:444", "127.0.0.1", "api.anthropic.com.evil.example"]
)
def test_a_host_that_is_not_the_tunnels(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, stack: contextlib.ExitStack, host: str
) -> None:
    relay = begin()
    client = stack.enter_context(RawClient.through(relay.proxy_port, relay.ca_file))
    client.host = host
    for method, path in ASKED:
        assert "Host" in refused(ask(client, method, path, []))
    client.host = "API.anthropic.com.:443"
    assert ask(client, "GET", "/v1/models", []).status == 200
    with connect_to(relay.proxy_port, call=host) as plain:
        refused(plain.ask("GET", "http://api.anthropic.com/v1/models"))
    assert [upstream.used_keys(), claude_host.requests] == [[POOL], []]


def test_status_tells_no_page(start: StartRelay) -> None:
    port = free_ports(1)[0]
    relay = start(keys=[POOL], listen={"status": f"127.0.0.1:{port}", "cors": [LISTED], "hosts": ["relay.lan"]})
    relay.wait_for_log("Claude Relay")
    for path in ("/metrics", "/healthz", "/nothing"):
        for headers in (*PAGES.values(), [("Origin", LISTED)]):
            with connect_to(port) as client:
                assert client.ask("GET", path, headers=headers).status == 403
        for call in ("evil.example", ""):
            with connect_to(port, call=call) as client:
                client.host = call
                assert client.ask("GET", path).status in (400, 403)
    for headers in (PROGRAMS["script"], PROGRAMS["node"], PROGRAMS["address bar"]):
        with connect_to(port, call="relay.lan:80") as client:
            found = client.ask("GET", "/metrics", headers=headers)
            assert found.status == 200
    counts = dict(line.rsplit(" ", 1) for line in found.body.decode().splitlines())
    assert float(counts['claude_relay_rejected_total{reason="web_page"}']) >= 3 * (len(PAGES) + 2)
