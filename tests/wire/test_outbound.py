"""The way out through a company's proxy: real CONNECTs, by what the environment, a provider and a key say."""

from __future__ import annotations

import doctest
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.io import FlowReader
from pydantic import SecretStr

from claude_relay.core.config import WayOut
from claude_relay.proxy.mitm import outbound
from claude_relay.proxy.watch.notifier import PostError, post
from claude_relay.store.vault.vault import NewKey, Vault
from waiting import BRIEF, PATIENCE

from . import claude, steps
from .certs import Authority
from .clients import H2Client, RawClient, connect, connect_through, messages_body
from .company import Asked, CompanyProxy
from .conftest import StartRelay
from .relay import Relay, config, free_ports, provider, rows
from .upstream import FakeUpstream, Signal, blackhole_port, refusing_port, silent_port

CLAUDE = "api.anthropic.com:443"
NAMED = "https://api.anthropic.com"
OTHER = "example.org"
USERS = {"me": "pa:ss/wörd", "you": "another-secret"}
MINE = "sk-ant-api03-the-clients-own"
QUICK = {"attempts": 2, "max_wait": "1s", "first_byte": "2s"}


@pytest.fixture
def company(claude_host: FakeUpstream, stack: ExitStack) -> CompanyProxy:
    """Leads to Claude whoever it knows."""
    return stack.enter_context(CompanyProxy({CLAUDE: claude_host.port}, users=USERS))


def through(start: StartRelay, environ: dict[str, str], text: Any = None, **relay: Any) -> Relay:
    """A relay whose provider can be reached through a proxy only, unless `hosts` leads to it."""
    found = config(NAMED, ["good-1"], retry=QUICK) if text is None else text
    return start(found, relay={"environ": environ, **relay})


def ask(relay: Relay, path: str = "/v1/messages", body: bytes | None = None) -> Any:
    with RawClient(relay.base_port) as client:
        return client.ask("POST", path, body=messages_body() if body is None else body, key=MINE)


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(outbound).failed == 0


# -- what the environment says


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_attempts_go_through_the_environments_proxy(
    start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream, variable: str
) -> None:
    relay = through(start, {variable: company.url_for("me")})
    assert ask(relay).status == 200
    assert company.requests == [Asked(CLAUDE, "me")]
    assert claude_host.used_keys() == ["good-1"]
    assert f"way out   through {company.url} ({variable})" in relay.log_text()


def test_a_provider_without_tls(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({"models.example:8000": upstream.port}))
    environ = {"HTTP_PROXY": company.url, "HTTPS_PROXY": "http://127.0.0.1:9"}
    relay = through(start, environ, config("http://models.example:8000", ["good-1"]))
    assert ask(relay).status == 200
    assert company.requests == [Asked("models.example:8000")]


def test_a_proxy_that_speaks_tls(
    start: StartRelay, authority: Authority, claude_host: FakeUpstream, stack: ExitStack
) -> None:
    hosts = {CLAUDE: claude_host.port, f"{OTHER}:443": claude_host.port}
    company = stack.enter_context(CompanyProxy(hosts, users=USERS, context=authority.server_context()))
    relay = through(start, {"HTTPS_PROXY": company.url_for("you")})
    assert ask(relay).status == 200
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):  # it is reached; its name is another
        connect_through(relay.proxy_port, authority.ca_file, OTHER)
    assert company.requests == [Asked(CLAUDE, "you"), Asked(f"{OTHER}:443", "you")]


@pytest.mark.parametrize("exempt", ["*", "anthropic.com", "x, .ANTHROPIC.com", f"{CLAUDE}"])
def test_what_no_proxy_names_goes_directly(
    start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream, exempt: str
) -> None:
    environ = {"HTTPS_PROXY": company.url, "NO_PROXY": exempt}
    assert ask(through(start, environ, hosts={CLAUDE: claude_host.port})).status == 200
    assert company.requests == []


def test_this_machine_is_reached_directly(start: StartRelay, company: CompanyProxy, upstream: FakeUpstream) -> None:
    relay = through(
        start, {"HTTP_PROXY": company.url, "ALL_PROXY": company.url}, config(upstream.url, ["good-1"], retry=QUICK)
    )
    assert ask(relay).status == 200
    assert company.requests == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "0.0.0.0", "127.1"])
@pytest.mark.parametrize("listener", [0, 1])
def test_a_proxy_that_is_the_relay_itself_is_ignored(
    start: StartRelay, claude_host: FakeUpstream, name: str, listener: int
) -> None:
    proxy, base_url = free_ports(2)
    environ = {"HTTPS_PROXY": f"http://u:{USERS['you']}@{name}:{(proxy, base_url)[listener]}"}
    relay = through(start, environ, hosts={CLAUDE: claude_host.port}, ports=(proxy, base_url))
    assert ask(relay).status == 200
    said = relay.wait_for_log("HTTPS_PROXY names this relay itself")
    assert "ignored" in said
    assert USERS["you"] not in relay.log_text()


def test_a_socks_proxy_of_another_version_is_not_passed_by_in_silence(
    start: StartRelay, claude_host: FakeUpstream
) -> None:
    environ = {"ALL_PROXY": "socks4://me:hunter2@proxy.example:1080"}
    relay = through(start, environ, hosts={CLAUDE: claude_host.port})
    said = relay.wait_for_log("SOCKS")
    assert "ALL_PROXY" in said
    assert "socks4://proxy.example:1080" in said
    assert "hunter2" not in relay.log_text()
    assert ask(relay).status == 200


# -- what a provider and a key say


def test_the_providers_own_proxy_comes_first(start: StartRelay, company: CompanyProxy, stack: ExitStack) -> None:
    other = stack.enter_context(CompanyProxy({}))
    text = config(providers={"p": provider(NAMED, ["good-1"], proxy=company.url_for("me"))})
    assert ask(through(start, {"HTTPS_PROXY": other.url}, text)).status == 200
    assert (len(company.requests), other.requests) == (1, [])


def test_a_provider_that_goes_directly(start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream) -> None:
    text = config(providers={"p": provider(NAMED, ["good-1"], proxy="direct")})
    assert ask(through(start, {"HTTPS_PROXY": company.url}, text, hosts={CLAUDE: claude_host.port})).status == 200
    assert company.requests == []


def test_keys_with_different_credentials_share_no_connection(
    start: StartRelay,
    company: CompanyProxy,
    claude_host: FakeUpstream,
    tmp_path: Path,
    proxy_client: Callable[..., Any],
) -> None:
    vault = Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})
    vault.import_many([NewKey("p", f"sk-key-of-{user}", proxy=company.url_for(user)) for user in USERS])
    text = config(providers={"p": provider(NAMED)}, retry=QUICK)
    relay = through(start, {"RELAY_SECRET": "a secret for tests", "HTTPS_PROXY": company.url}, text)
    vault.close()
    client = proxy_client(relay)
    for _ in range(4):
        assert client.ask("POST", "/v1/messages", body=messages_body(), key=MINE).status == 200
    assert sorted(claude_host.used_keys()) == ["sk-key-of-me"] * 2 + ["sk-key-of-you"] * 2
    # Each key in its own tunnel, each tunnel used twice.
    assert sorted(company.requests) == [Asked(CLAUDE, "me"), Asked(CLAUDE, "you")]
    assert len({request.connection for request in claude_host.requests}) == 2


@pytest.mark.parametrize("led", ["nowhere", "by the provider", "by the environment"])
def test_a_keys_own_proxy_is_for_its_attempts_alone(
    start: StartRelay,
    company: CompanyProxy,
    claude_host: FakeUpstream,
    tmp_path: Path,
    stack: ExitStack,
    led: str,
) -> None:
    """In each request the key with a proxy of its own is refused, and another one serves: by its own way, where there is one."""
    others = stack.enter_context(CompanyProxy({CLAUDE: claude_host.port}))
    vault = stack.enter_context(closing(Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})))
    vault.import_many([NewKey("p", "sk-key-of-me", proxy=company.url_for("me")), NewKey("p", "sk-key-without")])
    claude_host.for_key("sk-key-of-me", *[steps.status(500, "api_error", "no")] * 2)
    more = {"proxy": others.url} if led == "by the provider" else {}
    environ = {"RELAY_SECRET": "a secret for tests"} | ({"HTTPS_PROXY": others.url} if "environ" in led else {})
    text = config(providers={"p": provider(NAMED, **more)}, retry=QUICK)
    relay = through(start, environ, text, hosts={CLAUDE: claude_host.port})
    client = stack.enter_context(RawClient(relay.base_port))
    for _ in range(2):
        answer = client.ask("POST", "/v1/messages", body=messages_body(), key=MINE)
        assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")
    assert claude_host.used_keys() == ["sk-key-of-me", "sk-key-without"] * 2
    assert company.requests == [Asked(CLAUDE, "me")]
    assert others.requests == ([] if led == "nowhere" else [Asked(CLAUDE, "")])
    assert relay.dialled.count(CLAUDE) == (led == "nowhere")
    ways = {
        (key, request.connection) for key, request in zip(claude_host.used_keys(), claude_host.requests, strict=True)
    }
    assert len(ways) == len({connection for _, connection in ways}) == 2


def test_a_key_that_goes_directly(
    start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream, tmp_path: Path, stack: ExitStack
) -> None:
    """Whatever provider and environment say."""
    vault = stack.enter_context(closing(Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})))
    vault.import_many([NewKey("p", "sk-key-of-me", proxy="direct")])
    text = config(providers={"p": provider(NAMED, proxy=company.url_for("you"))}, retry=QUICK)
    environ = {"RELAY_SECRET": "a secret for tests", "HTTPS_PROXY": company.url}
    assert ask(through(start, environ, text, hosts={CLAUDE: claude_host.port})).status == 200
    assert (claude_host.used_keys(), company.requests) == (["sk-key-of-me"], [])


def test_streams_of_one_connection_take_their_own_credential(
    start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream, h2_client: Callable[..., H2Client]
) -> None:
    """Both wait for the proxy at once, on one client connection and at one address."""
    providers = {
        user: provider(NAMED, [f"of-{user}"], proxy=company.url_for(user), models={"*": user}) for user in USERS
    }
    routes = [{"match": {"model": user}, "to": [user]} for user in USERS]
    relay = start(config(providers=providers, routes=[*routes, {"to": ["me"]}], retry=QUICK))
    client = h2_client(relay)
    streams = [client.request("POST", "/v1/messages", body=messages_body(model=user)) for user in USERS]
    assert [client.answer(stream).status for stream in streams] == [200, 200]
    assert sorted(company.requests) == [Asked(CLAUDE, "me"), Asked(CLAUDE, "you")]


# -- side calls, tunnels, and requests of the relay's own


@pytest.mark.parametrize("way", ["base url", "proxy"])
def test_side_calls_too(
    start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream, stack: ExitStack, way: str
) -> None:
    relay = through(start, {"HTTPS_PROXY": company.url_for("me")})
    client = RawClient(relay.base_port) if way == "base url" else RawClient.through(relay.proxy_port, relay.ca_file)
    answer = stack.enter_context(client).ask("GET", "/api/hello", key=MINE)
    assert (answer.status, answer.header("x-side")) == (200, "yes")
    assert company.requests == [Asked(CLAUDE, "me")]
    assert claude_host.used_keys() == [MINE]


def test_a_side_call_that_the_proxy_refuses(start: StartRelay, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({}, users=USERS))
    relay = through(start, {"HTTPS_PROXY": company.url})
    answer = ask(relay, "/api/hello")
    assert answer.status == 404
    assert f"the proxy answered 407, through {company.url} (HTTPS_PROXY)" in answer.body.decode()


@pytest.fixture
def other(authority: Authority) -> Iterator[FakeUpstream]:
    with FakeUpstream(authority.server_context(OTHER, alpn=("h2", "http/1.1"))) as found:
        yield found


def test_tunnels_of_unread_hosts(
    start: StartRelay, other: FakeUpstream, authority: Authority, stack: ExitStack
) -> None:
    company = stack.enter_context(CompanyProxy({f"{OTHER}:443": other.port}, users=USERS))
    relay = through(start, {"HTTPS_PROXY": company.url_for("me")})
    with RawClient.through(relay.proxy_port, authority.ca_file, OTHER) as client:
        for _ in range(2):
            assert client.ask("POST", "/v1/messages", body=messages_body(), key=MINE).status == 200
    with H2Client(connect_through(relay.proxy_port, authority.ca_file, OTHER, alpn=("h2",)), OTHER) as h2:
        assert h2.ask("GET", "/v1/models", key=MINE).status == 200
    assert company.requests == [Asked(f"{OTHER}:443", "me")] * 2
    assert other.used_keys() == [MINE] * 3
    assert MINE not in relay.log_text()


def test_a_tunnel_passes_every_byte(start: StartRelay, stack: ExitStack) -> None:
    """Also the last of them, which come together with the end."""
    sent = b"\x00" + bytes(range(256)) * 4000
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo() -> None:
            peer, _ = listener.accept()
            with peer:
                got = b""
                while len(got) < len(sent) and (piece := peer.recv(65536)):
                    got += piece
                peer.sendall(got[::-1])

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        company = stack.enter_context(CompanyProxy({f"{OTHER}:9000": listener.getsockname()[1]}))
        relay = through(start, {"HTTPS_PROXY": company.url})
        with connect(relay.proxy_port) as sock:
            sock.sendall(f"CONNECT {OTHER}:9000 HTTP/1.1\r\nHost: {OTHER}:9000\r\n\r\n".encode())
            client = RawClient(sock=sock, host=OTHER)
            assert client.line() == b"HTTP/1.1 200 Connection established"
            client.header_lines()
            sock.sendall(sent)
            got = b""
            while piece := sock.recv(65536):
                got += piece
        assert got == sent[::-1]
        thread.join(PATIENCE)


def test_a_tunnel_to_an_address(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({"[fd00::1]:80": upstream.port, "192.0.2.7:80": upstream.port}))
    relay = through(start, {"ALL_PROXY": company.url})
    for host in ("[fd00::1]", "192.0.2.7"):
        with connect(relay.proxy_port) as sock:
            sock.sendall(f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n".encode())
            client = RawClient(sock=sock, host=host)
            assert client.line() == b"HTTP/1.1 200 Connection established"
            client.header_lines()
            assert client.ask("GET", "/v1/models", key=MINE).status == 200
    assert company.requests == [Asked("[fd00::1]:80"), Asked("192.0.2.7:80")]


def test_a_tunnel_that_no_proxy_lets_go_directly(
    start: StartRelay, other: FakeUpstream, authority: Authority, stack: ExitStack
) -> None:
    company = stack.enter_context(CompanyProxy({}))
    environ = {"HTTPS_PROXY": company.url, "NO_PROXY": OTHER}
    relay = through(start, environ, hosts={f"{OTHER}:443": other.port})
    with RawClient.through(relay.proxy_port, authority.ca_file, OTHER) as client:
        assert client.ask("GET", "/v1/models", key=MINE).status == 200
    assert company.requests == []


def test_a_tunnel_that_fails_says_so_in_the_log(start: StartRelay, authority: Authority, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({}, users=USERS))
    relay = through(start, {"HTTPS_PROXY": f"http://me:wrong-password@127.0.0.1:{company.port}"})
    with pytest.raises((ConnectionError, ssl.SSLError)):
        connect_through(relay.proxy_port, authority.ca_file, OTHER)
    said = relay.wait_for_log(f"no tunnel to {OTHER}:443: the proxy answered 407, through {company.url} (HTTPS_PROXY)")
    assert "wrong-password" not in said
    assert "wrong-password" not in relay.log_text()


def test_a_plain_request_to_another_host(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({f"{OTHER}:80": upstream.port}, users=USERS))
    relay = through(start, {"HTTP_PROXY": company.url_for("me")})
    client = stack.enter_context(RawClient(relay.proxy_port, host=OTHER))
    assert client.ask("GET", f"http://{OTHER}/v1/models", key=MINE).status == 200
    assert company.requests == [Asked(f"{OTHER}:80", "me")]
    assert upstream.used_keys() == [MINE]


def test_the_list_of_a_providers_models(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({"models.example:80": upstream.port}, users=USERS))
    text = config(providers={"p": provider("http://models.example", ["good-1"], models={"*": "first"})})
    relay = through(start, {"HTTP_PROXY": company.url_for("me")}, text)
    assert ask(relay).status == 200
    assert [request.path for request in upstream.requests] == ["/v1/models?limit=1", "/v1/messages"]
    assert company.requests == [Asked("models.example:80", "me")] * 2


def test_notices(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    posted = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            posted.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.callback(lambda: (server.shutdown(), server.server_close(), thread.join(PATIENCE)))
    company = stack.enter_context(CompanyProxy({"hooks.example:80": server.server_port}, users=USERS))
    post(SecretStr("http://hooks.example/x"), None, b"{}", 4.0, WayOut.of({"HTTP_PROXY": company.url_for("me")}))
    assert posted.is_set()
    assert company.requests == [Asked("hooks.example:80", "me")]
    with pytest.raises(PostError, match=rf"the proxy answered 407, through {company.url} \(HTTP_PROXY\)"):
        post(SecretStr("http://hooks.example/x"), None, b"{}", 4.0, WayOut.of({"HTTP_PROXY": company.url}))


# -- when the proxy fails


FAILING = {
    "refused": (None, "127.0.0.1"),
    "stranger": (b"HTTP/1.1 407 Who are you, pa:ss?\r\n\r\n", "the proxy answered 407"),
    "bad gateway": (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nwow", "the proxy answered 502"),
    "no proxy": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "no proxy is there"),
    "silent": (b"", "connection closed"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_proxy_is_named(start: StartRelay, stack: ExitStack, name: str) -> None:
    says, words = FAILING[name]
    company = stack.enter_context(CompanyProxy({}, says=says))
    port = company.port if says is not None else stack.enter_context(refusing_port())
    relay = through(start, {"HTTPS_PROXY": f"http://me:hunter2@127.0.0.1:{port}"})
    answer = ask(relay)
    assert answer.status >= 500
    said = str(answer.json()["error"]["message"])
    assert f"through http://127.0.0.1:{port} (HTTPS_PROXY)" in said
    assert words in said
    assert "hunter2" not in said + relay.log_text()
    assert "pa:ss" not in said


@pytest.mark.parametrize("port", [silent_port, blackhole_port])
def test_a_proxy_that_keeps_silent(start: StartRelay, stack: ExitStack, port: Any) -> None:
    """Whether it takes the connection or not."""
    url = f"http://127.0.0.1:{stack.enter_context(port())}"
    text = config(NAMED, ["good-1"], retry=QUICK | {"attempts": 2, "first_byte": "300ms"})
    said = str(ask(through(start, {"HTTPS_PROXY": url}, text)).json()["error"]["message"])
    assert f"no connection within 0.3 s (retry.first_byte), through {url} (HTTPS_PROXY)" in said


GIVEN_UP = {
    "head": steps.stall_before_head,
    "body": steps.stall_before_body(),
    "error": steps.stream([claude.error_event("api_error", "no"), steps.stall]),
}


@pytest.mark.parametrize("bad", GIVEN_UP)
@pytest.mark.parametrize("client", [RawClient, H2Client])
def test_an_attempt_that_is_given_up_is_not_blamed_on_the_next(
    start: StartRelay,
    company: CompanyProxy,
    claude_host: FakeUpstream,
    stack: ExitStack,
    client: Any,
    bad: str,
) -> None:
    """The tunnel of the first is closed while the second is under way."""
    text = config(NAMED, ["good-1"], retry=QUICK | {"first_byte": BRIEF})
    relay = through(start, {"HTTPS_PROXY": company.url_for("me")}, text)
    go = Signal()
    claude_host.script(GIVEN_UP[bad], steps.stream([*claude.events()[:3], go, *claude.events()[3:]]))
    talker = stack.enter_context(client.through(relay.proxy_port, relay.ca_file))
    asked = talker.request("POST", "/v1/messages", body=messages_body(stream=True))
    company.wait_until_closed(1)
    go.set()
    answer = talker.answer() if asked is None else talker.answer(asked)
    assert (answer.status, answer.complete, answer.header("x-relay-attempts")) == (200, True, "2")
    assert b"message_stop" in answer.body
    assert talker.ask("GET", "/v1/models").status == 200


def test_a_proxy_that_keeps_silent_keeps_no_connection(start: StartRelay, stack: ExitStack) -> None:
    company = stack.enter_context(CompanyProxy({}, says=b""))
    company.silent = True
    text = config(NAMED, ["good-1"], retry=QUICK | {"first_byte": "200ms"})
    relay = through(start, {"HTTPS_PROXY": company.url}, text)
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status >= 500
        company.wait_until_closed(2)


def test_another_provider_takes_over(
    start: StartRelay, company: CompanyProxy, upstream: FakeUpstream, tmp_path: Path
) -> None:
    providers = {"far": provider(NAMED, ["good-1"]), "near": provider(upstream.url, ["good-2"])}
    relay = through(start, {"HTTPS_PROXY": company.url}, config(providers=providers, retry=QUICK | {"attempts": 5}))
    assert ask(relay).status == 200
    assert {row["error"] for row in rows(tmp_path / "relay.db", "attempts") if row["provider"] == "far"} == {
        f"the proxy answered 407, through {company.url} (HTTPS_PROXY)"
    }


def test_flows_hold_no_credential(
    start: StartRelay, company: CompanyProxy, claude_host: FakeUpstream, tmp_path: Path
) -> None:
    file = tmp_path / "flows"
    relay = through(start, {"HTTPS_PROXY": company.url_for("me")}, settings={"save_stream_file": str(file)})
    claude_host.script(steps.status(500), steps.message())
    assert ask(relay).status == 200
    relay.on_loop(lambda: relay.master.options.update(save_stream_file=None))  # closes the file
    data = file.read_bytes()
    with file.open("rb") as stream:
        [flow] = [flow for flow in FlowReader(stream).stream() if flow.response]
    assert flow.server_conn.via == ("http", ("127.0.0.1", company.port))
    for secret in (*USERS.values(), "cGE6c3M"):
        assert secret.encode() not in data
