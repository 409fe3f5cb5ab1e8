"""Streams: delivered as they come, byte for byte, and never passed off as whole when they are not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import pytest

from claude_relay.proxy.stream import replay
from waiting import BRIEF, PATIENCE

from . import claude, steps
from .certs import Authority
from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Signal, blackhole_port

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2"]
TEXTS = ("Grüße \u2028 ", "日本語", " and the rest")
EVENTS = claude.events(*TEXTS)
BODY = messages_body(stream=True)

Base = Callable[[Relay], RawClient]


def last_event(answer: Answer) -> dict[str, object]:
    *_, name, data = [line for line in answer.body.decode().split("\n") if line]
    assert name == "event: error", answer.body[-300:]
    found = json.loads(data.removeprefix("data: "))
    assert isinstance(found, dict)
    return found


def same(answer: Answer, parts: Sequence[bytes]) -> None:
    """The whole answer, byte for byte; says where it first differs."""
    wanted, found = b"".join(parts), answer.body
    at = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), len(found))
    assert found == wanted, f"at {at} of {len(wanted)}: {found[at - 20 : at + 60]!r}, not {wanted[at - 20 : at + 60]!r}"
    assert answer.complete


def test_a_stream_that_is_shorter_than_it_announced(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    """Its final event has come, and then it breaks off: the client must not wait for the rest."""
    body = b"".join(claude.events())
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1)
    upstream.script(steps.raw(head + body))
    client = base_client(start(keys=["sk-pool-1"]))
    client.post(stream=True)
    answer = client.answer()
    assert answer.body == body
    assert answer.complete or client.at_end()


def test_every_event_arrives_before_the_next_is_sent(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    gates = [Signal(f"gate {i}") for i in range(len(EVENTS))]
    parts = [part for event, gate in zip(EVENTS, gates, strict=True) for part in (event, gate)]
    upstream.script(steps.stream(parts))
    client = base_client(start(keys=KEYS))
    client.post(body=BODY)
    gates[0].set()  # the start is held until the first content block
    client.head()
    for event, gate in list(zip(EVENTS, gates, strict=True))[1:-1]:
        client.until(event)
        gate.set()
    gates[-1].set()
    answer = client.until(claude.STOP)
    assert client.piece() is None
    assert (answer.complete, answer.body) == (True, b"".join(EVENTS))


def test_over_http2_too(start: StartRelay, h2_client: Callable[..., H2Client], authority: Authority) -> None:
    go = Signal()
    with FakeUpstream(authority.server_context(alpn=("h2",))) as upstream:
        upstream.script(steps.stream([*EVENTS[:4], go, *EVENTS[4:]]))
        client = h2_client(start(config(upstream.url, KEYS)))
        stream = client.request(body=BODY)
        client.until(stream, EVENTS[3])
        go.set()
        assert client.answer(stream).body == b"".join(EVENTS)


def test_odd_pieces(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    relay = start(keys=KEYS)
    for framing in ("length", "chunked", "close"):
        for chunking in (steps.whole, steps.bytewise, steps.sized(7), steps.inside_characters):
            upstream.script(steps.stream(EVENTS, framing=framing, chunking=chunking))
            same(dial(relay).ask("POST", "/v1/messages", body=BODY), EVENTS)


def test_everything_in_one_write(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.script(steps.stream([b"".join(EVENTS)]))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    same(answer, EVENTS)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_other_line_ends_and_comments(start: StartRelay, upstream: FakeUpstream, base_client: Base, end: str) -> None:
    odd = [b": keep-alive\n\n", *EVENTS]
    odd = [e.replace(b"\n", end.encode()) for e in odd]
    upstream.script(steps.stream(odd, chunking=steps.sized(5)))
    answer = base_client(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    assert (answer.body, answer.complete) == (b"".join(odd), True)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "message"])
def test_compressed_answers_stay_as_they_are(
    start: StartRelay, upstream: FakeUpstream, dial: Dial, streamed: bool
) -> None:
    parts: list[steps.Part] = list(EVENTS) if streamed else [claude.dump(claude.message("Grüße"))]
    asked = [("accept-encoding", "gzip, deflate, br, zstd")]
    client = dial(start(keys=KEYS))
    for encoding in ("gzip", "deflate", "br", "zstd"):
        upstream.script((steps.stream if streamed else steps.answer)(parts, encoding=encoding, framing="chunked"))
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=streamed), headers=asked)
        assert answer.header("content-encoding") == encoding
        same(answer, [steps.wire_bytes(steps.pack_parts(parts, encoding))])


def test_a_compressed_stream_is_live(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    go = Signal()
    upstream.script(steps.stream([*EVENTS[:4], go, *EVENTS[4:]], encoding="gzip"))
    first = steps.wire_bytes(steps.pack_parts(EVENTS[:4], "gzip")[:-1])
    client = base_client(start(keys=KEYS))
    client.post(body=BODY)
    client.head()
    client.until(first)
    go.set()
    assert client.piece() is not None


def test_a_200_kb_stream(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    parts = claude.events(*(f"word {i} " for i in range(2000)))
    upstream.script(steps.stream(parts))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    same(answer, parts)


def test_headers_of_the_upstream_pass(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.script(steps.stream())
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    for name, value in claude.headers().items():
        assert answer.header(name.lower()) == value


# -- broken after content

BROKEN = {
    "cut": steps.after_content(2, steps.cut),
    "reset": steps.stream([claude.start(), claude.BLOCK_START, claude.delta("word 1 "), steps.reset]),
    "cut in an event": steps.stream(
        [claude.start(), claude.BLOCK_START, claude.delta("word 1 "), b"event: content_b", steps.cut]
    ),
    "ends without stop": steps.stream([claude.start(), claude.BLOCK_START, claude.delta("word 1 ")]),
    "ends until close": steps.stream([claude.start(), claude.BLOCK_START, claude.delta("word 1 ")], framing="close"),
    "length not kept": steps.stream(
        [claude.start(), claude.BLOCK_START, claude.delta("word 1 "), steps.cut, b"and more"], framing="length"
    ),
    "idle": steps.after_content(2, steps.stall),
}


def test_a_break_after_content_is_told(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    models = {name: f"model-{n}" for n, name in enumerate(BROKEN)}  # each with keys that no other break has spoiled
    retry = {"attempts": 5, "max_wait": "2s", "first_byte": "2s", "idle": BRIEF}
    providers = {model: provider(upstream.url, KEYS) for model in models.values()}
    routes = [{"match": {"model": model}, "to": [model]} for model in models.values()]
    relay = start(config(providers=providers, routes=routes, retry=retry))
    for name, step in BROKEN.items():
        upstream.requests.clear()
        upstream.script(step)
        try:
            answer = dial(relay).ask("POST", "/v1/messages", body=messages_body(stream=True, model=models[name]))
        except ConnectionError:  # a length that cannot be kept ends in a reset; that is told, too
            assert name == "length not kept"
            continue
        assert answer.status == 200, name
        assert b"word 1" in answer.body
        assert b"message_stop" not in answer.body
        assert len(upstream.requests) == 1, name
        if name != "length not kept" or answer.complete:
            error = last_event(answer)["error"]
            assert isinstance(error, dict)
            assert error["type"] in ("api_error", "overloaded_error", "timeout_error")
            assert answer.body.count(b"event: error") == 1


def test_an_error_event_after_content_passes(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    parts = [
        claude.start(),
        claude.BLOCK_START,
        claude.delta("Hi"),
        claude.error_event("overloaded_error", "Overloaded"),
    ]
    upstream.script(steps.stream(parts))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    same(answer, parts)
    assert len(upstream.requests) == 1


def test_a_compressed_stream_that_breaks_is_not_passed_off_as_whole(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    upstream.script(steps.stream([claude.start(), claude.BLOCK_START, claude.delta("Hi"), steps.cut], encoding="gzip"))
    answer = base_client(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    assert not answer.complete or b"event: error" in answer.body


def test_a_message_that_breaks_off_is_tried_again(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    good = claude.dump(claude.message("whole"))
    upstream.script(steps.answer([good[:50], steps.cut, good[50:]]), steps.answer([good], framing="chunked"))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.body) == (200, good)


# -- the client leaves

WAITING = {
    "before the head": steps.stall_before_head,
    "before the body": steps.stall_before_body(),
    "while the start is held": steps.stream([claude.start(), steps.stall]),
    "while an error is read": steps.answer([b"{", steps.stall], status=500, framing="chunked"),
    "while a message is read": steps.answer([b"{", steps.stall], framing="chunked"),
}


@pytest.mark.parametrize("leave", [RawClient.close, RawClient.reset], ids=["close", "reset"])
def test_leaving_while_waiting_ends_the_attempt(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, leave: Callable[[RawClient], None]
) -> None:
    relay = start(keys=KEYS)
    for name, step in WAITING.items():
        upstream.requests.clear()
        upstream.script(step)
        client = base_client(relay)
        client.post(body=BODY)
        request = upstream.wait_for_requests(1)[0]
        request.whole.wait()
        leave(client)
        request.gone.wait()
        upstream.wait_until_idle()
        assert len(upstream.requests) == 1, name


@pytest.mark.parametrize("leave", [RawClient.close, RawClient.reset], ids=["close", "reset"])
@pytest.mark.parametrize("way", ["base", "proxy"])
def test_leaving_in_mid_stream_ends_the_attempt(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    proxy_client: Base,
    way: str,
    leave: Callable[[RawClient], None],
) -> None:
    upstream.script(steps.fault("stall_late"))
    relay = start(keys=KEYS)
    client = {"base": base_client, "proxy": proxy_client}[way](relay)
    client.post(body=BODY)
    client.head()
    client.until(b"word 0")
    leave(client)
    upstream.requests[0].gone.wait()
    assert len(upstream.requests) == 1


def test_an_http2_client_cancels_one_of_two_streams(
    start: StartRelay, upstream: FakeUpstream, h2_client: Callable[..., H2Client]
) -> None:
    go = Signal()
    upstream.script(steps.fault("stall_late"), steps.stream([*EVENTS[:4], go, *EVENTS[4:]]))
    client = h2_client(start(keys=KEYS))
    first = client.request(body=BODY)
    client.until(first, b"word 0")
    second = client.request(body=BODY)
    client.until(second, EVENTS[3])
    client.cancel(first)
    upstream.requests[0].gone.wait()
    go.set()
    assert client.answer(second).body == b"".join(EVENTS)


def test_leaving_while_it_connects(
    start: StartRelay, base_client: Base, stack: ExitStack, upstream: FakeUpstream
) -> None:
    port = stack.enter_context(blackhole_port())
    hole = provider(f"http://127.0.0.1:{port}", ["sk-a"])
    relay = start(config(providers={"hole": hole, "live": provider(upstream.url, ["sk-b"])}))
    client = base_client(relay)
    client.post(body=BODY)
    relay.wait_for_dial(f"127.0.0.1:{port}")
    client.close()
    relay.wait_until_clients_left()
    assert upstream.requests == []


def test_leaving_while_it_waits_for_a_key(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "1")]))
    relay = start(keys=KEYS[:1])
    client = base_client(relay)
    client.post(body=BODY)
    upstream.wait_for_requests(1)[0].answered.wait()
    client.close()
    relay.wait_until_clients_left()
    again = base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    assert again.status == 200
    assert len(upstream.requests) == 2


# -- the hold


def test_the_start_is_held_for_two_seconds_at_most(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    go = Signal()
    upstream.script(steps.stream([claude.start(), claude.PING, go, *EVENTS[1:]]))
    client = base_client(start(keys=KEYS))
    client.post(body=BODY)
    began = time.monotonic()
    client.head()
    client.until(claude.PING)
    assert time.monotonic() - began > 1.5  # it came before `go`, so it was not held for ever
    go.set()
    assert client.until(claude.STOP).body.startswith(claude.start())


def test_the_start_is_held_to_64_kib_at_most(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "HOLD_SECONDS", 10 * PATIENCE)
    go = Signal()
    pings = [claude.PING] * (66_000 // len(claude.PING))
    upstream.script(steps.stream([claude.start(), *pings, go, *EVENTS[1:]]))
    client = base_client(start(keys=KEYS))
    client.post(body=BODY)
    client.head()
    client.until(claude.PING * 100)
    go.set()
    client.until(claude.STOP)


def test_an_error_within_the_hold_is_replayed_unseen(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    bad = [claude.start(), claude.PING, claude.PING, claude.error_event()]
    upstream.script(steps.stream(bad, chunking=steps.bytewise), steps.stream(EVENTS, chunking=steps.bytewise))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    assert (answer.body, answer.header("x-relay-attempts")) == (b"".join(EVENTS), "2")


def test_an_empty_message_is_legitimate(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    parts = [claude.start(), claude.message_delta(), claude.STOP]
    upstream.script(steps.stream(parts))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=BODY)
    assert (answer.status, answer.body) == (200, b"".join(parts))
    assert len(upstream.requests) == 1


def test_a_slow_client_gets_all(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    parts = claude.events(*("x" * 10_000 for _ in range(300)))
    upstream.script(steps.stream(parts))
    client = base_client(start(keys=KEYS))
    client.post(body=BODY)
    upstream.wait_for_requests(1)[0].whole.wait()
    answer = client.answer()
    assert answer.body == b"".join(parts)
