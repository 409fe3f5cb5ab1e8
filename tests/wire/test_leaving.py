"""Clients that leave over HTTP/2, at every moment: each request is settled once, gives back what it held, and ends upstream."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from claude_relay.proxy.request.relayed import RELAYED
from waiting import eventually

from . import steps
from .clients import H2Client, messages_body
from .conftest import StartRelay
from .relay import Relay, config, rows
from .upstream import FakeUpstream

Over2 = Callable[..., H2Client]
KEYS = ["good-1"]


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def send(client: H2Client, count: int, *, body: bytes = b"", end: bool = True) -> list[int]:
    """Requests that are written, and not sent."""
    flush, client.flush = client.flush, lambda: None  # type: ignore[method-assign]
    streams = [client.request(body=body or messages_body(stream=True), end=end) for _ in range(count)]
    client.flush = flush  # type: ignore[method-assign]
    return streams


def reset(client: H2Client, streams: list[int]) -> None:
    for stream in streams:
        client.h2.reset_stream(stream, 8)
    client.flush()


def leave_with_goaway(client: H2Client, streams: list[int]) -> None:
    client.h2.close_connection()
    client.flush()


def hang_up(client: H2Client, streams: list[int]) -> None:
    client.flush()
    client.sock.close()


LEAVE = {"reset": reset, "goaway": leave_with_goaway, "close": hang_up}


def wait_until(relay: Relay, done: Callable[[], bool]) -> None:
    eventually(lambda: relay.on_loop(done), relay.log_text)  # nobody tells when


def held(relay: Relay) -> int:
    """Slots of keys that are taken. On the relay's loop."""
    pools = relay.master.addons.get("claude_relay").runtime.pools
    return sum(key.in_flight for pool in pools.values() for key in pool.notable(0.0))


def check(relay: Relay, upstream: FakeUpstream, count: int) -> None:
    """All are settled, once, and nothing is left of them."""
    wait_until(relay, lambda: not RELAYED)
    wait_until(relay, lambda: len(rows(relay.database)) >= count)
    found = rows(relay.database)
    assert [row["finished"] for row in found] == ["client_closed"] * count
    assert len({row["id"] for row in found}) == count
    wait_until(relay, lambda: not held(relay))
    for request in upstream.requests:
        request.gone.wait()


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("count", [1, 20])
def test_at_once(start: StartRelay, h2_client: Over2, upstream: FakeUpstream, how: str, count: int) -> None:
    """Request, its end, and the client's in one read."""
    upstream.default = steps.stall_before_head
    relay = start(keys=KEYS)
    client = h2_client(relay)
    client.ping()
    streams = send(client, count)
    LEAVE[how](client, streams)
    wait_until(relay, lambda: len(rows(relay.database)) == count)
    check(relay, upstream, count)


@pytest.mark.parametrize("how", LEAVE)
def test_while_the_upstream_thinks(start: StartRelay, h2_client: Over2, upstream: FakeUpstream, how: str) -> None:
    upstream.default = steps.stall_before_head
    relay = start(keys=KEYS)
    client = h2_client(relay)
    streams = send(client, 8)
    client.flush()
    upstream.wait_for_requests(8)
    LEAVE[how](client, streams)
    check(relay, upstream, 8)


@pytest.mark.parametrize("how", LEAVE)
def test_while_it_waits_for_a_connection(
    start: StartRelay, h2_client: Over2, upstream: FakeUpstream, deaf: str, how: str
) -> None:
    relay = start(config(deaf, KEYS, retry={"attempts": 2, "first_byte": "60s"}))
    client = h2_client(relay)
    streams = send(client, 8)
    client.flush()
    relay.wait_for_dial(deaf.removeprefix("https://"))
    client.ping()
    LEAVE[how](client, streams)
    check(relay, upstream, 8)


@pytest.mark.parametrize("how", LEAVE)
def test_in_a_wait_of_the_policy(start: StartRelay, h2_client: Over2, upstream: FakeUpstream, how: str) -> None:
    upstream.default = steps.status(429, "rate_limit_error", "later", headers=[("retry-after", "20")])
    relay = start(keys=KEYS, retry={"attempts": 5, "max_wait": "60s"})
    client = h2_client(relay)
    streams = send(client, 4)
    client.flush()
    waiting = lambda: [relayed for relayed in RELAYED.values() if relayed.waker is not None]  # noqa: E731
    wait_until(relay, lambda: len(waiting()) == 4)
    LEAVE[how](client, streams)
    wait_until(relay, lambda: not RELAYED)
    assert [row["finished"] for row in rows(relay.database)] == ["client_closed"] * 4
    wait_until(relay, lambda: not held(relay))


@pytest.mark.parametrize("how", LEAVE)
def test_during_the_upload(start: StartRelay, h2_client: Over2, upstream: FakeUpstream, how: str) -> None:
    """What never was a whole request leaves nothing."""
    relay = start(keys=KEYS)
    client = h2_client(relay)
    streams = send(client, 4, end=False)
    client.ping()
    LEAVE[how](client, streams)
    wait_until(relay, lambda: not RELAYED)
    assert rows(relay.database) == []
    assert not upstream.requests
