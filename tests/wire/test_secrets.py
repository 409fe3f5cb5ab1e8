"""Keys exist in memory and on the wire only: everything that can be looked at afterwards is searched for every secret."""

from __future__ import annotations

import base64
import json
import logging
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from . import claude, steps
from .clients import PLACEHOLDER, Answer, H2Client, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, RelayProcess, config, provider
from .upstream import Exchange, FakeUpstream, Step, refusing_port

POOL = [f"sk-ant-api03-POOLSECRET{i}-{'ab' * 20}AA" for i in range(1, 8)]
BEARER, COOKIE, QUERY, HEADER = "BEARERSECRET-1-xyz", "COOKIESECRET-1-xyz", "QUERY+SECRET/1=xyz", "HEADERSECRET-1-xyz"
MINE, MY_TOKEN, MY_COOKIE = "sk-ant-api03-CLIENTSECRET-xyz", "sk-ant-oat01-CLIENTTOKEN-xyz", "CLIENTCOOKIE-xyz"
MY_PROXY, OUTBOUND = "PROXYPASSWORD-client", "OUTBOUNDPASSWORD-xyz"
REFRESH, ACCESS = "sk-ant-ort01-REFRESHTOKEN-xyz", "sk-ant-oat01-ACCESSTOKEN-xyz"
SECRETS = [*POOL, BEARER, COOKIE, QUERY, HEADER, MINE, MY_TOKEN, MY_COOKIE, MY_PROXY, OUTBOUND, REFRESH, ACCESS]
QUICK = {"attempts": 8, "max_wait": "500ms", "first_byte": "2s", "whole": "2s", "idle": "2s"}
CREDENTIALS = [("x-api-key", MINE), ("Cookie", f"session={MY_COOKIE}"), ("Proxy-Authorization", f"Basic {MY_PROXY}")]


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it may be written down."""
    yield secret.encode()
    yield urllib.parse.quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].replace("/", "\\/").encode()
    for prefix in ("", "user:", "Bearer "):
        yield base64.b64encode((prefix + secret).encode()).rstrip(b"=")
    yield secret[: len(secret) * 2 // 3].encode()  # not even most of it


def found_in(place: str, data: bytes, secrets: list[str] = SECRETS) -> list[str]:
    """Each secret that is in there, with what stands around it."""
    leaks = []
    for secret in secrets:
        at = next((at for form in forms(secret) if (at := data.find(form)) >= 0), None)
        if at is not None:
            leaks.append(f"{place}: …{data[max(0, at - 80) : at + 60]!r}…")
    return leaks


async def _echo(exchange: Exchange) -> None:
    """Repeats the request's credentials in the error's text, as some servers do."""
    text = f"invalid credentials {exchange.request.key!r}: {exchange.request.headers}"
    await steps.status(401, "authentication_error", text).run(exchange)


async def _connect(exchange: Exchange) -> None:
    """An HTTP proxy that is its own destination: what follows on the connection is the tunnelled request."""
    await exchange.raw(b"HTTP/1.1 200 Connection established\r\n\r\n")  # type: ignore[attr-defined]


ECHO, CONNECT = Step(_echo), Step(_connect)
TOKENS = steps.answer([json.dumps({"access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 28800}).encode()])


class Everything:
    """One relay that has seen every sort of request; `leaks` is what can be found of its secrets afterwards."""

    def __init__(self, relay: Relay, upstream: FakeUpstream, host: FakeUpstream, stack: ExitStack) -> None:
        self.relay, self.upstream, self.host, self.stack = relay, upstream, host, stack
        self.answers: list[Answer] = []

    def client(self, kind: str = "base") -> RawClient | H2Client:
        relay = self.relay
        if kind == "base":
            return self.stack.enter_context(RawClient(relay.base_port))
        if kind == "proxy":
            return self.stack.enter_context(RawClient.through(relay.proxy_port, relay.ca_file))
        return self.stack.enter_context(H2Client.through(relay.proxy_port, relay.ca_file))

    def ask(
        self, *script: Step, stream: bool = False, kind: str = "base", path: str = "/v1/messages", **more: Any
    ) -> Answer:
        self.upstream.script(*script)
        headers = [(n, v) for n, v in CREDENTIALS if kind != "h2" or n != "x-api-key"]
        parts: dict[str, Any] = {"headers": headers, "body": messages_body(stream=stream)} | more
        if kind == "h2":
            parts["key"] = MINE
        try:
            answer = self.client(kind).ask("POST", path, **parts)
        except ConnectionError:
            answer = Answer()
        self.answers.append(answer)
        return answer


def outage(which: str) -> list[Step]:
    """What comes from the upstream before it is good again."""
    return {
        "nothing": [],
        "401": [steps.status(401, "authentication_error", "invalid x-api-key")],
        "403": [steps.status(403, "permission_error", "not allowed")],
        "429": [steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "60")])],
        "529": [steps.status(529, "overloaded_error", "Overloaded")],
        "reset": [steps.reset_before_head],
        "garbage": [steps.raw(b"\x15\x03\x01\x00\x02\x02\x16")],
        "bad head": [steps.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")],
        "html": [steps.fault("bad_gateway")],
        "silence": [steps.stall_before_head],
        "400": [steps.status(400, "invalid_request_error", "messages: required")],
        "error event": [steps.fault("error_first")],
    }[which]


OUTAGES = [
    "nothing",
    "401",
    "403",
    "429",
    "529",
    "reset",
    "garbage",
    "bad head",
    "html",
    "silence",
    "400",
    "error event",
]


def everywhere(relay: Relay, folder: Path, flows: Path, printed: str) -> Iterator[tuple[str, bytes]]:
    """All that can be looked at; the relay must have let go of its files, mitmweb has been asked before."""
    yield "the flow file", flows.read_bytes()
    for record in relay.logs.records:
        text = logging.Formatter("%(name)s %(message)s").format(record)
        yield "the log", (text + repr(record.args)).encode("utf-8", "replace")
    yield "standard output", printed.encode()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.startswith("relay.db"):
            yield file.name, file.read_bytes()


def shown_by_mitmweb(relay: Relay, folder: Path) -> list[tuple[str, bytes]]:
    """What a browser can get of every flow."""
    ui = relay.web_ui
    shown = [(path, ui.get(path)) for path in ("/flows", "/events", "/options", "/state", "/flows/dump")]
    for flow in ui.flows():
        for message in ("request", "response"):
            if flow.get(message) and flow[message]["contentLength"] is not None:
                shown.append((f"{flow['comment']} {message}", ui.body(flow, message)))
                shown.append((f"{flow['comment']} view", ui.get(f"/flows/{flow['id']}/{message}/content/auto.json")))
    return [*shown, ("HAR", har(relay, folder))]


def har(relay: Relay, folder: Path) -> bytes:
    """All flows as `save.har` writes them."""
    target = folder / "flows.har"
    relay.on_loop(lambda: relay.master.commands.call("save.har", list(relay.master.view), str(target)))
    return target.read_bytes()


@pytest.fixture
def everything(
    start: StartRelay, upstream: FakeUpstream, claude_host: FakeUpstream, tmp_path: Path, stack: ExitStack
) -> Callable[..., Everything]:
    """Starts a relay whose flows are written to `flows`, at its most talkative."""

    def run(text: dict[str, Any] | None = None, *, web: bool = False, **sections: Any) -> Everything:
        settings: dict[str, Any] = {
            "save_stream_file": str(tmp_path / "flows"),
            "termlog_verbosity": "debug",
            "store_streamed_bodies": True,
        }
        if not web:
            settings["flow_detail"] = 4
        how = {"web": web, "settings": settings, "hosts": {"api.anthropic.com:443": claude_host.port}}
        relay = start(text or config(upstream.url, POOL, retry=QUICK, **sections), relay=how)
        return Everything(relay, upstream, claude_host, stack)

    return run


def leaks(
    scene: Everything, folder: Path, capfd: pytest.CaptureFixture[str], secrets: list[str] = SECRETS
) -> list[str]:
    """Ends the relay and searches all that it leaves behind."""
    relay = scene.relay
    scene.stack.close()
    relay.wait_until_clients_left()
    shown = shown_by_mitmweb(relay, folder) if relay.web else []
    relay.on_loop(lambda: relay.master.options.update(save_stream_file=None))  # closes the file
    printed = "".join(capfd.readouterr())
    shown += everywhere(relay, folder, folder / "flows", printed)
    assert len([place for place, _ in shown]) > 5
    assert (folder / "flows").stat().st_size
    shown += [
        (f"header {name}", value.encode())
        for answer in scene.answers
        for name, value in answer.headers
        if name.lower().startswith("x-relay-")
    ]
    return [leak for place, data in shown for leak in found_in(place, data, secrets)]


@pytest.mark.parametrize(("kind", "web"), [("base", False), ("proxy", True), ("h2", True)])
def test_every_sort_of_outcome(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, web: bool
) -> None:
    scene = everything(web=web)
    for n, which in enumerate(OUTAGES):
        scene.ask(*outage(which), kind=kind, stream=n % 2 == 0 or which == "error event")
    scene.ask(steps.fault("cut_late"), stream=True, kind=kind)
    scene.ask(steps.stream([*claude.events()[:4], claude.error_event()]), stream=True, kind=kind)
    scene.ask(kind=kind, path="/v1/messages/count_tokens")
    scene.ask(kind=kind, path="/v1/files", body=b"{}")
    assert {a.status for a in scene.answers} >= {200, 400}
    assert set(scene.upstream.used_keys()) >= set(POOL[:3])
    assert MINE not in scene.upstream.used_keys()
    assert leaks(scene, tmp_path, capfd) == []


@pytest.mark.parametrize("web", [False, True], ids=["mitmdump", "mitmweb"])
@pytest.mark.parametrize("retried", [True, False])
def test_an_upstream_that_repeats_the_key(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], retried: bool, web: bool
) -> None:
    """Nothing that the relay keeps or says may hold it, be the attempt replaced or the request refused."""
    scene = everything(web=web)
    if not retried:
        scene.upstream.default = ECHO
    for stream in (False, True):
        scene.ask(ECHO, stream=stream)
    assert {a.status for a in scene.answers} == ({200} if retried else {503})
    for answer in scene.answers:
        assert found_in("answer", answer.body) == []
    assert leaks(scene, tmp_path, capfd) == []


@pytest.mark.parametrize("kind", ["invalid_request_error", "html", "cut"])
def test_a_passed_on_error_that_repeats_the_key(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    async def run(exchange: Exchange) -> None:
        text = f"what is {exchange.request.key}?"
        step = {
            "invalid_request_error": steps.status(400, kind, text),
            "html": steps.html(400, f"<html>{text}</html>".encode()),
            "cut": steps.answer([text.encode(), steps.cut, b"..."], status=400),
        }[kind]
        await step.run(exchange)

    scene = everything(web=True)
    scene.upstream.default = Step(run)
    assert scene.ask().status >= 400
    assert leaks(scene, tmp_path, capfd) == []


@pytest.mark.parametrize("kind", ["json", "sse", "gzip", "header", "header of a failure"])
def test_a_mirror_in_the_upstream(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    """Whatever it answers, what the relay keeps does not hold the key, and the client is not given it."""

    async def run(exchange: Exchange) -> None:
        key = exchange.request.key
        step = {
            "json": steps.message(f"You sent {key}"),
            "gzip": steps.message(f"You sent {key}", encoding="gzip"),
            "sse": steps.stream(claude.events("You", "sent", key)),
            "header": steps.message(headers=[("x-your-key", key)]),
            "header of a failure": steps.status(500, headers=[("x-your-key", key)]),
        }[kind]
        await step.run(exchange)

    scene = everything(web=True)
    assert scene.ask(Step(run), stream=kind == "sse").status == 200
    assert leaks(scene, tmp_path, capfd) == []


OWN = {"own": {"format": "anthropic", "base_url": "https://api.anthropic.com", "empty_pool": "passthrough"}}
REFRESHING = json.dumps({"grant_type": "refresh_token", "refresh_token": REFRESH}).encode()


@pytest.mark.parametrize("web", [False, True], ids=["mitmdump", "mitmweb"])
def test_the_clients_own_key_that_passes_through(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], web: bool
) -> None:
    scene = everything(config(providers=OWN, retry=QUICK), web=web)
    for script in ([], [steps.status(500)], [steps.status(401, "authentication_error", "no")]):
        scene.host.script(*script)
        scene.ask()
    assert {r.key for r in scene.host.requests} == {MINE}
    scene.ask(headers=[("Authorization", f"Bearer {MY_TOKEN}"), ("Cookie", f"session={MY_COOKIE}")])
    assert scene.host.requests[-1].key == MY_TOKEN
    for kind in ("base", "proxy", "h2"):
        assert scene.ask(kind=kind, path="/api/hello").status == 200
    assert leaks(scene, tmp_path, capfd) == []


def test_the_clients_own_key_repeated_by_the_upstream(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = everything(config(providers=OWN, retry=QUICK), web=True)
    scene.host.script(ECHO)
    assert MINE.encode() in scene.ask().body  # passed on as it is
    assert leaks(scene, tmp_path, capfd) == []


@pytest.mark.parametrize(("kind", "web"), [("base", False), ("proxy", True), ("h2", True)])
def test_tokens_in_the_bodies_of_a_side_call(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, web: bool
) -> None:
    scene = everything(web=web)
    scene.host.script(TOKENS)
    answer = scene.ask(kind=kind, path="/v1/oauth/token", body=REFRESHING)
    assert answer.json()["access_token"] == ACCESS
    assert scene.host.requests[0].body == REFRESHING
    assert leaks(scene, tmp_path, capfd) == []


@pytest.mark.parametrize("how", ["echo", "reset", "400"])
def test_tokens_in_a_side_call_that_fails(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    scene = everything(web=True)
    refused = steps.status(400, "invalid_request_error", f"unknown token {REFRESH}")
    scene.host.script({"echo": ECHO, "reset": steps.reset_before_head, "400": refused}[how])
    scene.ask(path="/v1/oauth/token", body=REFRESHING)
    assert leaks(scene, tmp_path, capfd) == []


def test_cookies_that_a_side_call_sets(
    everything: Callable[..., Everything], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = everything(web=True)
    cookie = ("Set-Cookie", f"session={MY_COOKIE}; HttpOnly")
    scene.host.script(steps.answer([b"{}"], headers=[cookie]))
    assert cookie in scene.ask(path="/api/hello").headers
    assert leaks(scene, tmp_path, capfd) == []


@pytest.mark.parametrize(
    ("auth", "key"),
    [("bearer", BEARER), ({"cookie": "session"}, COOKIE), ({"query": "key"}, QUERY), ({"header": "X-Odd"}, HEADER)],
    ids=["bearer", "cookie", "query", "header"],
)
def test_every_place_for_a_key(
    everything: Callable[..., Everything],
    upstream: FakeUpstream,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    auth: Any,
    key: str,
) -> None:
    scene = everything(config(providers={"odd": provider(upstream.url, [key], auth=auth)}, retry=QUICK), web=True)
    assert scene.ask(steps.status(500), steps.reset_before_head).status == 200
    assert scene.ask(ECHO).status == 503
    sent = repr([(r.path, r.headers) for r in upstream.requests])
    assert key in sent or urllib.parse.quote(key, safe="") in sent
    assert leaks(scene, tmp_path, capfd) == []


def test_the_password_of_an_outbound_proxy(
    everything: Callable[..., Everything],
    upstream: FakeUpstream,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    stack: ExitStack,
) -> None:
    dead = stack.enter_context(refusing_port())
    through = f"http://user:{OUTBOUND}@127.0.0.1"
    providers = {
        "far": provider("http://127.0.0.1:9", POOL[:2], proxy=f"{through}:{upstream.port}"),
        "near": provider("http://127.0.0.1:9", POOL[2:3], proxy=f"{through}:{dead}"),
    }
    scene = everything(config(providers=providers, retry=QUICK), web=True)
    assert scene.ask(CONNECT, steps.message("through the proxy")).status == 200
    connect, request = upstream.requests
    assert connect.method == "CONNECT"
    assert connect.header("proxy-authorization") == "Basic " + base64.b64encode(f"user:{OUTBOUND}".encode()).decode()
    assert request.key in POOL[:2]
    upstream.default = steps.status(407, "authentication_error", "who are you?")
    assert scene.ask().status == 502
    assert leaks(scene, tmp_path, capfd) == []


def test_a_placeholder_and_a_second_provider(
    everything: Callable[..., Everything], upstream: FakeUpstream, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    providers = {"one": provider(upstream.url, POOL[:1]), "two": provider(upstream.url, [BEARER], auth="bearer")}
    scene = everything(config(providers=providers, retry=QUICK), web=True)
    assert scene.ask(ECHO, ECHO, headers=[("x-api-key", PLACEHOLDER)]).status == 503
    assert upstream.used_keys() == [POOL[0], BEARER]
    assert leaks(scene, tmp_path, capfd) == []


def test_the_crash_of_a_hook_says_no_secret(
    everything: Callable[..., Everything],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A traceback names lines and types, no values."""
    from claude_relay.proxy.flow import pointing

    def broken(*_: object, **__: object) -> None:
        raise LookupError("on purpose")

    scene = everything(web=True)
    monkeypatch.setattr(pointing, "address", broken)
    scene.relay.expect_error("on purpose")
    assert scene.ask().status == 502
    assert scene.upstream.requests == []
    assert leaks(scene, tmp_path, capfd) == []


# -- what the configuration holds


def test_a_broken_configuration_is_told_without_its_keys(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, start: StartRelay
) -> None:
    broken = config(upstream.url, [POOL[0], f"{POOL[1]} with blanks"], retry={"attempts": f"{POOL[2]}"})
    broken["providers"]["anthropic"]["proxy"] = f"socks5://user:{OUTBOUND}@127.0.0.1:1"
    relay = start()
    relay.write_config(broken)
    said = relay.wait_for_log("is broken")
    assert "attempts" in said
    assert found_in("the log", relay.log_text().encode(), [*POOL[:2], OUTBOUND]) == []


def test_the_process_prints_no_secret(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    text = config(upstream.url, ["${TEST_KEYS}"], retry=QUICK)
    arguments = ["-v", "--set", "termlog_verbosity=debug", "--flow-detail", "4", "-w", str(tmp_path / "flows")]
    environ = {"TEST_KEYS": ",".join(POOL[:3])}
    with RelayProcess(tmp_path, confdir, text, arguments=arguments, environ=environ) as relay:
        upstream.script(ECHO, steps.reset_before_head, steps.stream())
        with RawClient(relay.base_port) as client:
            answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True), headers=CREDENTIALS)
        assert (answer.status, len(upstream.requests)) == (200, 3)
    assert relay.process.returncode == 0
    assert "anthropic/k1" in relay.output()
    assert found_in("output", relay.output().encode()) == []
    assert found_in("flows", (tmp_path / "flows").read_bytes()) == []
    for file in tmp_path.glob("relay.db*"):
        assert found_in(file.name, file.read_bytes()) == []
