"""Credentials that are no keys of the pool, and answers that nobody asked for on a client's behalf: they are repeated, and not shown."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.config import parse
from claude_relay.core.exchange import Key
from claude_relay.upstream.queries import fetched, listed, query
from waiting import PATIENCE

from . import claude, steps
from .certs import Authority
from .clients import H2Client, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider
from .repeating import FORMS, KEY, answer, error, exactly, holds, stream, whole
from .upstream import Exchange, FakeUpstream, Step, _Answer1

OWN = "sk-ant-api03-CLIENTS/OWN+KEY&1-" + "xY9_" * 12
USER, PASSWORD = "proxyuser", "PROXY/PASS+WORD&1-xyz"
SSE = "text/event-stream"


def settings(folder: Path) -> dict[str, Any]:
    return {"save_stream_file": str(folder / "flows"), "termlog_verbosity": "debug", "store_streamed_bodies": True}


def kept(relay: Relay, folder: Path, printed: str) -> Iterator[tuple[str, bytes]]:
    relay.wait_until_clients_left()
    ui = relay.web_ui
    for path in ("/flows", "/events", "/flows/dump"):
        yield path, ui.get(path)
    for flow in ui.flows():
        for message in ("request", "response"):
            if flow.get(message) and flow[message]["contentLength"] is not None:
                yield f"{flow['comment']} {message}", ui.body(flow, message)
    relay.on_loop(lambda: relay.master.options.update(save_stream_file=None))
    yield "-w", (folder / "flows").read_bytes()
    for record in relay.logs.records:
        yield "log", (logging.Formatter().format(record) + repr(record.args)).encode("utf-8", "replace")
    yield "output", printed.encode()
    for file in folder.glob("relay.db*"):
        yield file.name, file.read_bytes()


def leaks(places: Iterator[tuple[str, bytes]], secret: str) -> list[str]:
    return [
        f"{place}: {form}"
        for place, data in places
        if (form := exactly(data, secret) or ("some form" if len(data) < 20_000 and holds(data, secret) else None))
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_clients_own_key_comes_back_to_it_and_is_not_shown(
    start: StartRelay,
    claude_host: FakeUpstream,
    stack: ExitStack,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    streamed: bool,
) -> None:
    own = {"own": {"format": "anthropic", "base_url": "https://api.anthropic.com", "empty_pool": "passthrough"}}
    how = {"web": True, "settings": settings(tmp_path), "hosts": {"api.anthropic.com:443": claude_host.port}}
    relay = start(config(providers=own, ledger={"bodies": {"keep": "1d"}}), relay=how)
    for form in FORMS.values():
        said = form(OWN)
        body, kind = (stream("anthropic", said), SSE) if streamed else (whole("anthropic", said), "application/json")
        for encoding in (None, "gzip"):
            claude_host.script(answer(200, body, said, kind=kind, encoding=encoding, size=11))
            client = stack.enter_context(RawClient(relay.base_port))
            got = client.ask("POST", "/v1/messages", body=messages_body(stream=streamed), headers=[("x-api-key", OWN)])
            assert got.header("x-echo") == f"you sent {said}!"
            assert encoding is not None or got.body == body
        claude_host.script(answer(400, error("anthropic", said), said))
        refused = stack.enter_context(RawClient(relay.base_port))
        refused.ask("POST", "/v1/messages", body=messages_body(stream=streamed), headers=[("x-api-key", OWN)])
    stack.close()
    assert leaks(kept(relay, tmp_path, "".join(capfd.readouterr())), OWN) == []


@pytest.mark.parametrize("form", ["as it is", "base64", "url"])
def test_an_outbound_proxy_that_repeats_its_credential(
    start: StartRelay,
    upstream: FakeUpstream,
    stack: ExitStack,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    form: str,
) -> None:
    said = FORMS[form](f"{USER}:{PASSWORD}")

    async def run(exchange: Exchange) -> None:
        assert isinstance(exchange, _Answer1)
        name = PASSWORD.replace("/", "")
        head = f"HTTP/1.1 407 {said}\r\nproxy-authenticate: Basic realm={said}\r\n{name}: 1\r\n"
        head += f"content-length: {len(said)}\r\n\r\n{said}"
        await exchange.raw(head.encode())
        await exchange.close()

    upstream.default = Step(run)
    from urllib.parse import quote

    through = f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{upstream.port}"
    for url in ("http://127.0.0.1:9", "https://api.anthropic.com"):
        folder = tmp_path / url[:5]
        folder.mkdir()
    how = {"web": True, "settings": settings(tmp_path)}
    text = config(
        providers={
            "one": provider("http://127.0.0.1:9", [KEY], proxy=through),
            "two": provider("https://far.invalid", [KEY + "2"], proxy=through),
        },
        retry={"attempts": 2, "max_wait": "10ms"},
    )
    relay = start(text, relay=how)
    bodies = []
    for _ in range(2):
        with RawClient(relay.base_port) as client:
            got = client.ask("POST", "/v1/messages", body=messages_body())
        assert got.status >= 500
        bodies.append(("answer", got.body + repr(got.headers).encode()))
    sent = {request.header("proxy-authorization") for request in upstream.requests}
    assert sent == {"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    places = [*bodies, *kept(relay, tmp_path, "".join(capfd.readouterr()))]
    assert leaks(iter(places), f"{USER}:{PASSWORD}") == []
    assert leaks(iter(places), PASSWORD) == []


def test_trailers_over_http2(
    start: StartRelay, authority: Authority, stack: ExitStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream = stack.enter_context(FakeUpstream(authority.server_context("127.0.0.1", alpn=("h2",))))
    headers = [*claude.headers().items(), ("x-echo", KEY), (KEY.replace("/", "").replace("&", "").lower(), "1")]
    trailers = [("x-late", f"late {KEY}"), ("x-plain", "stays")]
    upstream.default = steps.stream(claude.events("You", KEY), headers=headers, trailers=trailers)
    relay = start(config(upstream.url, [KEY]), relay={"web": True, "settings": settings(tmp_path)})
    with H2Client.through(relay.proxy_port, relay.ca_file) as client:
        got = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
    said = got.body + repr((got.headers, got.trailers)).encode()
    assert b"stays" in said
    assert not holds(said)
    assert leaks(kept(relay, tmp_path, "".join(capfd.readouterr())), KEY) == []


def test_the_list_of_models(
    start: StartRelay, upstream: FakeUpstream, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for form in FORMS.values():
        upstream.script(
            answer(200, json.dumps(claude.models("claude-x")).replace("claude-x", form(KEY)).encode(), form(KEY))
        )
    relay = start(keys=[KEY], relay={"web": True, "settings": settings(tmp_path)})
    for path in ("/v1/models", f"/v1/models/{claude.MODEL}", "/v1/models?limit=3", "/v1/files"):
        with RawClient(relay.base_port) as client:
            got = client.ask("GET", path)
        assert not holds(got.body + repr(got.headers).encode())
    assert leaks(kept(relay, tmp_path, "".join(capfd.readouterr())), KEY) == []


@pytest.mark.parametrize("form", FORMS)
def test_what_commands_ask(upstream: FakeUpstream, form: str) -> None:
    said = FORMS[form](KEY)
    found = parse(
        json.dumps({"providers": {"one": {"format": "anthropic", "base_url": upstream.url}}}).encode(), environ={}
    )
    one, key = found.providers["one"], Key("one", "v1", KEY, "id")
    upstream.script(answer(401, error("anthropic", said), said))
    outcome = query(one, key, timeout=PATIENCE)
    assert outcome.status == 401
    assert not holds(repr(outcome).encode())
    for get in (lambda: listed(one, key, timeout=PATIENCE), lambda: fetched(one, key, "/v1/models", timeout=PATIENCE)):
        upstream.script(answer(200, json.dumps(claude.models("claude-x")).replace("claude-x", said).encode(), said))
        assert not holds(repr(get()).encode())
