"""Interim answers of an upstream are not its answer: 100, 102, 103 and whatever else begins with a 1; 101 is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from waiting import BRIEF

from . import claude, steps
from .certs import Authority
from .clients import RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, rows
from .upstream import Exchange, FakeUpstream, Step

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2"]
QUICK = {"attempts": 3, "max_wait": "20ms", "first_byte": BRIEF, "idle": BRIEF}
BODY = claude.dump(claude.message("good"))
FINAL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nContent-Length: 3\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Base = Callable[[Relay], RawClient]


@pytest.fixture(params=["http1", "http2"])
def server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[FakeUpstream]:
    """An upstream of each kind."""
    context = authority.server_context(alpn=("h2",)) if request.param == "http2" else None
    with FakeUpstream(context) as found:
        yield found


@pytest.mark.parametrize("codes", [(100,), (102,), (103,), (199,), (100, 102, 103, 103)], ids=str)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_skipped(start: StartRelay, server: FakeUpstream, dial: Dial, codes: tuple[int, ...], streamed: bool) -> None:
    """On a fresh connection and on one that was used before."""
    server.default = steps.informational_first(steps.stream() if streamed else steps.message("good"), *codes)
    relay = start(config(server.url, KEYS, retry=QUICK))
    client = dial(relay)
    for _ in range(3):
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=streamed))
        assert (answer.status, answer.complete, answer.header("x-relay-attempts")) == (200, True, "1")
        assert answer.body == (b"".join(claude.events()) if streamed else BODY)
    if isinstance(client, RawClient):
        assert server.connections == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_in_any_pieces(start: StartRelay, upstream: FakeUpstream, base_client: Base, size: int) -> None:
    """Heads that come byte by byte, and several in one piece; fields of an interim answer mean nothing for the final one."""
    whole = CONTINUE + HINTS + CONTINUE + FINAL
    upstream.script(steps.raw(*steps.sized(size)(whole)))
    answer = base_client(start(keys=KEYS)).ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.body, answer.header("link")) == (200, BODY, None)


def test_an_error_after_one_is_tried_again(start: StartRelay, server: FakeUpstream, base_client: Base) -> None:
    server.script(steps.informational_first(steps.status(401, "authentication_error", "bad")), steps.message("good"))
    answer = base_client(start(config(server.url, KEYS, retry=QUICK))).ask("POST", "/v1/messages", body=messages_body())
    assert (answer.body, answer.header("x-relay-key")) == (BODY, "k2")


def ends(how: Step, code: int = 103) -> Step:
    return steps.informational_first(how, code)


@pytest.mark.parametrize("how", [steps.close_before_head, steps.reset_before_head], ids=["close", "reset"])
def test_a_connection_that_ends_after_one_was_alive(
    start: StartRelay, server: FakeUpstream, base_client: Base, how: Step
) -> None:
    """The upstream has had the request: that is an attempt that failed, not a connection that was dead when it was used again."""
    server.script(steps.message("first"), ends(how), steps.message("good"))
    relay = start(config(server.url, KEYS, retry=QUICK))
    client = base_client(relay)
    assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.body, answer.header("x-relay-attempts")) == (BODY, "2")


def test_one_that_nothing_follows_runs_into_the_limit(
    start: StartRelay, server: FakeUpstream, base_client: Base
) -> None:
    server.script(steps.informational_first(steps.stall_before_head, 102), steps.stream())
    relay = start(config(server.url, KEYS, retry=QUICK | {"first_byte": BRIEF}))
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert (answer.body, answer.header("x-relay-attempts")) == (b"".join(claude.events()), "2")


@pytest.mark.parametrize("upgrade", [False, True])
def test_switching_protocols_is_an_error(
    start: StartRelay, server: FakeUpstream, base_client: Base, upgrade: bool
) -> None:
    """Whatever the client asked for, nobody asked the upstream; what follows on that connection is read by nobody."""

    async def switch(exchange: Exchange) -> None:
        await exchange.informational(101)
        await exchange.until_gone()

    server.script(Step(switch), steps.message("good"))
    relay = start(config(server.url, KEYS, retry=QUICK))
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")] if upgrade else []
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(), headers=headers)
    assert (answer.body, answer.header("x-relay-attempts")) == (BODY, "2")
    relay.wait_for_log("switched to another protocol")
    assert [row["status"] for row in rows(relay.database, "attempts")] == [None, 200]
