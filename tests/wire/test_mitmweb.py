"""What people see in mitmweb: a line for each request, its failed attempts, and never more than they asked to keep."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import contentviews

from claude_relay.proxy import banner
from claude_relay.proxy.log.folding import Folding
from claude_relay.proxy.mitm.marks import APART
from waiting import BRIEF, eventually

from . import claude, steps
from .budgets import PRICES
from .clients import RawClient, connect_through, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Signal

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 7)]
QUICK = {"attempts": 8, "max_wait": "2s", "first_byte": BRIEF, "idle": BRIEF}
STREAM = b"".join(claude.events())
SECONDS = r"\d+\.\d s · req_relay_[0-9a-f]{24}"
RETRIED, FAILED = "\U0001f501", "❌"
EXPLAINED = "does not trust the relay's certificate"

Base = Callable[[Relay], RawClient]


@pytest.fixture
def begin(start: StartRelay) -> Callable[..., Relay]:
    """Runs mitmweb with the relay; `settings` are mitmproxy options."""

    def run(text: Any = ..., *, settings: dict[str, object] | None = None, **more: Any) -> Relay:
        return start(text, relay={"web": True, "settings": settings or {}}, **{"keys": KEYS, "retry": QUICK} | more)

    return run


def finished(relay: Relay, count: int) -> list[dict[str, Any]]:
    """The flows, as soon as there are so many and all of them have a comment."""

    def found() -> list[dict[str, Any]] | None:
        flows = relay.web_ui.flows()
        return flows if len(flows) == count and all(flow["comment"] for flow in flows) else None

    return eventually(found, lambda: [(f["comment"], f["request"]["path"]) for f in relay.web_ui.flows()]) or []


# -- the line


def test_the_line_of_a_plain_request(begin: Callable[..., Relay], base_client: Base) -> None:
    relay = begin()
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 200
    (flow,) = finished(relay, 1)
    assert re.fullmatch(rf"k1 · claude-sonnet-5 · 12\.3k→15 tok · {SECONDS}", flow["comment"]), flow["comment"]
    assert re.fullmatch(rf"sonnet-5 k1 12\.3k→15(?: \S+)?{APART}", flow["marked"]), flow["marked"]


def test_the_line_of_a_stream_after_three_tries(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    relay = begin()
    upstream.script(
        steps.status(401, "authentication_error", "invalid x-api-key"),
        steps.status(500),
        steps.stream(claude.events(output_tokens=1481)),
    )
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True)).status == 200
    flow, *attempts = sorted(finished(relay, 3), key=lambda f: f["comment"].startswith("attempt"))
    assert re.fullmatch(r"k\d · claude-sonnet-5 · 3 tries · 12\.3k→1\.5k tok · " + SECONDS, flow["comment"])
    assert flow["marked"].startswith(f"{RETRIED} sonnet-5 k")
    assert all(re.match(rf"{FAILED} \d\. anthropic/k\d ", f["marked"]) for f in attempts)


LINES = {
    "no usage": (
        ("GET", "/v1/models", b""),
        [],
        rf"k1 · models · {SECONDS}",
        "",
    ),
    "counted, but no consumption": (
        ("POST", "/v1/messages/count_tokens", messages_body()),
        [],
        rf"k1 · claude-sonnet-5 · {SECONDS}",
        "",
    ),
    "passed on": (
        ("POST", "/v1/messages", messages_body()),
        [steps.status(400, "invalid_request_error", "no messages")],
        rf"k1 · claude-sonnet-5 · error · {SECONDS}",
        FAILED,
    ),
    "cut after content": (
        ("POST", "/v1/messages", messages_body(stream=True)),
        [steps.fault("cut_late")],
        rf"k1 · claude-sonnet-5 · 12\.3k→~\d tok · upstream closed · {SECONDS}",
        FAILED,
    ),
    "an error event after content": (
        ("POST", "/v1/messages", messages_body(stream=True)),
        [steps.stream([*claude.events()[:4], claude.error_event()])],
        rf"k1 · claude-sonnet-5 · 12\.3k→~\d tok · error · {SECONDS}",
        FAILED,
    ),
    "nobody to ask": (
        ("POST", "/v1/messages", messages_body(model="other")),
        [],
        rf"no key · other · 0 tries · error · {SECONDS}",
        FAILED,
    ),
}


@pytest.mark.parametrize(("asked", "script", "line", "mark"), LINES.values(), ids=LINES)
def test_lines(
    begin: Callable[..., Relay],
    upstream: FakeUpstream,
    base_client: Base,
    asked: tuple[str, str, bytes],
    script: list[Any],
    line: str,
    mark: str,
) -> None:
    routes = [
        {"match": {"model": "claude-*"}, "to": ["anthropic"]},
        {"match": {"header": {"x-any": "*"}}, "to": ["anthropic"]},
    ]
    relay = begin(routes=routes)
    upstream.script(*script)
    method, path, body = asked
    headers = [] if "messages" in path else [("x-any", "yes")]
    base_client(relay).ask(method, path, body=body, headers=headers)
    (flow,) = finished(relay, 1)
    assert re.fullmatch(line, flow["comment"]), flow["comment"]
    assert flow["marked"].startswith(mark)


def test_the_clients_own_key_has_no_alias(begin: Callable[..., Relay], base_client: Base) -> None:
    relay = begin(keys=[], providers=None)
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(), key="sk-ant-mine").status in (200, 503)
    (flow,) = finished(relay, 1)
    assert flow["comment"].startswith(("client's key · claude-sonnet-5", "no key · claude-sonnet-5"))


def test_a_client_that_left(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin()
    upstream.script(steps.fault("stall_late"))
    client = base_client(relay)
    client.post(stream=True)
    client.head()
    client.until(b"word 0")
    client.reset()
    (flow,) = finished(relay, 1)
    assert re.fullmatch(rf"k1 · claude-sonnet-5 · 12\.3k→~\d tok · client closed · {SECONDS}", flow["comment"])
    assert flow["marked"].startswith(FAILED)


# -- failed attempts


def test_failed_attempts_can_be_read(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin()
    upstream.script(
        steps.status(401, "authentication_error", "invalid x-api-key"),
        steps.fault("bad_gateway"),
        steps.status(500, "api_error", "packed", encoding="gzip"),
        steps.fault("error_first"),
        steps.reset_before_head,
        steps.stream(),
    )
    body = messages_body(stream=True)
    assert base_client(relay).ask("POST", "/v1/messages", body=body).body == STREAM
    found = {f["comment"].split(" · ")[0]: f for f in finished(relay, 6)}
    first, second, third, fourth, fifth = (found[f"attempt {n}"] for n in range(1, 6))

    assert first["comment"].startswith("attempt 1 · anthropic/k1 · unauthorized · ")
    assert first["response"]["status_code"] == 401
    assert b"invalid x-api-key" in relay.web_ui.body(first)
    assert second["comment"].startswith("attempt 2 · anthropic/k2 · ")
    assert (second["response"]["status_code"], relay.web_ui.body(second)) == (502, claude.HTML_502)
    assert b"packed" in relay.web_ui.body(third)
    assert (fourth["response"]["status_code"], "overloaded" in fourth["comment"]) == (200, True)
    assert b"overloaded_error" in relay.web_ui.body(fourth)
    assert "response" not in fifth
    assert fifth["error"]["msg"]
    for flow in (first, second, third, fourth, fifth):
        assert flow["marked"].startswith(FAILED)
        assert relay.web_ui.body(flow, "request") == body
        key = dict(flow["request"]["headers"])["x-api-key"]
        assert re.fullmatch(r"relay:anthropic/k\d", key)
        assert key.removeprefix("relay:") in flow["comment"]


def test_the_last_failed_attempt_of_a_refused_request(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    """What the upstream said stays what it said; what the relay said is the request's own answer."""
    relay = begin(keys=KEYS[:1])
    upstream.default = steps.status(401, "authentication_error", "invalid x-api-key")
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 503
    attempt, own = sorted(finished(relay, 2), key=lambda f: not f["comment"].startswith("attempt"))
    assert attempt["comment"].startswith("attempt 1 · anthropic/k1 · unauthorized")
    assert attempt["response"]["status_code"] == 401
    assert dict(attempt["response"]["headers"])["request-id"] == "req_011CTestTestTestTest"
    assert b"invalid x-api-key" in relay.web_ui.body(attempt)
    assert own["response"]["status_code"] == 503
    assert dict(own["response"]["headers"])["request-id"].startswith("req_relay_")
    assert b"invalid" not in relay.web_ui.body(own) or b"every key is out" in relay.web_ui.body(own)
    assert own["marked"].startswith(f"{FAILED} sonnet-5 k1")
    assert attempt["marked"].startswith(f"{FAILED} 1. anthropic/k1 unauthorized")


def test_attempts_at_two_providers(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base, stack: ExitStack
) -> None:
    busy = stack.enter_context(FakeUpstream(default=steps.status(529, "overloaded_error", "Overloaded")))
    providers = {"busy": provider(busy.url, KEYS[:1]), "calm": provider(upstream.url, ["sk-calm"])}
    relay = begin(config(providers=providers, retry=QUICK))
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 200
    found = finished(relay, len(busy.requests) + 1)
    where = {f["request"]["port"] for f in found if f["comment"].startswith("attempt")}
    assert where == {busy.port}
    (good,) = (f for f in found if not f["comment"].startswith("attempt"))
    assert (good["request"]["host"], good["request"]["port"]) == ("api.anthropic.com", 443)


# -- bodies


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
def test_bodies_of_good_answers_can_be_read(begin: Callable[..., Relay], base_client: Base, streamed: bool) -> None:
    relay = begin()
    body = messages_body(stream=streamed)
    answer = base_client(relay).ask("POST", "/v1/messages", body=body)
    (flow,) = finished(relay, 1)
    assert relay.web_ui.body(flow) == answer.body != b""
    assert relay.web_ui.body(flow, "request") == body


def test_a_broken_stream_can_be_read(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin()
    upstream.script(steps.fault("cut_late"))
    base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    (flow,) = finished(relay, 1)
    assert b"word 0" in relay.web_ui.body(flow)


def test_old_bodies_go(begin: Callable[..., Relay], base_client: Base) -> None:
    relay = begin(settings={"relay_keep_bodies": 2})
    client = base_client(relay)
    for n in range(5):
        client.ask("POST", "/v1/messages", body=messages_body(stream=n % 2 == 0, text=f"question {n}"))
    found = finished(relay, 5)
    kept = [f["request"]["contentLength"] is not None for f in found]
    assert kept == [False, False, False, True, True]
    assert [f["response"]["contentLength"] is not None for f in found] == kept
    assert b"question 4" in relay.web_ui.body(found[4], "request")


def test_a_huge_stream_is_kept_in_part(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin()
    big = [claude.start(), claude.BLOCK_START, *[claude.delta("x" * 60_000)] * 100, claude.BLOCK_STOP]
    upstream.script(steps.stream([*big, claude.message_delta(), claude.STOP]))
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    (flow,) = finished(relay, 1)
    assert len(answer.body) > 6_000_000
    shown = relay.web_ui.body(flow)
    assert 1_000_000 < len(shown) <= 4 * 1024 * 1024
    assert answer.body.startswith(shown)


# -- bodies as people read them


def test_a_request_and_its_streamed_answer_have_pages(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    relay = begin(prices=PRICES)
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls\ncat x"}}
    upstream.script(
        steps.status(401, "authentication_error", "invalid x-api-key"),
        steps.stream(claude.streamed(claude.message(content=[call], stop_reason="tool_use"))),
    )
    base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True, text="What is here?"))
    flow, attempt = sorted(finished(relay, 2), key=lambda f: f["comment"].startswith("attempt"))
    request, answer = relay.web_ui.page(flow, "request"), relay.web_ui.page(flow)
    assert (request["view_name"], request["syntax_highlight"]) == ("Claude request", "yaml")
    assert "model: claude-sonnet-5\n" in request["text"]
    assert "What is here?" in request["text"]
    assert answer["view_name"] == "Claude answer"
    assert "stop_reason: tool_use\n" in answer["text"]
    story, _, request_id = flow["comment"].rpartition(" · ")
    assert f"story: {story}\nrelay: {{request: {request_id}, key: anthropic/k" in answer["text"]
    assert re.search(r"cost: \d+\.\d{6} USD}\n", answer["text"]), answer["text"]
    assert "input:\n      command: |-\n        ls\n        cat x\n" in answer["text"]
    assert relay.web_ui.page(flow, view="raw")["text"].startswith("event: message_start\n")
    refused = relay.web_ui.page(attempt)
    assert refused["view_name"] == "API error"
    assert "status: 401\ntype: authentication_error\nmessage: invalid x-api-key\n" in refused["text"]
    assert "secret" not in request["text"] + answer["text"] + refused["text"]


def test_a_broken_stream_has_a_page(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin()
    upstream.script(steps.fault("cut_late"))
    base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    (flow,) = finished(relay, 1)
    page = relay.web_ui.page(flow)
    assert page["view_name"] == "Claude answer"
    assert "word 0" in page["text"]


def test_a_relay_that_ends_takes_its_views_along(tmp_path: Path, confdir: Path) -> None:
    before = set(contentviews.registry)
    with Relay(tmp_path, confdir, config("http://127.0.0.1:1", KEYS), web=True) as relay:
        assert set(relay.on_loop(contentviews.registry.available_views)) >= {"claude answer", "claude request"}
        assert set(contentviews.registry) > before
    assert set(contentviews.registry) == before


# -- how many


def test_old_flows_go_but_never_a_live_one(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    relay = begin(settings={"relay_keep_flows": 4}, retry=QUICK | {"idle": "5s"})
    go = Signal("the test's word")
    upstream.script(steps.stream([*claude.events()[:4], go, *claude.events()[4:]]))
    live = base_client(relay)
    live.post(stream=True)
    live.head()
    live.until(b"Hel")
    client = base_client(relay)
    for n in range(9):
        upstream.script(*[steps.status(500)] * (n % 3 == 0), steps.message())
        assert client.ask("POST", "/v1/messages", body=messages_body(text=f"question {n}")).status == 200
        assert len(relay.web_ui.flows()) <= 5  # the one that has just been answered is let go at the next one's end
    assert b'"Hi"' in relay.web_ui.body(relay.web_ui.flows()[0], "request")
    go.set()
    live.until(b"message_stop")
    client.ask("POST", "/v1/messages", body=messages_body(text="the last"))
    found = finished(relay, 4)
    assert b"the last" in relay.web_ui.body(found[-1], "request")


# -- options


def test_the_columns_show_the_comment(begin: Callable[..., Relay]) -> None:
    columns = begin().web_ui.option("web_columns")
    assert "comment" in columns
    assert {"path", "method", "status", "size", "time"} <= set(columns)


def test_the_users_columns_stay(begin: Callable[..., Relay]) -> None:
    relay = begin(settings={"web_columns": ["path", "status"]})
    assert relay.web_ui.option("web_columns") == ["path", "status"]


# -- a client that does not trust the relay


def distrust(relay: Relay, host: str) -> None:
    """A client that trusts only the world's authorities."""
    with pytest.raises(ssl.SSLCertVerificationError):
        connect_through(relay.proxy_port, relay.folder / "empty.pem", host)


@pytest.mark.parametrize("web", [False, True], ids=["mitmdump", "mitmweb"])
def test_an_untrusted_certificate_is_explained_once(
    start: StartRelay, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, web: bool, authority: Any
) -> None:
    hosts = [f"{name}-{web}.api.anthropic.com" for name in ("one", "two")]  # for which the CA may sign
    relay = start(config(upstream.url, KEYS, intercept={"hosts": [*hosts, "api.anthropic.com"]}), relay={"web": web})
    (relay.folder / "empty.pem").write_bytes(authority.ca_file.read_bytes())
    for host in (*hosts, hosts[0], hosts[0]):
        distrust(relay, host)
    relay.wait_for_log(EXPLAINED, 2)
    distrust(relay, hosts[1])
    relay.wait_until_clients_left()
    lines = [r.getMessage() for r in relay.logs.records if r.name == banner.__name__]
    assert [line.split(" for ")[1].split(" ")[0] for line in lines] == hosts
    for line in lines:
        assert "scripts/env" in line
        assert f"NODE_EXTRA_CA_CERTS={relay.ca_file}" in line
    monkeypatch.setattr(banner, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(Folding, "is_first", lambda self, record: True)  # the log would wait for more like it
    distrust(relay, hosts[0])
    relay.wait_for_log(EXPLAINED, 3)
