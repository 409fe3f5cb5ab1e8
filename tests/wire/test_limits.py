"""How long an attempt may take: retry.first_byte, whole, idle and progress, each told by its name."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from waiting import BRIEF, PATIENCE

from . import claude, foreign, steps
from .certs import Authority
from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, provider, rows
from .upstream import Exchange, FakeUpstream, Signal, Step, blackhole_port, silent_port

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2", "sk-ant-api03-secret-3"]
LONG = {"attempts": 4, "max_wait": "20ms", "first_byte": "60s", "whole": "60s", "idle": "60s", "progress": "60s"}
STREAM = b"".join(claude.events())
STREAMED, WHOLE = messages_body(stream=True), messages_body()

Base = Callable[[Relay], RawClient]
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the kernel has not sent")


def limits(**short: str) -> dict[str, Any]:
    """Limits that no test reaches, but for those named."""
    return LONG | short


def outcomes(relay: Relay, table: str = "attempts") -> list[str]:
    return [row["error"] or row["verdict"] for row in rows(relay.database, table)]


def error_of(answer: Answer) -> str:
    assert answer.body.count(b"event: error") == 1
    return answer.body.rpartition(b"event: error")[2].decode()


async def pause(exchange: Exchange) -> None:
    """Well within the short limits of these tests, also on a slow machine."""
    import asyncio

    await asyncio.sleep(0.1)


def slowly(*parts: Any, end: Any = None) -> Step:
    """A stream with a pause before each part."""

    async def run(exchange: Exchange) -> None:
        for part in parts:
            await pause(exchange)
            await exchange.send(part)
        if end is not None:
            await end(exchange)

    return steps.stream([run])


def pinging(*parts: Any, ping: bytes = claude.PING, pings: int = 100) -> Step:
    """A stream that goes on with nothing but pings."""
    return slowly(*parts, *itertools.repeat(ping, pings))


# -- the first byte


def test_a_stream_has_first_byte_and_a_whole_answer_has_whole(
    start: StartRelay, upstream: FakeUpstream, dial: Dial
) -> None:
    async def late(exchange: Exchange) -> None:
        for _ in range(20):
            await pause(exchange)
        await steps.claude_step(exchange).run(exchange)

    relay = start(keys=KEYS, retry=limits(first_byte=BRIEF))
    client = dial(relay)
    upstream.default = Step(late)
    answer = client.ask("POST", "/v1/messages", body=WHOLE)
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "1")
    upstream.script(Step(late), steps.stream())
    answer = client.ask("POST", "/v1/messages", body=STREAMED)
    assert (answer.body, answer.header("x-relay-attempts")) == (STREAM, "2")
    assert outcomes(relay) == ["ok", "no first byte within 1.5 s (retry.first_byte)", "ok"]


def test_a_whole_answer_that_never_comes(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(steps.stall_before_head, steps.stall_before_body("application/json"))
    relay = start(keys=KEYS, retry=limits(whole=BRIEF))
    answer = base_client(relay).ask("POST", "/v1/messages", body=WHOLE)
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "3")
    assert outcomes(relay)[:2] == ["no first byte within 1.5 s (retry.whole)"] * 2


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/models", "/v1/files"])
def test_other_endpoints_have_first_byte(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, path: str
) -> None:
    upstream.script(steps.stall_before_head)
    relay = start(keys=KEYS, retry=limits(first_byte=BRIEF))
    method = "POST" if "count" in path else "GET"
    assert base_client(relay).ask(method, path, body=WHOLE if method == "POST" else b"").status == 200
    assert outcomes(relay) == ["no first byte within 1.5 s (retry.first_byte)", "ok"]


def test_text_completions_have_both(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(
        steps.stall_before_head, steps.answer([b'{"type":"completion","completion":"a","stop_reason":"stop_sequence"}'])
    )
    relay = start(keys=KEYS, retry=limits(whole=BRIEF))
    assert base_client(relay).ask("POST", "/v1/complete", body=b'{"model":"m","prompt":"p"}').status == 200
    assert outcomes(relay) == ["no first byte within 1.5 s (retry.whole)", "ok"]


def test_a_translated_answer_too(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    go = Signal("the answer")
    upstream.script(steps.after(go, foreign.chat()), steps.stall_before_head, foreign.chat_stream())
    chat = {"format": "openai-chat", "base_url": upstream.url, "keys": KEYS, "auth": "bearer"}
    relay = start(config(providers={"chat": chat}, retry=limits(first_byte=BRIEF)))
    client = base_client(relay)
    client.post()
    request = upstream.wait_for_requests(1)[0]
    with pytest.raises(TimeoutError):
        request.gone.wait(2.0)
    go.set()
    assert client.answer().status == 200
    assert client.ask("POST", "/v1/messages", body=STREAMED).header("x-relay-attempts") == "2"
    assert outcomes(relay) == ["ok", "no first byte within 1.5 s (retry.first_byte)", "ok"]


def test_blank_lines_are_no_first_byte_of_a_whole_answer(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    async def blanks(exchange: Exchange) -> None:
        for _ in range(40):
            await pause(exchange)
            await exchange.send(b"\n")

    upstream.script(steps.answer([blanks], framing="chunked"))
    relay = start(keys=KEYS, retry=limits(whole=BRIEF))
    assert base_client(relay).ask("POST", "/v1/messages", body=WHOLE).header("x-relay-attempts") == "2"
    assert outcomes(relay)[0] == "no first byte within 1.5 s (retry.whole)"


@pytest.mark.parametrize("kind", ["blackhole", "silent tls"])
def test_connecting_has_first_byte_by_itself(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, stack: ExitStack, kind: str
) -> None:
    port = stack.enter_context(blackhole_port() if kind == "blackhole" else silent_port())
    dead = provider(f"{'https' if 'tls' in kind else 'http'}://127.0.0.1:{port}", KEYS[:1])
    providers = {"dead": dead, "live": provider(upstream.url, KEYS[1:])}
    relay = start(config(providers=providers, retry=limits(first_byte=BRIEF)))
    answer = base_client(relay).ask("POST", "/v1/messages", body=WHOLE)
    assert (answer.status, answer.header("x-relay-provider")) == (200, "live")
    assert outcomes(relay)[0] == "no connection within 1.5 s (retry.first_byte)"


# -- uploads


class SlowReader:
    """An upstream that reads a request so much at a time, then answers. `reading`: bytes each 50 ms; 0: nothing at all."""

    def __init__(self, listening: socket.socket, reading: int, answer: bytes) -> None:
        self.listening, self.reading, self.answer = listening, reading, answer
        self.taken = 0
        self.given_up = threading.Event()

    def run(self) -> None:
        with self.listening.accept()[0] as sock:
            sock.settimeout(5)
            self.serve(sock)

    def serve(self, sock: socket.socket) -> None:
        if not self.reading:
            if self.answer:
                sock.sendall(self.answer)
            self.given_up.wait(PATIENCE)
            self.taken = drained(sock)
            return
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        head, _, body = head.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        self.taken = len(body)
        while self.taken < length:
            time.sleep(0.05)
            wanted = min(self.reading, length - self.taken)
            while wanted:
                wanted -= (got := len(sock.recv(wanted)))
                self.taken += got
        sock.sendall(self.answer)


def drained(sock: socket.socket) -> int:
    """How many bytes still come, up to the end of the connection."""
    taken = 0
    try:
        while data := sock.recv(65536):
            taken += len(data)
    except ConnectionError:
        pass
    return taken


@contextmanager
def slow_reader(reading: int, answer: bytes = b"") -> Iterator[tuple[str, SlowReader]]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        reader = SlowReader(listening, reading, answer)
        thread = threading.Thread(target=reader.run, name="slow reader")
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", reader
        thread.join(PATIENCE)
        assert not thread.is_alive()


def whole_answer() -> bytes:
    body = claude.dump(claude.message("after a long upload"))
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


BIG = 12_000_000
"""More than the buffers of both sides hold."""
IN_THE_KERNEL = 1_500_000
"""What the kernel takes at once, and the other side's does not."""


@pytest.mark.parametrize("size", [BIG, pytest.param(IN_THE_KERNEL, marks=ONLY_LINUX)])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_time_of_an_upload_does_not_count(start: StartRelay, base_client: Base, streamed: bool, size: int) -> None:
    short = {"first_byte": "1200ms"} if streamed else {"first_byte": "1200ms", "whole": "1200ms"}
    answer = whole_answer()
    if streamed:
        answer = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(STREAM) + STREAM
        )
    with slow_reader(size // 30, answer) as (url, reader):
        relay = start(config(url, KEYS, retry=limits(**short)))
        began = time.monotonic()
        found = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=streamed, text="x" * size))
        assert (found.status, found.header("x-relay-attempts")) == (200, "1")
        assert time.monotonic() - began > 1.2
    assert reader.taken > size
    assert outcomes(relay) == ["ok"]


def test_an_upload_in_which_nothing_moves_is_given_up(
    start: StartRelay, base_client: Base, upstream: FakeUpstream
) -> None:
    with slow_reader(0) as (url, reader):
        providers = {"stuck": provider(url, KEYS[:1]), "live": provider(upstream.url, KEYS[1:])}
        relay = start(config(providers=providers, retry=limits(first_byte=BRIEF)))
        answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(text="x" * BIG))
        assert (answer.status, answer.header("x-relay-provider")) == (200, "live")
        assert outcomes(relay)[0] == "nothing of the request left for 1.5 s (retry.first_byte)"
        reader.given_up.set()
    assert 0 < reader.taken < BIG, "what had not left was sent all the same"


def test_an_upload_that_an_http2_peer_has_no_room_for(
    start: StartRelay, h2_client: Callable[..., H2Client], authority: Authority
) -> None:
    """The peer reads everything at once, but opens its window slowly."""
    with FakeUpstream(authority.server_context(alpn=("h2",)), window_pause=0.12) as upstream:
        relay = start(config(upstream.url, KEYS, retry=limits(first_byte=BRIEF)))
        body = messages_body(stream=True, text="x" * 1_000_000)
        began = time.monotonic()
        answer = h2_client(relay).ask(body=body)
        assert (answer.body, answer.header("x-relay-attempts")) == (STREAM, "1")
        assert time.monotonic() - began > 1.5
        assert upstream.requests[0].body == body


def test_an_upload_that_an_http2_peer_never_takes(
    start: StartRelay, h2_client: Callable[..., H2Client], authority: Authority
) -> None:
    with FakeUpstream(authority.server_context(alpn=("h2",)), window_pause=1000.0) as upstream:
        relay = start(config(upstream.url, KEYS, retry=limits(first_byte="300ms", attempts=1)))
        answer = h2_client(relay).ask(body=messages_body(text="x" * 1_000_000))
        assert answer.status >= 500
        assert outcomes(relay) == ["nothing of the request left for 0.3 s (retry.first_byte)"]


@pytest.mark.parametrize("way", ["h1", "h2"])
def test_an_answer_before_the_whole_request_was_read(
    start: StartRelay, dial: Dial, authority: Authority, way: str
) -> None:
    early = claude.dump(claude.error("request_too_large", "Request exceeds the maximum size"))
    tls = authority.server_context(alpn=("h2",)) if way == "h2" else None
    with FakeUpstream(tls) as upstream:
        upstream.script(steps.early(steps.answer([early], status=413)), steps.early(steps.status(503)))
        client = dial(start(config(upstream.url, KEYS, retry=LONG)))
        answer = client.ask("POST", "/v1/messages", body=messages_body(text="x" * 3_000_000))
        assert (answer.status, answer.body) == (413, early)
        answer = client.ask("POST", "/v1/messages", body=messages_body(text="x" * 3_000_000))
        assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")


def test_an_early_answer_of_an_upstream_that_reads_nothing_more(
    start: StartRelay, base_client: Base, upstream: FakeUpstream
) -> None:
    said = claude.dump(claude.error("api_error", "too much"))
    answer = b"HTTP/1.1 503 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said)
    with slow_reader(0, answer) as (url, reader):
        providers = {"full": provider(url, KEYS[:1]), "live": provider(upstream.url, KEYS[1:])}
        relay = start(config(providers=providers, retry=limits(first_byte=BRIEF)))
        client = base_client(relay)
        found = client.ask("POST", "/v1/messages", body=messages_body(text="x" * BIG))
        assert (found.status, found.header("x-relay-provider")) == (200, "live")
        assert outcomes(relay)[0] == "503 api_error: too much"
        client.close()
        relay.wait_until_clients_left()
        reader.given_up.set()
    assert 0 < reader.taken < BIG, "what had not left was sent all the same"


# -- idle


@pytest.mark.parametrize("after", [[], [claude.start()], claude.events()[:4]], ids=["ping", "start", "content"])
def test_silence_is_idle(start: StartRelay, upstream: FakeUpstream, base_client: Base, after: list[bytes]) -> None:
    upstream.script(steps.stream([claude.PING, *after, steps.stall]), steps.stream())
    relay = start(keys=KEYS, retry=limits(idle="1s"))
    answer = base_client(relay).ask("POST", "/v1/messages", body=STREAMED)
    if len(after) > 1:
        assert "silent for 1 s (retry.idle)" in error_of(answer)
    else:
        assert answer.body == STREAM
    assert outcomes(relay)[0] == "silent for 1 s (retry.idle)"


# -- progress

EMPTY_COMMENT = b": keep-alive\n\n"
THINKING = claude.event(
    "content_block_start",
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
)


def block(kind: str, **more: object) -> bytes:
    return claude.event(
        "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": kind} | more}
    )


KEEPING = {
    "pings": claude.PING,
    "comments": EMPTY_COMMENT,
    "blank lines": b"\n\n",
    "unnamed pings": b'data: {"type": "ping"}\n\n',
    "windows": claude.PING.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("ping", KEEPING.values(), ids=KEEPING)
@pytest.mark.parametrize("begun", [[], [claude.start()]], ids=["nothing", "start"])
def test_nothing_but_pings_before_content_is_tried_again(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, ping: bytes, begun: list[bytes]
) -> None:
    upstream.script(pinging(*begun, ping=ping), steps.stream())
    relay = start(keys=KEYS, retry=limits(progress="1s"))
    answer = base_client(relay).ask("POST", "/v1/messages", body=STREAMED)
    assert (answer.body, answer.header("x-relay-attempts")) == (STREAM, "2")
    assert outcomes(relay) == ["nothing but pings for 1 s (retry.progress)", "ok"]


@pytest.mark.parametrize("ping", KEEPING.values(), ids=KEEPING)
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_nothing_but_pings_after_content_ends_the_stream(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, ping: bytes, encoding: str | None
) -> None:
    async def keep(exchange: Exchange) -> None:
        for piece in (
            steps.pack_parts([b"".join(claude.events()[:4]), *[ping] * 30], encoding)[:-1]
            if encoding
            else [
                *claude.events()[:4],
                *[ping] * 30,
            ]
        ):
            assert isinstance(piece, bytes)
            await pause(exchange)
            await exchange.send(piece)

    step = steps.answer(
        [keep],
        content_type="text/event-stream",
        framing="chunked",
        headers=[("Content-Encoding", encoding)] if encoding else [],
    )
    upstream.script(step)
    relay = start(keys=KEYS, retry=limits(progress="1s"))
    asked = [("accept-encoding", "gzip")]
    answer = base_client(relay).ask("POST", "/v1/messages", body=STREAMED, headers=asked)
    if encoding:
        assert not answer.complete
    else:
        assert "nothing but pings for 1 s (retry.progress)" in error_of(answer)
    upstream.requests[0].gone.wait()
    assert outcomes(relay) == ["nothing but pings for 1 s (retry.progress)"]
    assert rows(relay.database)[0]["finished"] == "upstream_closed"


def test_a_slow_stream_that_moves_is_left_alone(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    events = claude.events("a", "b", "c", "d")
    spread = [part for event in events for part in (claude.PING, event)]
    upstream.script(slowly(*spread))
    answer = dial(start(keys=KEYS, retry=limits(progress=BRIEF))).ask("POST", "/v1/messages", body=STREAMED)
    assert answer.body == b"".join(spread)


QUIET = {
    "thinking": [THINKING],
    "redacted": [block("redacted_thinking", data="x")],
    "server tool": [block("server_tool_use", id="srvtoolu_1", name="web_search", input={})],
    "its result": [block("server_tool_use", id="srvtoolu_1", name="web_search", input={}), claude.BLOCK_STOP],
    "mcp": [block("mcp_tool_use", id="mcptoolu_1", name="x", server_name="y", input={}), claude.BLOCK_STOP],
    "search result": [block("web_search_tool_result", tool_use_id="srvtoolu_1", content=[])],
    "renamed": [THINKING],
}


@pytest.mark.parametrize("begun", QUIET.items(), ids=QUIET)
def test_a_model_may_be_silent_where_it_works(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, begun: tuple[str, list[bytes]]
) -> None:
    rest = [claude.BLOCK_STOP, *claude.events()[1:]]
    parts = [claude.start(), *begun[1], *[claude.PING] * 15, *rest]
    upstream.script(slowly(*parts), pinging(claude.start(), *begun[1]))
    more = {"models": {"claude-*": claude.MODEL}} if begun[0] == "renamed" else {}
    way = {"anthropic": provider(upstream.url, KEYS, **more)}
    relay = start(config(providers=way, retry=limits(progress="1s", whole="3s")))
    client = base_client(relay)
    answer = client.ask("POST", "/v1/messages", body=STREAMED)
    assert answer.body == b"".join(parts)
    answer = client.ask("POST", "/v1/messages", body=STREAMED)
    assert "nothing but pings for 3 s (retry.whole)" in error_of(answer)


@pytest.mark.parametrize(
    "ended",
    [
        [THINKING, claude.BLOCK_STOP],
        [block("web_search_tool_result", content=[]), claude.BLOCK_STOP],
        [block("tool_use")],
    ],
    ids=["thinking", "result", "tool"],
)
def test_but_not_for_ever_after_it(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, ended: list[bytes]
) -> None:
    upstream.script(pinging(claude.start(), *ended))
    relay = start(keys=KEYS, retry=limits(progress="1s"))
    answer = base_client(relay).ask("POST", "/v1/messages", body=STREAMED)
    assert "nothing but pings for 1 s (retry.progress)" in error_of(answer)


CHAT_PINGS = {
    "comments": b": OPENROUTER PROCESSING\n\n",
    "empty chunks": foreign.chat_chunk({"content": ""}),
    "no choices": foreign.data({"choices": []}),
    "typed": foreign.data({"type": "keepalive"}),
}


@pytest.mark.parametrize("ping", CHAT_PINGS.values(), ids=CHAT_PINGS)
@pytest.mark.parametrize("begun", [False, True], ids=["before", "after"])
def test_signs_of_life_of_other_providers(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, ping: bytes, begun: bool
) -> None:
    said = [foreign.CHAT_START, foreign.chat_chunk({"content": "Hel"})] if begun else []
    upstream.script(pinging(*said, ping=ping), foreign.chat_stream())
    chat = {"format": "openai-chat", "base_url": upstream.url, "keys": KEYS, "auth": "bearer"}
    relay = start(config(providers={"chat": chat}, retry=limits(progress="1s")))
    answer = base_client(relay).ask("POST", "/v1/messages", body=STREAMED)
    assert outcomes(relay)[0] == "nothing but pings for 1 s (retry.progress)"
    if begun:
        assert "retry.progress" in error_of(answer)
    else:
        assert answer.header("x-relay-attempts") == "2"


def test_reasoning_that_is_not_shown_is_progress(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    thought = foreign.named({"type": "response.reasoning.delta", "output_index": 0, "delta": "hm"})
    begun = foreign.named({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning"}})
    alive = foreign.named({"type": "keepalive", "sequence_number": 1})

    said = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
    whole = {"id": "resp_1", "model": "gpt-5.1", "status": "completed", "output": [{"type": "reasoning"}, said]}
    upstream.script(
        slowly(*[thought] * 13, begun, *[alive] * 13, foreign.named({"type": "response.completed", "response": whole}))
    )
    way = {"format": "openai-responses", "base_url": upstream.url, "keys": KEYS, "auth": "bearer"}
    relay = start(config(providers={"responses": way}, retry=limits(progress="1s")))
    answer = base_client(relay).ask("POST", "/v1/messages", body=STREAMED)
    assert outcomes(relay) == ["ok"], answer.body


# -- the clock


@contextmanager
def clock_set_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() - 7200)
        yield


def test_a_clock_that_is_set_back_changes_no_duration(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, then, events = Signal("first byte"), Signal("the rest"), claude.events()
    upstream.script(steps.status(500), steps.stream([go, *events[:4], then, *events[4:]]))
    relay = start(keys=KEYS, retry=LONG)
    client = base_client(relay)
    started = time.time()
    client.post(body=STREAMED)
    upstream.wait_for_requests(2)[1].whole.wait()
    with clock_set_back(monkeypatch):
        go.set()
        client.head()
        client.until(events[3])
        time.sleep(0.1)
        then.set()
        assert client.until(claude.STOP).status == 200
    (row,), tries = rows(relay.database), rows(relay.database, "attempts")
    assert 0 < row["ttft_ms"] < 60_000
    assert 100 <= row["duration_ms"] < 60_000
    assert [0 <= tried["duration_ms"] < 60_000 for tried in tries] == [True, True]
    assert 0 < tries[1]["first_byte_ms"] < tries[1]["duration_ms"]
    assert abs(_unix(row["started_at"]) - started) < 60


def test_a_clock_that_is_set_back_lengthens_no_limit(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script(steps.stall_before_head, steps.stream())
    relay = start(keys=KEYS, retry=limits(first_byte=BRIEF))
    client = base_client(relay)
    client.post(body=STREAMED)
    upstream.wait_for_requests(1)[0].whole.wait()
    with clock_set_back(monkeypatch):
        answer = client.answer()
    assert (answer.body, answer.header("x-relay-attempts")) == (STREAM, "2")


def _unix(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
