"""What the panel sends to models goes through a real relay, as its own client."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from claude_relay.cli.fake import messages
from waiting import PATIENCE, eventually
from wire import steps
from wire.relay import Relay, rows
from wire.upstream import FakeUpstream, Signal

from .relayed import relay_over
from .stage import Panel

HELLO = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
THOUGHT = messages.message(
    content=[
        {"type": "thinking", "thinking": "They greet me.", "signature": "c2ln"},
        {"type": "text", "text": "Good day to you."},
    ]
)


@pytest.fixture(scope="module")
def relay(
    panel: Panel, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Relay, FakeUpstream]]:
    with relay_over(panel, tmp_path_factory.mktemp("relayed"), confdir) as found:
        yield found


@pytest.fixture
def upstream(relay: tuple[Relay, FakeUpstream]) -> FakeUpstream:
    return relay[1]


def row(panel: Panel, id: str) -> dict[str, Any]:
    return next(row for row in rows(panel.database) if row["id"] == id)


def test_an_answer_streams_as_it_comes(panel: Panel, upstream: FakeUpstream) -> None:
    go = Signal()
    events = messages.events("Hel", "lo!")
    upstream.script(steps.stream([*events[:5], go, *events[5:]]))
    connection = HTTPConnection("127.0.0.1", panel.port, timeout=PATIENCE)
    head = {"Cookie": panel.cookie, "X-CSRF-Token": panel.csrf, "Content-Type": "application/json"}
    body = b'{"target": "other", "request": {"model": "m", "max_tokens": 9, "stream": true, "messages": []}}'
    with closing(connection):
        connection.request("POST", "/api/playground", body, head)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream; charset=utf-8")
        assert answer.getheader("x-relay-provider") == "other"
        request = answer.getheader("x-relay-request")
        said = b""
        while b"lo!" not in said and b"Hel" not in said:
            said += answer.read1()
        assert b"message_stop" not in said
        go.set()
        said += answer.read()
    assert said.rstrip().endswith(b'data: {"type":"message_stop"}')
    assert request is not None
    found = row(panel, request)
    assert (found["client"], found["provider"], found["origin"]) == ("panel", "other", "client")


def test_whoever_leaves_ends_the_request(panel: Panel, upstream: FakeUpstream) -> None:
    upstream.script(steps.stream([*messages.events("Hel")[:4], steps.stall]))
    connection = HTTPConnection("127.0.0.1", panel.port, timeout=PATIENCE)
    head = {"Cookie": panel.cookie, "X-CSRF-Token": panel.csrf, "Content-Type": "application/json"}
    connection.request("POST", "/api/playground", b'{"request": {"model": "m", "stream": true, "messages": []}}', head)
    answer = connection.getresponse()
    request = answer.getheader("x-relay-request")
    answer.close()
    connection.close()
    eventually(lambda: any(one["id"] == request and one["finished"] == "client_closed" for one in rows(panel.database)))


def test_what_the_relay_refuses_is_a_problem(panel: Panel, upstream: FakeUpstream) -> None:
    assert panel.post("/api/playground", {"target": "nobody", "request": HELLO}).json["errors"][0]["field"] == "target"
    upstream.script(steps.status(400, "invalid_request_error", "max_tokens: too many"))
    answer = panel.post("/api/playground", {"target": "anthropic", "request": HELLO})
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "max_tokens: too many" in answer.json["detail"]
    assert answer.headers["x-relay-request"].startswith("req_relay_")


def test_its_key_is_made_anew_when_it_is_gone(panel: Panel, upstream: FakeUpstream) -> None:
    assert panel.post("/api/playground", {"request": HELLO}).status == 200
    with closing(sqlite3.connect(panel.database)) as connection, connection:
        connection.execute("DELETE FROM client_keys")

    def made_anew() -> bool:
        """As soon as the relay has looked at its clients; nobody who asks sees anything of it."""
        assert panel.post("/api/playground", {"request": HELLO}).status == 200
        with closing(sqlite3.connect(panel.database)) as connection:
            return bool(connection.execute("SELECT 1 FROM client_keys").fetchall())

    eventually(made_anew)


def test_a_conversation_in_a_browser(visit: Any, upstream: FakeUpstream) -> None:
    """Two targets side by side, thinking folded, who answered and what it cost; the answer is part of the next request."""
    upstream.script(*[steps.stream(messages.streamed(THOUGHT))] * 2)
    visit.goto("/playground")
    visit.get_by_role("button", name="Two side by side").click()
    first, second = visit.locator("[data-column='1']"), visit.locator("[data-column='2']")
    second.get_by_label("Target").fill("other")
    visit.get_by_label("Message", exact=True).fill("Hello")
    visit.keyboard.press("Control+Enter")
    for column, key in ((first, "anthropic/k1"), (second, "other/k1")):
        column.get_by_text("Good day to you.").wait_for()
        column.get_by_text(f"{key} · ").wait_for()
        assert not column.get_by_text("They greet me.").is_visible()
        column.get_by_text("Thinking").click()
        assert column.get_by_text("They greet me.").is_visible()
    visit.get_by_role("button", name="Two side by side").click()
    upstream.script(steps.stream([*messages.events("And", " yet")[:4], steps.stall]))
    visit.get_by_label("Message", exact=True).fill("Go on")
    visit.get_by_role("button", name="Send").click()
    first.get_by_text("And", exact=True).wait_for()
    visit.get_by_role("button", name="Stop").click()
    first.get_by_role("alert").get_by_text("Stopped").wait_for()
    said = json.loads(upstream.requests[-1].body)["messages"]
    assert [turn["role"] for turn in said] == ["user", "assistant", "user"]
    assert [block["type"] for block in said[1]["content"]] == ["thinking", "text"]


def test_a_request_is_sent_once_more(panel: Panel) -> None:
    first = panel.post("/api/playground", {"target": "anthropic", "request": HELLO}).headers["x-relay-request"]
    eventually(lambda: panel.post(f"/api/requests/{first}/replay", {"target": "nobody"}).status == 422)
    result = panel.post(f"/api/requests/{first}/replay", {"target": "other/claude-sonnet-5"}).json
    assert (result["status"], result["provider"], result["text"]) == (200, "other", "Hello!")
    again = row(panel, result["id"])
    assert (again["origin"], again["client"], again["requested_model"]) == ("replay", "panel", "claude-haiku-4-5")
    assert panel.post(f"/api/requests/{first}/replay").json["provider"] == "anthropic"
    assert panel.post("/api/requests/req_relay_none/replay").status == 404


def test_a_duel_is_a_job(panel: Panel, upstream: FakeUpstream) -> None:
    first = panel.post("/api/playground", {"target": "anthropic", "request": HELLO}).headers["x-relay-request"]
    eventually(lambda: panel.post(f"/api/requests/{first}/replay", {"target": "nobody"}).status == 422)
    duel = {"requests": [first], "targets": ["anthropic", "other"], "times": 2}
    begun = panel.post("/api/duels", duel)
    assert begun.status == 202
    found = panel.job(begun.json["id"])
    assert (found["state"], found["done"], found["total"]) == ("done", 4, 4)
    assert found["results"][0]["alike"] is True
    assert [one["answers"] for one in found["results"][0]["targets"]] == [2, 2]
    assert panel.post("/api/duels", duel | {"targets": ["other", "other"]}).status == 422
    assert panel.post("/api/duels", duel | {"decides": ["taste"]}).json["errors"][0]["field"] == "decides"
