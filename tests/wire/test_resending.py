"""Recorded requests that are sent again with what mitmproxy has for it, by way of the relay: the button, the editor, files of flows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http, io
from mitmproxy.addons import clientplayback
from mitmproxy.test.tflow import tflow

from claude_relay.proxy.stream.resending import CHECK, HANDLER
from waiting import PATIENCE, eventually

from . import foreign, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, RelayProcess, config, provider, rows
from .upstream import FakeUpstream, Signal

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 4)]
Base = Callable[[Relay], RawClient]


@pytest.fixture
def begin(start: StartRelay) -> Callable[..., Relay]:
    """Runs mitmweb with the relay."""

    def run(text: Any = ..., **more: Any) -> Relay:
        return start(text, relay={"web": True}, **{"keys": KEYS} | more)

    return run


@pytest.fixture
def elsewhere() -> Iterator[FakeUpstream]:
    with FakeUpstream() as found:
        yield found


def settled(relay: Relay, count: int) -> list[dict[str, Any]]:
    """The ledger's rows, as soon as there are so many."""
    eventually(lambda: len(rows(relay.database)) >= count, lambda: (len(rows(relay.database)), relay.log_text()))
    return rows(relay.database)


def shown(relay: Relay, id: str, *, but: str = "") -> dict[str, Any]:
    """A flow, as soon as it has a comment that does not begin so."""

    def found() -> dict[str, Any]:
        flow = next(f for f in relay.web_ui.flows() if f["id"] == id)
        return flow if flow["comment"] and not (but and flow["comment"].startswith(but)) else {}

    return eventually(found, lambda: relay.web_ui.flows())


def replay(relay: Relay, flow: Mapping[str, Any]) -> None:
    """Press the button, and wait until nothing is replayed any more."""
    relay.web_ui.replay(flow)
    eventually(lambda: not relay.web_ui.command("replay.client.count")["value"])


def keys_at(upstream: FakeUpstream) -> list[str]:
    return [request.key for request in upstream.requests]


def heads(flow: Mapping[str, Any]) -> dict[str, str]:
    return dict(flow["request"]["headers"])


# -- what a settled flow shows


def test_a_settled_flow_shows_the_request_as_it_came(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    relay = begin(
        config(providers={"glm": provider(f"{upstream.url}/anthropic", KEYS, models={"claude-*": "glm-4.6"})})
    )
    body = messages_body()
    base_client(relay).ask("POST", "/v1/messages?beta=true", body=body, headers=[("x-relay-project", "mine")])
    settled(relay, 1)
    attempt, request = sorted(relay.web_ui.flows(), key=lambda flow: not flow["comment"].startswith("attempt"))
    assert (request["request"]["host"], request["request"]["path"]) == ("api.anthropic.com", "/v1/messages?beta=true")
    assert relay.web_ui.body(request, "request") == body
    assert heads(request)["x-relay-project"] == "mine"
    assert attempt["comment"].startswith("attempt 1 · glm/k1 · glm-4.6")
    assert (attempt["request"]["port"], attempt["request"]["path"]) == (
        upstream.port,
        "/anthropic/v1/messages?beta=true",
    )
    assert heads(attempt)["x-api-key"] == "relay:glm/k1"
    assert relay.web_ui.body(attempt, "request") == upstream.requests[0].body
    assert b"glm-4.6" in upstream.requests[0].body


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
def test_what_was_sent_in_another_format_and_what_came_back_can_be_read(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base, streamed: bool
) -> None:
    relay = begin(config(providers={"openai": {"preset": "openai", "base_url": upstream.url, "keys": KEYS[:1]}}))
    upstream.script(
        foreign.responses_stream([{"type": "message", "content": [{"type": "output_text", "text": "Hello!"}]}])
    )
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=streamed, model="gpt-5.1"))
    assert answer.status == 200
    settled(relay, 1)
    attempt, request = sorted(relay.web_ui.flows(), key=lambda flow: not flow["comment"].startswith("attempt"))
    assert request["request"]["path"] == "/v1/messages"
    assert relay.web_ui.body(request) == answer.body
    assert attempt["request"]["path"] == upstream.requests[0].path
    assert b"response.completed" in relay.web_ui.body(attempt)
    assert b"message_stop" not in relay.web_ui.body(attempt)


def test_a_passed_on_error_in_another_format_is_shown_as_it_was(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    relay = begin(config(providers={"openai": {"preset": "openai", "base_url": upstream.url, "keys": KEYS[:1]}}))
    upstream.script(foreign.openai_error(400, "invalid_value", "no such thing"))
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(model="gpt-5.1")).status == 400
    settled(relay, 1)
    attempt, request = sorted(relay.web_ui.flows(), key=lambda flow: not flow["comment"].startswith("attempt"))
    assert b'"type":"error"' in relay.web_ui.body(request).replace(b" ", b"")
    assert b"no such thing" in relay.web_ui.body(attempt)
    assert relay.web_ui.body(attempt, "request") == upstream.requests[0].body


# -- the button


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
def test_the_button_goes_through_the_relay(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base, streamed: bool
) -> None:
    relay = begin()
    body = messages_body(stream=streamed)
    first = base_client(relay).ask("POST", "/v1/messages", body=body)
    (flow,) = relay.web_ui.flows()
    upstream.script(steps.status(401, "authentication_error", "invalid x-api-key"))
    relay.web_ui.replay(flow)
    client, replayed = settled(relay, 2)
    assert (client["origin"], replayed["origin"]) == ("client", "replay")
    assert replayed["attempts"] == 2
    assert keys_at(upstream) == KEYS
    assert [request.body for request in upstream.requests] == [body] * 3
    again = shown(relay, flow["id"], but="k1")
    assert again["comment"].startswith("replay · k3 · ")
    assert again["is_replay"] == "request"
    assert again["marked"].startswith("♻")
    assert relay.web_ui.body(again) == first.body
    assert len(relay.web_ui.flows()) == 2


def test_what_was_edited_is_sent(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin()
    base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    (flow,) = relay.web_ui.flows()
    headers = [*flow["request"]["headers"], ["x-relay-target", "anthropic/k3"]]
    edited = messages_body(text="What else?").decode()
    relay.web_ui.put(f"/flows/{flow['id']}", {"request": {"content": edited, "headers": headers}})
    relay.web_ui.replay(flow)
    _, row = settled(relay, 2)
    assert upstream.requests[1].body == edited.encode()
    assert (row["key"], row["route"]) == ("k3", "x-relay-target anthropic/k3: anthropic")
    assert upstream.requests[1].header("x-relay-target") is None


def test_an_attempt_elsewhere_is_refused(
    begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base
) -> None:
    relay = begin()
    upstream.script(steps.status(500), steps.status(500))
    base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    settled(relay, 1)
    attempt = next(flow for flow in relay.web_ui.flows() if flow["comment"].startswith("attempt 1"))
    sent = len(upstream.requests)
    relay.web_ui.replay(attempt)
    line = relay.wait_for_log("This is what the relay sent to")
    assert "the target anthropic/k1" in line
    assert len(upstream.requests) == sent
    assert shown(relay, attempt["id"])["response"]["status_code"] == 500


def test_an_alias_never_leaves(start: StartRelay, claude_host: FakeUpstream, base_client: Base) -> None:
    """Without a key of the pool there is nothing in the place of the client's own, which no flow holds."""
    relay = start(
        config(providers={"anthropic": {"preset": "anthropic"}}), relay={"web": True, "hosts": hosts(claude_host)}
    )
    client = base_client(relay)
    mine = [("cookie", "session=mine"), ("x-other", "sk-ant-api03-other-secret")]
    assert client.ask("POST", "/v1/messages", body=messages_body(), key="sk-ant-mine-000", headers=mine).status == 200
    assert claude_host.requests[0].header("cookie") == "session=mine"
    (flow,) = relay.web_ui.flows()
    assert (heads(flow)["x-api-key"], heads(flow)["cookie"]) == ("relay:client", "relay:client")
    replay(relay, flow)
    again = shown(relay, flow["id"], but="client")
    assert again["response"]["status_code"] == 401
    assert b"the client sent only a placeholder" in relay.web_ui.body(again)
    headers = [["x-api-key", "sk-ant-mine-001"], *[h for h in flow["request"]["headers"] if h[0] != "x-api-key"]]
    relay.web_ui.put(f"/flows/{flow['id']}", {"request": {"headers": headers}})
    relay.web_ui.replay(flow)
    settled(relay, 3)
    assert claude_host.requests[1].key == "sk-ant-mine-001"
    assert "relay:" not in str(claude_host.requests[1].headers)


@pytest.mark.parametrize("named", ["relay:anthropic/k1", "Relay:client"])
def test_a_client_with_an_alias_has_none(
    start: StartRelay, claude_host: FakeUpstream, base_client: Base, named: str
) -> None:
    relay = start(config(providers={"anthropic": {"preset": "anthropic"}}), relay={"hosts": hosts(claude_host)})
    client = base_client(relay)
    assert client.ask("POST", "/v1/messages", body=messages_body(), key=named).status == 401
    bearer = [("authorization", f"Bearer {named}")]
    assert client.ask("POST", "/v1/messages", body=messages_body(), key=None, headers=bearer).status == 401
    assert claude_host.requests == []


def hosts(claude: FakeUpstream) -> dict[str, int]:
    return {"api.anthropic.com:443": claude.port}


def test_a_request_without_its_body_is_refused(begin: Callable[..., Relay], base_client: Base) -> None:
    relay = begin(limits={"request_body": "64KiB", "file": "10MiB"})
    base_client(relay).ask("POST", "/v1/files", body=b"x" * 100_000)
    (flow,) = relay.web_ui.flows()
    relay.web_ui.replay(flow)
    assert "was not kept" in relay.wait_for_log("was not kept")


def test_it_leaves_sessions_alone(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    """A conversation stays with its key, wherever its recorded requests go meanwhile."""
    relay = begin()
    session = [("x-relay-session", "one")]
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body(), headers=session)
    (flow,) = relay.web_ui.flows()
    relay.web_ui.replay(flow)
    settled(relay, 2)
    client.ask("POST", "/v1/messages", body=messages_body(), headers=session)
    settled(relay, 3)
    assert keys_at(upstream) == [KEYS[0], KEYS[1], KEYS[0]]


def test_it_ends_with_the_relay(begin: Callable[..., Relay], upstream: FakeUpstream, base_client: Base) -> None:
    relay = begin(shutdown="0s")
    base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    (flow,) = relay.web_ui.flows()
    upstream.script(steps.after(Signal("never"), steps.message()))
    relay.web_ui.replay(flow)
    upstream.wait_for_requests(2)
    relay.on_loop(relay.master.shutdown)
    _, row = settled(relay, 2)
    assert (row["finished"], row["origin"]) == ("error", "replay")


def test_mitmproxy_gets_its_own_back(begin: Callable[..., Relay]) -> None:
    relay = begin()
    assert clientplayback.ReplayHandler is not HANDLER
    relay.on_loop(relay.master.shutdown)
    relay._thread.join(PATIENCE)
    assert (clientplayback.ReplayHandler, clientplayback.ClientPlayback.check) == (HANDLER, CHECK)


# -- files


def flow_file(path: Path, *bodies: bytes, key: str = "relay:anthropic/k7") -> Path:
    """As mitmproxy writes it."""
    with path.open("wb") as file:
        for body in bodies:
            flow = tflow()
            flow.request = http.Request.make(
                "POST",
                "https://api.anthropic.com/v1/messages",
                body,
                {"x-api-key": key, "anthropic-version": "2023-06-01"},
            )
            io.FlowWriter(file).add(flow)
    return path


def test_mitmdump_replays_a_file(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    """It ends when all is answered, as mitmdump does."""
    file = flow_file(tmp_path / "agent.flow", messages_body(), messages_body(text="And?"))
    arguments = ["--client-replay", str(file)]
    with RelayProcess(tmp_path, confdir, config(upstream.url, KEYS), arguments=arguments) as relay:
        relay.process.wait(PATIENCE)
        assert "Traceback" not in relay.output()
    assert keys_at(upstream) == KEYS[:2]
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        assert connection.execute("SELECT origin, status FROM requests").fetchall() == [("replay", 200)] * 2
