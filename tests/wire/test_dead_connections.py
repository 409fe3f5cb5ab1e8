"""Connections to an upstream that are dead when they are used again: replaced unseen, and never used once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from waiting import BRIEF, PATIENCE

from . import claude, steps
from .certs import Authority
from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import StartRelay
from .outbound import OutboundProxy
from .relay import Relay, config, provider, rows
from .upstream import Exchange, FakeUpstream, Signal, Step, _Answer2

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2", "sk-ant-api03-secret-3"]
QUICK = {"attempts": 4, "max_wait": "20ms", "first_byte": BRIEF, "idle": "2s"}
STREAM = b"".join(claude.events())
HALF_A_HEAD = steps.raw(b"HTTP/1.1 200 OK\r\nContent-Ty")

Base = Callable[[Relay], RawClient]
Over2 = Callable[..., H2Client]


@pytest.fixture
def upstream2(authority: Authority) -> Iterator[FakeUpstream]:
    """An upstream that speaks HTTP/2."""
    with FakeUpstream(authority.server_context(alpn=("h2",))) as found:
        yield found


def outcome(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.header("x-relay-attempts"), answer.header("x-relay-key")


def attempts_of(relay: Relay) -> list[list[str]]:
    """The verdicts of each request's attempts."""
    found: dict[str, list[str]] = {row["id"]: [] for row in rows(relay.database)}
    for row in rows(relay.database, "attempts"):
        found[row["request"]].append(row["verdict"])
    return list(found.values())


# -- HTTP/1


@pytest.mark.parametrize("step", [steps.close_before_head, steps.reset_before_head], ids=["close", "reset"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_dead_connection_is_replaced_unseen(
    start: StartRelay, base_client: Base, authority: Authority, step: Step, streamed: bool, tls: bool
) -> None:
    body = messages_body(stream=streamed, text="x" * 50_000)
    with FakeUpstream(authority.server_context() if tls else None) as upstream:
        upstream.script(steps.message(), step)
        relay = start(config(upstream.url, KEYS, retry=QUICK))
        client = base_client(relay)
        client.ask("POST", "/v1/messages", body=messages_body())
        answer = client.ask("POST", "/v1/messages", body=body)
        assert outcome(answer) == (200, "1", "k2")
        assert upstream.used_keys() == [KEYS[0], KEYS[1], KEYS[1]]
        assert [r.body for r in upstream.requests[1:]] == [body, body]
        assert (upstream.requests[1].connection, upstream.requests[2].connection) == (1, 2)
    relay.wait_for_log("the request goes again on a fresh one")
    assert attempts_of(relay) == [["ok"], ["ok"]]


def test_through_the_proxy_too(start: StartRelay, proxy_client: Base, upstream: FakeUpstream) -> None:
    upstream.script(steps.message(), steps.close_before_head)
    client = proxy_client(start(keys=KEYS, retry=QUICK))
    client.ask("POST", "/v1/messages", body=messages_body())
    assert outcome(client.ask("POST", "/v1/messages", body=messages_body())) == (200, "1", "k2")


def test_once_an_attempt(start: StartRelay, base_client: Base, upstream: FakeUpstream) -> None:
    upstream.script(steps.message(), steps.close_before_head, steps.close_before_head, steps.message("third"))
    relay = start(keys=KEYS, retry=QUICK)
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body())
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")
    assert b"third" in answer.body
    assert attempts_of(relay) == [["ok"], ["broken", "ok"]]


def test_a_fresh_connection_that_fails_is_an_attempt(
    start: StartRelay, base_client: Base, upstream: FakeUpstream
) -> None:
    upstream.script(steps.close_before_head)
    answer = base_client(start(keys=KEYS, retry=QUICK)).ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")


@pytest.mark.parametrize(
    "step",
    [HALF_A_HEAD, steps.raw(b"\x15\x03\x01\x00\x02\x02\x16"), steps.stream([claude.start(), steps.cut])],
    ids=["half a head", "garbage", "half a body"],
)
def test_part_of_an_answer_is_an_answer(
    start: StartRelay, base_client: Base, upstream: FakeUpstream, step: Step
) -> None:
    upstream.script(steps.message(), step)
    client = base_client(start(keys=KEYS, retry=QUICK))
    client.ask("POST", "/v1/messages", body=messages_body())
    answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")


def test_a_connection_that_was_closed_while_idle_is_not_used(
    start: StartRelay, base_client: Base, upstream: FakeUpstream
) -> None:
    async def then_close(exchange: Exchange) -> None:
        await steps.message().run(exchange)
        await exchange.close()

    upstream.script(Step(then_close))
    relay = start(keys=KEYS, retry=QUICK)
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body())
    upstream.wait_until_idle()
    relay.wait_until_upstreams_left()
    assert outcome(client.ask("POST", "/v1/messages", body=messages_body())) == (200, "1", "k2")
    assert len(upstream.requests) == 2


def test_an_answer_that_says_close_ends_its_connection(
    start: StartRelay, base_client: Base, upstream: FakeUpstream
) -> None:
    upstream.script(steps.status(500, headers=[("Connection", "close")]))
    relay = start(keys=KEYS, retry=QUICK)
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")
    assert [r.connection for r in upstream.requests] == [1, 2]
    assert attempts_of(relay) == [["upstream_error", "ok"]]


def test_the_client_leaves_while_the_fresh_one_is_made(
    start: StartRelay, base_client: Base, upstream: FakeUpstream
) -> None:
    upstream.script(steps.message(), steps.close_before_head, steps.stall_before_head)
    relay = start(keys=KEYS, retry=QUICK | {"first_byte": "5s"})
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body())
    client.post()
    upstream.wait_for_requests(3)[2].whole.wait()
    client.close()
    upstream.requests[2].gone.wait()
    relay.wait_until_clients_left()
    assert len(upstream.requests) == 3


# -- through an outbound proxy


@pytest.fixture
def tunnelled(start: StartRelay, authority: Authority, stack: ExitStack) -> tuple[Relay, FakeUpstream, OutboundProxy]:
    upstream = stack.enter_context(FakeUpstream(authority.server_context()))
    proxy = stack.enter_context(OutboundProxy())
    way = provider(upstream.url, KEYS, proxy=f"http://127.0.0.1:{proxy.port}")
    return start(config(providers={"anthropic": way}, retry=QUICK)), upstream, proxy


def test_a_dead_tunnel_is_replaced(tunnelled: tuple[Relay, FakeUpstream, OutboundProxy], base_client: Base) -> None:
    relay, upstream, proxy = tunnelled
    upstream.script(steps.message(), steps.close_before_head)
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body())
    assert outcome(client.ask("POST", "/v1/messages", body=messages_body())) == (200, "1", "k2")
    assert proxy.tunnels == 2


def test_the_goodbye_of_a_tunnel_is_not_taken_for_the_next_attempts(
    tunnelled: tuple[Relay, FakeUpstream, OutboundProxy], base_client: Base
) -> None:
    relay, upstream, _ = tunnelled
    upstream.script(steps.stall_before_head, steps.stall_before_head, steps.stream())
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert (answer.body, answer.header("x-relay-attempts")) == (STREAM, "3")
    assert attempts_of(relay) == [["timeout", "timeout", "ok"]]


GARBLED = {
    "head": steps.raw(b"HTTP/1.1 two hundred\r\n\r\n"),
    "length": steps.raw(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"),
    "chunks": steps.raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    ),
}


@pytest.mark.parametrize("step", GARBLED.values(), ids=GARBLED)
def test_the_goodbye_of_a_connection_that_garbled_its_answer_is_not_the_next_attempts(
    start: StartRelay, base_client: Base, upstream: FakeUpstream, step: Step
) -> None:
    client = base_client(start(keys=KEYS, retry=QUICK | {"max_wait": 0}))
    for _ in range(20):  # it comes while the next attempt is on its way, if it comes
        upstream.script(step, steps.stream())
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
        assert (answer.body, answer.header("x-relay-attempts")) == (STREAM, "2")


# -- HTTP/2


@pytest.mark.parametrize(
    "step",
    [steps.close_before_head, steps.go_away_before_head, steps.refuse_before_head],
    ids=["close", "goaway", "refused"],
)
def test_a_dead_http2_connection_is_replaced_unseen(
    start: StartRelay, h2_client: Over2, upstream2: FakeUpstream, step: Step
) -> None:
    body = messages_body(stream=True, text="x" * 50_000)
    upstream2.script(steps.message(), step)
    relay = start(config(upstream2.url, KEYS, retry=QUICK))
    client = h2_client(relay)
    client.ask(body=messages_body())
    answer = client.ask(body=body)
    assert (outcome(answer), answer.body) == ((200, "1", "k2"), STREAM)
    assert [(r.version, r.connection) for r in upstream2.requests] == [("2", 1), ("2", 1), ("2", 2)]
    assert [r.body for r in upstream2.requests[1:]] == [body, body]
    assert client.ask(body=body).body == STREAM
    assert upstream2.connections == 2
    assert attempts_of(relay) == [["ok"]] * 3


def test_a_reset_http2_stream_is_an_answer(start: StartRelay, h2_client: Over2, upstream2: FakeUpstream) -> None:
    upstream2.script(steps.message(), steps.reset_before_head)
    client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK)))
    client.ask(body=messages_body())
    assert client.ask(body=messages_body()).header("x-relay-attempts") == "2"


def test_all_streams_of_a_dead_connection_move_to_one_other(
    start: StartRelay, h2_client: Over2, upstream2: FakeUpstream
) -> None:
    upstream2.script(steps.message(), *[steps.after(Signal(), steps.message())] * 3, steps.close_before_head)
    client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK | {"first_byte": "4s"})))
    client.ask(body=messages_body())
    running = [client.request(body=messages_body()) for _ in range(3)]
    upstream2.wait_for_requests(4)
    running.append(client.request(body=messages_body()))
    answers = [client.answer(stream) for stream in running]
    assert [(a.status, a.header("x-relay-attempts")) for a in answers] == [(200, "1")] * 4
    assert upstream2.connections == 2


def test_running_streams_end_after_goaway(start: StartRelay, h2_client: Over2, upstream2: FakeUpstream) -> None:
    going, go = Signal("goaway"), Signal("the rest")

    async def running(exchange: Exchange) -> None:
        assert isinstance(exchange, _Answer2)
        await exchange.wait(going)
        exchange.announce_going_away()
        await exchange.wait(go)
        exchange.speaker.flush()

    events = claude.events()
    first = steps.stream(events[:3] + [running])  # noqa: RUF005

    async def all_of_it(exchange: Exchange) -> None:
        await first.run(exchange)
        for event in events[3:]:
            await exchange.send(event)

    upstream2.script(Step(all_of_it), steps.after(Signal(), steps.message()))
    client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK | {"first_byte": "4s"})))
    one = client.request(body=messages_body(stream=True))
    client.until(one, events[2])
    two = client.request(body=messages_body())
    upstream2.wait_for_requests(2)[1].whole.wait()
    going.set()
    assert client.answer(two).header("x-relay-attempts") == "1"
    three = client.ask(body=messages_body())
    assert three.header("x-relay-attempts") == "1"
    go.set()
    assert client.answer(one).body == STREAM
    assert [r.connection for r in upstream2.requests] == [1, 1, 2, 2]
    upstream2._wait(lambda: len(upstream2.open) == 1, "the end of the connection that went away", 5)


def test_a_silent_http2_connection_is_used_no_more(
    start: StartRelay, h2_client: Over2, upstream2: FakeUpstream
) -> None:
    upstream2.script(steps.message(), steps.stall_before_head)
    relay = start(config(upstream2.url, KEYS, retry=QUICK | {"whole": BRIEF}))
    client = h2_client(relay)
    client.ask(body=messages_body())
    assert client.ask(body=messages_body()).header("x-relay-attempts") == "2"
    assert client.ask(body=messages_body()).header("x-relay-attempts") == "1"
    assert [r.connection for r in upstream2.requests] == [1, 1, 2, 2]
    assert upstream2.requests[1].gone.is_set()
    upstream2._wait(lambda: len(upstream2.open) == 1, "the end of the silent connection", PATIENCE)


def test_a_connection_that_is_silent_from_the_start(
    start: StartRelay, h2_client: Over2, upstream2: FakeUpstream
) -> None:
    upstream2.script(steps.stall_before_head)
    client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK)))
    assert client.ask(body=messages_body(stream=True)).header("x-relay-attempts") == "2"
    assert [r.connection for r in upstream2.requests] == [1, 2]


def test_streams_on_a_silent_connection_may_end(start: StartRelay, h2_client: Over2, upstream2: FakeUpstream) -> None:
    go, events = Signal("the rest"), claude.events()
    upstream2.script(steps.stream([*events[:3], go, *events[3:]]), steps.stall_before_head)
    client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK)))
    one = client.request(body=messages_body(stream=True))
    client.until(one, events[2])
    two = client.ask(body=messages_body(stream=True))
    assert two.header("x-relay-attempts") == "2"
    go.set()
    assert client.answer(one).body == STREAM
    assert [r.connection for r in upstream2.requests] == [1, 1, 2]
    assert client.ask(body=messages_body()).status == 200
    assert upstream2.requests[-1].connection == 2


def test_a_connection_that_others_are_answered_on_is_kept(
    start: StartRelay, h2_client: Over2, upstream2: FakeUpstream
) -> None:
    upstream2.script(steps.message(), steps.stall_before_head, steps.message())
    client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK | {"first_byte": "4s"})))
    client.ask(body=messages_body())
    stalled = client.request(body=messages_body(stream=True))
    upstream2.wait_for_requests(2)[1].whole.wait()
    client.ask(body=messages_body())
    assert client.answer(stalled).header("x-relay-attempts") == "2"
    assert upstream2.connections == 1


def test_a_stream_that_waits_for_its_turn_is_not_sent_when_its_client_has_left(
    start: StartRelay, h2_client: Over2, authority: Authority
) -> None:
    go = Signal("answers")
    with FakeUpstream(authority.server_context(alpn=("h2",)), concurrent=1) as upstream2:
        upstream2.script(steps.message(), steps.after(go, steps.message()))
        client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK | {"first_byte": "4s"})))
        client.ask(body=messages_body())
        running = client.request(body=messages_body())
        upstream2.wait_for_requests(2)
        waiting = client.request(body=messages_body(text="not yet"))
        client.cancel(waiting)
        later = client.request(body=messages_body(text="later"))
        go.set()
        assert {client.answer(stream).status for stream in [running, later]} == {200}
        assert not [r for r in upstream2.requests if b"not yet" in r.body]


def test_streams_that_wait_for_their_turn_move_with_the_others(
    start: StartRelay, h2_client: Over2, authority: Authority
) -> None:
    close = Signal("close")
    with FakeUpstream(authority.server_context(alpn=("h2",)), concurrent=1) as upstream2:
        upstream2.script(steps.message(), steps.after(close, steps.close_before_head))
        client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK | {"first_byte": "4s"})))
        client.ask(body=messages_body())
        streams = [client.request(body=messages_body()) for _ in range(3)]
        upstream2.wait_for_requests(2)
        client.ping()
        close.set()
        found = [client.answer(stream) for stream in streams]
        assert [(a.status, a.header("x-relay-attempts")) for a in found] == [(200, "1")] * 3
        assert upstream2.connections == 2


def test_a_stream_that_waits_for_its_turn_moves_at_a_goaway(
    start: StartRelay, h2_client: Over2, authority: Authority
) -> None:
    going, go, events = Signal("goaway"), Signal("the rest"), claude.events()

    async def run(exchange: Exchange) -> None:
        assert isinstance(exchange, _Answer2)
        await exchange.wait(going)
        exchange.announce_going_away()
        await exchange.wait(go)
        for event in events[3:]:
            await exchange.send(event)

    with FakeUpstream(authority.server_context(alpn=("h2",)), concurrent=1) as upstream2:
        upstream2.script(steps.message(), steps.stream([*events[:3], run]))
        client = h2_client(start(config(upstream2.url, KEYS, retry=QUICK | {"first_byte": "4s"})))
        client.ask(body=messages_body())
        one = client.request(body=messages_body(stream=True))
        client.until(one, events[2])
        two = client.request(body=messages_body())
        client.ping()
        going.set()
        answer = client.answer(two)
        assert (answer.status, answer.header("x-relay-attempts")) == (200, "1")
        go.set()
        assert client.until(one, claude.STOP).body == STREAM
        assert [r.connection for r in upstream2.requests] == [1, 1, 2]
