"""What many large messages take together: of memory, and of the event loop."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from claude_relay.cli.fake.messages import MODEL
from claude_relay.proxy.common import process
from claude_relay.proxy.mitm.waiting import unsent_of_all
from claude_relay.proxy.request import bodies, room
from claude_relay.proxy.stream.receiving import Pieces
from waiting import PATIENCE

from . import steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, provider
from .test_translation import other
from .upstream import FakeUpstream

MB = 1024**2
MANY = 20
BIG = json.dumps({"type": "message", "model": MODEL, "content": [{"type": "text", "text": "x" * 3 * MB}]}).encode()


def slow_reader(relay: Relay) -> RawClient:
    """A client whose system takes little of an answer before it is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", relay.base_port))
    return RawClient(sock=sock)


def test_answers_that_nobody_reads_are_bounded_together(
    start: StartRelay, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come whole all the same, once they are read."""
    monkeypatch.setattr(room, "TOGETHER", 4 * MB)
    upstream.script(*(steps.answer([BIG], headers=[("content-type", "application/json")]) for _ in range(MANY)))
    relay = start(retry={"idle": "60s", "whole": "60s"})
    clients = [slow_reader(relay) for _ in range(MANY)]
    for client in clients:
        client.post()
    seen = [0, 1]
    while seen[-1] != seen[-2] or not seen[-1]:
        seen.append(relay.on_loop(lambda: room.held_of_all() + unsent_of_all()))
        time.sleep(0.2)
    assert max(seen) < (4 + MANY / 2) * MB
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    for client in clients:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MB)
        assert client.answer().body == BIG
        client.close()


def test_what_takes_long_of_a_long_request_leaves_the_event_loop(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Callable[[Relay], RawClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pieces become one, and it is searched for other models' thoughts. A thread that computes gives way quickly."""
    where: dict[str, set[str]] = {"join": set(), "foreign": set()}
    intervals: set[float] = set()
    usual = sys.getswitchinterval()

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*parts: Any) -> Any:
            where[name].add(threading.current_thread().name)
            intervals.add(sys.getswitchinterval())
            return work(*parts)

        return run

    monkeypatch.setattr(Pieces, "join", watched("join", Pieces.join))
    monkeypatch.setattr(bodies, "has_foreign_thinking", watched("foreign", bodies.has_foreign_thinking))
    relay = start(providers={"anthropic": provider(upstream.url, ["good-1"]), "openai": other(upstream)})
    body = messages_body(text="y" * 5 * MB)
    assert base_client(relay).ask("POST", "/v1/messages", body=body).status == 200
    assert upstream.requests[0].body == body
    assert where["join"]
    assert where["foreign"]
    assert "relay" not in where["join"] | where["foreign"]
    assert intervals == {process.TURN}
    assert sys.getswitchinterval() == usual
