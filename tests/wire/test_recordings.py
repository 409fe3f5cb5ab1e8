"""`relay.replay` and `relay.duel` in mitmweb's command bar: recorded requests as new flows, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from waiting import eventually

from . import claude, foreign, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import FakeUpstream

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pyparsing, which mitmproxy calls
KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 4)]
Base = Callable[[Relay], RawClient]


@pytest.fixture
def other(stack: ExitStack) -> FakeUpstream:
    return stack.enter_context(FakeUpstream())


@pytest.fixture
def relay(start: StartRelay, upstream: FakeUpstream, other: FakeUpstream) -> Relay:
    providers = {"anthropic": provider(upstream.url, KEYS), "other": provider(other.url, ["sk-other-secret"])}
    return start(config(providers=providers), relay={"web": True})


def settled(relay: Relay, count: int) -> list[dict[str, Any]]:
    """The ledger's rows, as soon as there are so many."""
    eventually(lambda: len(rows(relay.database)) >= count, lambda: (len(rows(relay.database)), relay.log_text()))
    return rows(relay.database)


def har(path: Path, *bodies: bytes, url: str = "https://api.anthropic.com/v1/messages?beta=true&key=secret") -> Path:
    """As a browser writes it, with what allowed the request."""
    headers = {"x-api-key": "sk-ant-real-secret", "Cookie": "id=secret", "anthropic-beta": "one", "X-Mine": "secret"}
    fields = [{"name": name, "value": value} for name, value in headers.items()]
    entries = [
        {"request": {"method": "POST", "url": url, "headers": fields, "postData": {"text": body.decode()}}}
        for body in bodies
    ]
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return path


# -- replay


@pytest.mark.parametrize(
    ("target", "key"),
    [("", KEYS[1]), ("anthropic/k3", KEYS[2]), ("other", "sk-other-secret"), ("other/m", "sk-other-secret")],
)
def test_a_flow_goes_again_as_a_new_one(
    relay: Relay, upstream: FakeUpstream, other: FakeUpstream, base_client: Base, target: str, key: str
) -> None:
    body = messages_body(stream=True)
    base_client(relay).ask("POST", "/v1/messages?beta=true", body=body, headers=[("anthropic-beta", "one")])
    client, *_ = settled(relay, 1)
    (recorded,) = relay.web_ui.flows()
    for flow in (f"@{recorded['id']}", client["id"]):
        said = relay.web_ui.command("relay.replay", flow, *[target] * bool(target))
        assert "value" in said, said
    _, first, again = settled(relay, 3)
    assert (first["origin"], again["origin"]) == ("replay", "replay")
    got = (other if target.startswith("other") else upstream).requests[-1]
    assert got.path == "/v1/messages?beta=true"
    assert got.header("anthropic-beta") == "one"
    assert json.loads(got.body) == {**json.loads(body), **({"model": "m"} if target == "other/m" else {})}
    if target:
        assert got.key == key
    flows = relay.web_ui.flows()
    assert len({flow["id"] for flow in flows}) == 3 + (target == "other/m") * 2  # what was sent has another body there
    assert next(flow for flow in flows if flow["id"] == recorded["id"])["comment"].startswith("k1 · ")


def test_what_is_in_a_file_goes_again_without_what_allowed_it(
    relay: Relay, upstream: FakeUpstream, tmp_path: Path
) -> None:
    file = har(tmp_path / "agent.har", messages_body(), messages_body(text="And?"))
    relay.web_ui.command("relay.replay", str(file))
    settled(relay, 2)
    assert [json.loads(request.body)["messages"][0]["content"] for request in upstream.requests] == ["Hi", "And?"]
    for request in upstream.requests:
        assert request.path == "/v1/messages?beta=true"
        assert request.header("anthropic-beta") == "one"
        assert request.key in KEYS
        assert "secret" not in str([v for n, v in request.headers if n.lower() != "x-api-key"])
    assert "real" not in str(relay.web_ui.flows())


def test_an_attempt_stands_for_its_request(relay: Relay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(steps.status(500), steps.status(500))
    base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    settled(relay, 1)
    attempts = [flow for flow in relay.web_ui.flows() if flow["comment"].startswith("attempt")]
    sent = len(upstream.requests)
    relay.web_ui.command("relay.replay", "@" + ",".join(flow["id"] for flow in attempts), "other")
    assert settled(relay, 2)[1]["provider"] == "other"
    assert (len(attempts), len(upstream.requests)) == (2, sent)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["relay.replay", "~u nowhere"], "there is no request in it"),
        (["relay.replay", f"~u {'nowhere' * 100}"], "there is no request in it"),
        (["relay.replay", "@all"], "asks no model"),
        (["relay.replay", "@all", "nobody"], "there are: anthropic, other"),
        (["relay.duel", "@all", "anthropic"], "two targets"),
    ],
)
def test_what_cannot_be_done_is_said(relay: Relay, base_client: Base, arguments: list[str], why: str) -> None:
    base_client(relay).ask("GET", "/v1/models")
    assert why in relay.web_ui.command(*arguments)["error"]


def test_a_file_that_cannot_be_read_is_told_of_in_the_log(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "no.flow").write_bytes(b"nothing of the sort")
    relay.web_ui.command("relay.replay", str(tmp_path / "no.flow"))
    assert "no.flow: it is no file of flows" in relay.wait_for_log("no.flow: it is")


# -- duel


def test_a_duel_says_how_the_answers_differ(
    relay: Relay, upstream: FakeUpstream, other: FakeUpstream, base_client: Base
) -> None:
    base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    other.script(steps.status(400, "invalid_request_error", "too much"))
    relay.web_ui.command("relay.duel", "@all", "anthropic", "other")
    relay.wait_for_log("  other: 400")
    said = relay.log_text()
    assert "  anthropic: 200 · end_turn · 15 tokens out" in said
    assert "  other: 400 · invalid_request_error" in said
    assert "· other status, stop, text" in said
    assert [row["origin"] for row in settled(relay, 3)] == ["client", "duel", "duel"]


def test_a_duel_in_another_format(
    start: StartRelay, upstream: FakeUpstream, other: FakeUpstream, tmp_path: Path
) -> None:
    providers = {
        "anthropic": provider(upstream.url, KEYS),
        "openai": {"preset": "openai", "base_url": other.url, "keys": ["sk-other-secret"]},
    }
    relay = start(config(providers=providers), relay={"web": True})
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"b": 1.0, "a": [2]}'}
    other.script(foreign.responses_stream([call]))
    tool = {"name": "look", "input": {"a": [2], "b": 1}, "type": "tool_use", "id": "toolu_1"}
    upstream.script(steps.answer([claude.dump(claude.message(content=[tool], stop_reason="tool_use"))]))
    body = messages_body(tools=[{"name": "look", "input_schema": {"type": "object"}}])
    relay.web_ui.command("relay.duel", str(har(tmp_path / "a.har", body)), "anthropic", "openai/gpt-5.1")
    line = relay.wait_for_log("  openai/gpt-5.1: 200 · tool_use")
    assert "other" not in line
