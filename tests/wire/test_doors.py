"""Keys are for programs on this machine, and nobody comes through the relay to the relay itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.proxy.access import trail
from claude_relay.proxy.common.rejections import counted

from . import claude
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .forked import Breeder, ForkedRelay
from .relay import WebUi, config, free_ports, provider, rows
from .upstream import FakeUpstream
from .visiting import dial, everywhere, far_address, tunnel

POOL = "sk-ant-api03-pool-secret"
MINE = "sk-ant-api03-the-clients-own"
OWN_KEY = [("x-api-key", MINE)]
ISSUED = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/claude-sonnet-5"),
    ("GET", "/v1/files/file_1/content"),
    ("DELETE", "/v1/files/file_1"),
]
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "LOCALHOST",
    "localhost",
]


@pytest.fixture
def relay(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder
) -> Iterator[Callable[..., ForkedRelay]]:
    """relay(keys=[…], listen={…}): one as a process of its own, on every address."""
    with contextlib.ExitStack() as stack:

        def run(name: str = "a", *, text: dict[str, Any] | None = None, keys: list[str] | None = None) -> ForkedRelay:
            folder = tmp_path / name
            folder.mkdir()
            found = ForkedRelay(folder, confdir, config(upstream.url, [POOL] if keys is None else keys), breeder)
            listen = everywhere(found.proxy_port, found.base_port, status="127.0.0.1:0")
            whole = config(upstream.url, [POOL] if keys is None else keys) | (text or {})
            write(found, whole | {"listen": listen | whole.get("listen", {})})
            stack.enter_context(found).start()
            return found

        yield run


class Talkative(ForkedRelay):
    """Says what it refuses."""

    def begin(self) -> None:
        arguments = self.command[self.command.index("-s") :]
        self.child = self.breeder.breed(arguments, self.output_file, self.added)


def write(relay: ForkedRelay, text: dict[str, Any]) -> None:
    relay.config_file.write_text(json.dumps(text))


def refused(answer: Any, status: int = 403, kind: str = "permission_error") -> str:
    """The message of an error of the relay's own."""
    assert (answer.status, answer.error_type) == (status, kind)
    assert (answer.header("request-id") or "").startswith("req_relay_")
    return str(answer.json()["error"]["message"])  # type: ignore[index]


def unknown(answer: Any, status: int = 401) -> str:
    """The same for who has not said who it is; at the proxy 407."""
    return refused(answer, status, "authentication_error")


# -- strangers


def test_a_peer_that_is_not_loopback_gets_no_key(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    a, far = relay(), far_address()
    for method, path in ISSUED:
        with dial(a.base_port, far) as client:
            answer = client.ask(method, path, body=messages_body() if method == "POST" else b"", headers=OWN_KEY)
        assert "client key" in unknown(answer), path
    assert upstream.requests == []
    with dial(a.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        assert client.ask("GET", "/v1/models").status == 200
    assert set(upstream.used_keys()) == {POOL}


def test_a_far_peer_gets_neither_tunnels_nor_forwards(
    relay: Callable[..., ForkedRelay], upstream: FakeUpstream
) -> None:
    a, far = relay(), far_address()
    here = f"127.0.0.1:{upstream.port}"
    places = [
        here,
        f"localhost:{upstream.port}",
        "example.org:443",
        "api.anthropic.com:443",
        f"127.0.0.1:{a.base_port}",
    ]
    for place in places:
        with dial(a.proxy_port, far) as client:
            assert "client key" in unknown(tunnel(client, place), 407), place
        for target in (f"http://{place}/v1/models", "/v1/models"):
            with dial(a.proxy_port, far, call=place) as client:
                assert "client key" in unknown(client.ask("GET", target, headers=OWN_KEY), 407), (place, target)
    assert upstream.requests == []
    with dial(a.proxy_port, call=here) as client:  # programs on this machine do
        assert client.ask("GET", f"http://{here}/v1/models", headers=OWN_KEY).status == 200
    with dial(a.proxy_port, call=here) as client:
        assert tunnel(client, here).status == 200
        assert client.ask("GET", "/v1/models", headers=OWN_KEY).status == 200
    assert upstream.used_keys() == [MINE, MINE]


def test_a_strangers_own_key_does_not_pass(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    """Even where no key could be lent in its place."""
    a, far = relay(keys=[]), far_address()
    with dial(a.base_port, far) as client:
        unknown(client.ask("POST", "/v1/messages", body=messages_body(), headers=OWN_KEY))
    with dial(a.base_port, far) as client:
        assert client.ask("GET", "/health").status == 200
    for method, target in (("GET", "http://api.anthropic.com/v1/models"), ("POST", "/v1/messages")):
        with dial(a.proxy_port, far, call="api.anthropic.com") as client:
            unknown(client.ask(method, target, headers=OWN_KEY), 407)
    assert upstream.requests == []


def test_a_stranger_has_no_list_of_models_asked_for(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    """Neither for a list that the relay makes, nor to find out which model a provider has."""
    providers = {name: provider(upstream.url, [POOL]) for name in ("p", "q")} | {
        "r": provider(upstream.url, [POOL], models={"*": "first"}),
        "own": provider(upstream.url),
    }
    routes = [{"match": {"model": "p*"}, "to": ["p"]}, {"match": {"model": "r*"}, "to": ["own", "r"]}, {"to": ["q"]}]
    a, far = relay(text=config(providers=providers, routes=routes)), far_address()
    with dial(a.base_port, far) as client:
        unknown(client.ask("GET", "/v1/models", headers=OWN_KEY))
        unknown(client.ask("POST", "/v1/messages", body=messages_body(model="r1"), headers=OWN_KEY))
    assert upstream.requests == []


def test_a_far_peer_of_a_socks_listener(start: StartRelay, upstream: FakeUpstream) -> None:
    proxy, base, socks = free_ports(3)
    modes = [
        f"regular@127.0.0.1:{proxy}",
        f"reverse:http://api.anthropic.com:443@127.0.0.1:{base}",
        f"socks5@0.0.0.0:{socks}",
    ]
    relay = start(keys=[POOL], relay={"ports": (proxy, base), "settings": {"mode": modes}})
    for host, greeted in ((far_address(), b""), ("127.0.0.1", b"\x05\x00")):
        with dial(socks, host) as client:
            client.send(b"\x05\x01\x00")
            client.fill()
            assert client.buffer == greeted
    relay.wait_for_log("a SOCKS connection was refused")


FORWARDED = [
    [("X-Forwarded-For", "127.0.0.1")],
    [("x-forwarded-for", "203.0.113.9")],
    [("Forwarded", "for=127.0.0.1")],
    [("X-Real-IP", "127.0.0.1")],
    [("X-Forwarded-Host", "localhost")],
]


def test_a_reverse_proxy_that_nobody_declared(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    a = relay()
    here = f"127.0.0.1:{upstream.port}"
    for fields in FORWARDED:
        for method, path in ISSUED:
            with dial(a.base_port) as client:
                body = messages_body() if method == "POST" else b""
                unknown(client.ask(method, path, body=body, headers=fields))
        with dial(a.proxy_port) as client:
            unknown(tunnel(client, here, headers=fields), 407)
        with dial(a.proxy_port, call=here) as client:
            unknown(client.ask("GET", f"http://{here}/v1/models", headers=fields), 407)
        with RawClient.through(a.proxy_port, a.ca_file) as client:
            unknown(client.ask("POST", "/v1/messages", body=messages_body(), headers=fields))
    assert upstream.requests == []


def test_a_reverse_proxy_that_was_declared(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    far = far_address()
    a = relay(text={"listen": {"trusted_proxies": [far]}})

    def ask(said: str, by: str = far) -> int:
        with dial(a.base_port, by) as client:
            fields = [("X-Forwarded-For", said)]
            return client.ask("POST", "/v1/messages", body=messages_body(), headers=fields).status

    assert ask("127.0.0.1") == 200
    assert ask(f"127.0.0.1, {far}") == 200
    assert ask("203.0.113.9") == 401
    assert ask("127.0.0.1, 203.0.113.9") == 401
    assert ask("127.0.0.1", by="127.0.0.1") == 401
    assert set(upstream.used_keys()) == {POOL}


# -- the relay's own listeners


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0"])
def test_nobody_comes_through_the_relay_to_the_relay(
    relay: Callable[..., ForkedRelay], upstream: FakeUpstream, listening: str
) -> None:
    status, panel = free_ports(2)
    a = relay()
    a.kill()
    found = config(upstream.url, [POOL])
    ports = {"proxy": a.proxy_port, "base_url": a.base_port, "status": status, "panel": panel}
    write(a, found | {"listen": {name: f"{listening}:{port}" for name, port in ports.items()}})
    a.start()
    names = SPELLINGS if listening == "127.0.0.1" else [*SPELLINGS, far_address(), f"[::ffff:{far_address()}]"]
    for port in ports.values():
        for name in names:
            with dial(a.proxy_port) as client:
                assert "own listeners" in refused(tunnel(client, f"{name}:{port}")), (name, port)
        for target, call in ((f"http://{names[1]}:{port}/metrics", names[1]), ("/v1/models", f"{names[-1]}:{port}")):
            with dial(a.proxy_port, call=call) as client:
                assert "own listeners" in refused(client.ask("GET", target)), (target, call)
    assert upstream.requests == []


def test_a_name_that_leads_here_when_it_is_looked_up_again(start: StartRelay, upstream: FakeUpstream) -> None:
    """When it is judged it leads nowhere, when it is dialled to the relay's base URL; nothing arrives there."""
    proxy, base = free_ports(2)
    before = counted()["own_listener"]
    relay = start(
        config(upstream.url, [POOL]), relay={"ports": (proxy, base), "hosts": {f"flips.invalid:{base}": base}}
    )
    with dial(proxy) as client:
        assert tunnel(client, f"flips.invalid:{base}").status == 200
        with contextlib.suppress(ConnectionError):
            client.request("POST", "/v1/messages", body=messages_body())
        with pytest.raises(ConnectionError):
            client.answer()
    with dial(proxy, call=f"flips.invalid:{base}") as client:
        assert client.ask("GET", f"http://flips.invalid:{base}/v1/models").status == 502
    assert relay.dialled.count(f"flips.invalid:{base}") == 2
    assert upstream.requests == []
    assert counted()["own_listener"] - before == 2
    relay.wait_for_log("own listener")


def test_a_request_for_an_intercepted_host_that_is_led_elsewhere(
    relay: Callable[..., ForkedRelay], upstream: FakeUpstream
) -> None:
    """Its key would go there, and be shown in flows."""
    a, there = relay(), f"127.0.0.1:{upstream.port}"
    for name in ("api.anthropic.com", "API.Anthropic.com:443"):
        with dial(a.proxy_port, call=name) as client:
            assert tunnel(client, there).status == 200
            assert "leads elsewhere" in refused(client.ask("POST", "/v1/messages", body=b"{}", headers=OWN_KEY))
    assert upstream.requests == []


def test_mitmwebs_page_is_not_reached_through_the_relay(start: StartRelay) -> None:
    relay = start(keys=[POOL], relay={"web": True})
    assert isinstance(relay.web_ui, WebUi)
    with dial(relay.proxy_port) as client:
        assert "own listeners" in refused(tunnel(client, f"localhost:{relay.web_ui.port}"))


@pytest.mark.parametrize("of", ["proxy", "base_url"])
def test_a_provider_that_is_the_relay_itself(start: StartRelay, of: str, base_client: Any) -> None:
    """By a name of which the configuration cannot know that."""
    ports = dict(zip(("proxy", "base_url"), free_ports(2), strict=True))
    name = f"relay.invalid:{ports[of]}"
    text = config(f"http://{name}", [POOL], retry={"attempts": 2, "max_wait": "1s", "first_byte": "2s"})
    relay = start(text, relay={"ports": tuple(ports.values()), "hosts": {name: ports[of]}})
    before = counted()["own_listener"]
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    refused(answer, 502, "api_error")
    relay.wait_for_log("own listener")  # lines that are alike are folded
    assert counted()["own_listener"] - before == 2
    assert relay.dialled == [name] * 2


def test_a_provider_at_an_address_of_this_machine(relay: Callable[..., ForkedRelay]) -> None:
    a = relay()
    a.kill()
    text = config(f"http://{far_address()}:{a.base_port}", [POOL])
    write(a, text | {"listen": everywhere(a.proxy_port, a.base_port)})
    a.start()
    with dial(a.base_port) as client:
        answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert "a listener of this relay itself" in refused(answer, 502, "api_error")


# -- circles


def test_a_request_that_was_here_before(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = start(keys=[POOL])
    mark = [("Relay-Via", f"0123, {trail.TOKEN}")]
    here = f"127.0.0.1:{upstream.port}"
    with dial(relay.base_port) as client:
        assert "circle" in refused(
            client.ask("POST", "/v1/messages", body=messages_body(), headers=mark), 508, "api_error"
        )
    with dial(relay.proxy_port, call=here) as client:
        refused(client.ask("GET", f"http://{here}/v1/models", headers=mark), 508, "api_error")
    with dial(relay.proxy_port) as client:
        refused(tunnel(client, here, headers=mark), 508, "api_error")
    assert upstream.requests == []


def test_the_mark_goes_to_near_places_only(
    start: StartRelay, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = start(keys=[POOL])
    here = f"127.0.0.1:{upstream.port}"

    def ask() -> None:
        for headers in ([], [("relay-via", "of-another")]):
            with dial(relay.base_port) as client:
                assert client.ask("POST", "/v1/messages", body=messages_body(), headers=headers).status == 200
            with dial(relay.proxy_port, call=here) as client:
                assert client.ask("GET", f"http://{here}/v1/models", headers=headers).status == 200

    ask()
    marks = [request.header("relay-via") for request in upstream.requests]
    assert marks == [trail.TOKEN] * 2 + [f"of-another, {trail.TOKEN}"] * 2
    upstream.requests.clear()
    monkeypatch.setattr(trail, "is_near", lambda host: False)
    ask()
    assert [request.header("relay-via") for request in upstream.requests] == [None] * 4


def test_places_that_are_near() -> None:
    near = ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.5", "fd00::2", "fe80::1%eth0", "::ffff:10.0.0.5", "100.64.0.1"]
    assert [host for host in near if not trail.is_near(host)] == []
    assert [host for host in ("8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8") if trail.is_near(host)] == []


def pair(relay: Callable[..., ForkedRelay], upstream: FakeUpstream, back: bool) -> tuple[ForkedRelay, ForkedRelay]:
    """Two relays: the first leads to the second, and that one to the upstream, or back."""
    retry = {"attempts": 2, "max_wait": "1s", "first_byte": "2s"}
    b = relay("b")
    a = relay("a", text=config(f"http://127.0.0.1:{b.base_port}", [POOL], retry=retry))
    b.kill()
    url = f"http://127.0.0.1:{a.base_port}" if back else upstream.url
    write(b, config(url, [POOL], retry=retry, listen=everywhere(b.proxy_port, b.base_port)))
    b.start()
    return a, b


def test_a_relay_before_another(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    a, _ = pair(relay, upstream, back=False)
    with dial(a.base_port) as client:
        for _ in range(2):
            answer = client.ask("POST", "/v1/messages", body=messages_body())
            assert (answer.status, answer.body) == (200, claude.dump(claude.message("Hello!")))
    assert [len((request.header("relay-via") or "").split(", ")) for request in upstream.requests] == [2, 2]


def test_two_relays_that_lead_to_each_other(relay: Callable[..., ForkedRelay], upstream: FakeUpstream) -> None:
    a, b = pair(relay, upstream, back=True)
    with dial(a.base_port) as client:
        answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert "circle" in refused(answer, 508, "api_error")
    assert [len(rows(one.database)) for one in (a, b)] == [1, 1]  # once round, and no second try


def test_two_proxies_that_lead_to_each_other(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder
) -> None:
    """What is told at the beginning of a tunnel."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    text = config(upstream.url, [POOL])
    a, b = (Talkative(folder, confdir, text, breeder) for folder in folders)
    for one, other in ((a, b), (b, a)):
        one.added = {"HTTPS_PROXY": f"http://127.0.0.1:{other.proxy_port}"}
    with a, b:
        a.start()
        b.start()
        with dial(a.proxy_port) as client:
            assert tunnel(client, "example.org:443").status == 200
            with contextlib.suppress(ConnectionError):
                client.send(b"x" * 100)
            assert client.at_end()
        assert "circle" in a.output() + b.output()
        assert (a.output() + b.output()).count("no tunnel to") <= 2
