"""When an answer may reach the client."""

import doctest
import gzip
import json
import zlib
from itertools import pairwise
from pathlib import Path

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.bodies import gate as gate_module
from claude_relay.core.bodies import readers as answers
from claude_relay.core.bodies.gate import Decision, Gate
from claude_relay.core.bodies.readers import HELD, HELD_JSON
from claude_relay.core.bodies.zstd import zstd
from claude_relay.core.exchange import Endpoint, Failure, Outcome

HOLD, PASS, FAIL = Decision.HOLD, Decision.PASS, Decision.FAIL
HERE = Path(__file__).parents[1] / "transcripts"
HTML = b"<!DOCTYPE html><html><title>502 Bad Gateway</title></html>"
ERROR = (HERE / "error.json").read_bytes()
ENCODE = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}

START = b'event: message_start\ndata: {"type": "message_start", "message": {}}\n\n'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BLOCK = b'event: content_block_start\ndata: {"type": "content_block_start"}\n\n'
DELTA = b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}\n\n'
STOP = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
OVERLOADED = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
ERROR_EVENT = b"event: error\ndata: " + OVERLOADED + b"\n\n"


def new_gate(status=200, *, endpoint=Endpoint.MESSAGES, stream=True, head=False, **headers):
    return Gate(
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        endpoint=endpoint,
        stream=stream,
        head=head,
    )


def by_bytes(data):
    return [data[n : n + 1] for n in range(len(data))]


def judged(pieces, **how):
    """Decision and failure after all pieces and the end, and how many bytes it took; None: the end."""
    gate, took = new_gate(**how), 0
    for piece in pieces:
        if gate.feed(piece) is not HOLD:
            return gate.decision, gate.outcome().failure, took + len(piece)
        took += len(piece)
    decision = gate.end()
    assert decision is not HOLD
    return decision, gate.outcome().failure, None


# -- transcripts

TRANSCRIPTS = {
    "text.sse": (PASS, None, b"event: content_block_start"),
    "thinking.sse": (PASS, None, b"event: content_block_start"),
    "tool_use.sse": (PASS, None, b"event: content_block_start"),
    "cache.sse": (PASS, None, b"event: content_block_start"),
    "server_tools.sse": (PASS, None, b"event: content_block_start"),
    "padded.sse": (PASS, None, b"event: content_block_start"),
    "crlf.sse": (PASS, None, b"event: content_block_start"),
    "pings.sse": (PASS, None, b"event: content_block_start"),
    "cut.sse": (PASS, None, b"event: content_block_start"),
    "compaction.sse": (PASS, None, b"event: content_block_start"),
    "completion.sse": (PASS, None, b"event: completion"),
    "error_after_content.sse": (PASS, None, b"event: content_block_start"),
    "empty.sse": (PASS, None, b"event: message_stop"),
    "error_first.sse": (FAIL, Failure.ERROR_EVENT, b"event: error"),
    "error_after_start.sse": (FAIL, Failure.ERROR_EVENT, b"event: error"),
    "message.json": (PASS, None, None),
    "tool_use.json": (PASS, None, None),
    "empty.json": (PASS, None, None),
    "error.json": (FAIL, Failure.ERROR_EVENT, None),
    "count_tokens.json": (PASS, None, None),
    "models.json": (PASS, None, None),
}
ENDPOINTS = {
    "completion.sse": Endpoint.COMPLETE,
    "count_tokens.json": Endpoint.COUNT_TOKENS,
    "models.json": Endpoint.MODELS,
}
everything = pytest.mark.parametrize("name", TRANSCRIPTS)


def test_the_table_knows_every_transcript():
    assert {path.name for path in HERE.iterdir()} == {*TRANSCRIPTS, ".gitattributes"}


def decided_at(data, mark):
    """Where the blank line ends (its CR, for CRLF) that makes the marked event whole."""
    if mark is None:
        return None
    place = data.index(mark)
    return data.index(b"\r\n\r\n", place) + 3 if b"\r" in data else data.index(b"\n\n", place) + 2


@everything
def test_whole_by_bytes_and_split_at_every_offset(name):
    data = (HERE / name).read_bytes()
    decision, failure, mark = TRANSCRIPTS[name]
    how = {"endpoint": ENDPOINTS.get(name, Endpoint.MESSAGES), "stream": name.endswith(".sse")}
    at = decided_at(data, mark)
    assert judged([data], **how)[:2] == (decision, failure)
    assert judged(by_bytes(data), **how) == (decision, failure, at)
    for n in range(1, len(data)):
        took = None if at is None else n if n >= at else len(data)
        assert judged([data[:n], data[n:]], **how) == (decision, failure, took)


@pytest.mark.parametrize("coding", ENCODE)
@everything
def test_compressed(name, coding):
    packed = ENCODE[coding]((HERE / name).read_bytes())
    how = {
        "endpoint": ENDPOINTS.get(name, Endpoint.MESSAGES),
        "stream": name.endswith(".sse"),
        "content_encoding": coding,
    }
    for pieces in ([packed], by_bytes(packed), [packed[:40], packed[40:]]):
        assert judged(pieces, **how)[:2] == TRANSCRIPTS[name][:2]


@everything
def test_json_in_place_of_a_stream_and_the_other_way(name):
    """A provider may ignore `stream: true`; a stream for a client that asked for none is useless."""
    data = (HERE / name).read_bytes()
    if name.endswith(".json"):
        assert judged([data], stream=True)[:2] == TRANSCRIPTS[name][:2]
        assert judged([data], stream=True, content_type="text/event-stream")[:2] == TRANSCRIPTS[name][:2]
    else:
        assert judged([data], stream=False)[:2] == (FAIL, Failure.GARBAGE)
        assert judged([data], endpoint=Endpoint.COUNT_TOKENS, stream=True)[:2] == (FAIL, Failure.GARBAGE)


# -- the head

HEADS = [
    ({"status": 101}, FAIL),
    ({"status": 200, "endpoint": Endpoint.RESOURCE}, PASS),
    ({"status": 206, "endpoint": Endpoint.RESOURCE}, PASS),
    ({"status": 500, "endpoint": Endpoint.RESOURCE}, HOLD),
    ({"status": 500, "endpoint": Endpoint.SIDE}, PASS),
    ({"status": 200, "endpoint": Endpoint.SIDE}, PASS),
    ({"status": 200}, HOLD),
    ({"status": 200, "stream": False}, HOLD),
    ({"status": 200, "endpoint": Endpoint.MODELS, "stream": False}, HOLD),
    ({"status": 200, "endpoint": Endpoint.MODELS, "head": True}, PASS),
    ({"status": 401, "endpoint": Endpoint.MODELS, "head": True}, FAIL),
    ({"status": 204}, PASS),
    ({"status": 304, "endpoint": Endpoint.MODELS}, PASS),
    ({"status": 307}, PASS),
    ({"status": 400}, HOLD),
    ({"status": 529}, HOLD),
    ({"status": 999}, HOLD),
    ({"status": 200, "content_encoding": "compress"}, PASS),
    ({"status": 429, "content_encoding": "compress"}, FAIL),
]


@pytest.mark.parametrize(("how", "decision"), HEADS)
def test_what_the_head_decides(how, decision):
    gate = new_gate(**how)
    assert gate.decision is decision
    if decision is not HOLD:
        assert gate.feed(ERROR_EVENT) is gate.end() is gate.cut(Failure.RESET, "") is gate.expire() is decision
        failed = Failure.GARBAGE if how["status"] == 101 else None
        assert gate.outcome().failure is failed
        assert gate.outcome().status == how["status"]


# -- errors by status


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("endpoint", [e for e in Endpoint if e is not Endpoint.SIDE])
def test_an_error_is_read_to_its_end(endpoint, stream, coding):
    packed = ENCODE[coding](ERROR)
    gate = new_gate(529, endpoint=endpoint, stream=stream, content_encoding=coding, retry_after="3")
    for piece in by_bytes(packed):
        assert gate.feed(piece) is HOLD
    assert gate.end() is FAIL
    assert gate.outcome() == Outcome(
        529, {"content-encoding": coding, "retry-after": "3"}, ERROR, None, "529 overloaded_error"
    )


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("step", [1000, 10**9])
def test_a_long_error_is_read_to_its_limit(coding, step):
    packed = ENCODE[coding](b"x" * (HELD + 1))
    gate = new_gate(500, content_encoding=coding)
    for n in range(0, len(packed), step):
        gate.feed(packed[n : n + step])
    assert gate.decision is FAIL
    assert gate.outcome().body == b"x" * HELD


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_bomb_in_an_error(coding):
    gate = new_gate(500, content_encoding=coding)
    assert gate.feed(ENCODE[coding](bytes(5_000_000))) is FAIL
    assert gate.outcome().body == bytes(HELD)


def test_an_error_that_cannot_be_decompressed():
    gate = new_gate(500, content_encoding="gzip")
    assert gate.feed(HTML) is FAIL
    assert gate.outcome() == Outcome(500, {"content-encoding": "gzip"}, b"", None, "500 error")


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, None),
        (402, None),
        (429, None),
        (503, None),
        (529, None),
        (400, Failure.RESET),
        (403, Failure.RESET),
        (404, Failure.RESET),
    ],
)
def test_an_error_that_is_cut(status, failure):
    """Where the status says it all, it stays; where the body matters, the attempt tells nothing."""
    gate = new_gate(status)
    gate.feed(ERROR[:30])
    assert gate.cut(Failure.RESET, "the connection broke") is FAIL
    assert gate.outcome().failure is failure
    assert gate.outcome().status == status


# -- streams

STREAMS = [
    ([START, PING, BLOCK], PASS, None),
    ([BLOCK], PASS, None),
    ([b"event: block_of_the_future\ndata: {}\n\n"], PASS, None),
    ([START, ERROR_EVENT, BLOCK], FAIL, Failure.ERROR_EVENT),
    ([b": hello\n\n", ERROR_EVENT], FAIL, Failure.ERROR_EVENT),
    ([b"data: " + OVERLOADED + b"\n\n"], FAIL, Failure.ERROR_EVENT),
    ([b'data: {"error": {"message": "no"}}\n\n'], FAIL, Failure.ERROR_EVENT),
    ([START, b"event: error\ndata: broken\n\n"], FAIL, Failure.ERROR_EVENT),
    ([START, b"event: error\ndata: " + OVERLOADED], FAIL, Failure.ERROR_EVENT),
    ([START, b"event: error\ndata: " + OVERLOADED[:20]], FAIL, Failure.ERROR_EVENT),
    ([b"data: {}\n\n"], FAIL, Failure.EMPTY),
    ([b"data: [DONE]\n\n"], FAIL, Failure.EMPTY),
    ([START], FAIL, Failure.EMPTY),
    ([START, PING, b"event: content_block_start\ndata: {"], FAIL, Failure.EMPTY),
    ([START, DELTA], FAIL, Failure.EMPTY),
    ([START, STOP], FAIL, Failure.EMPTY),
    ([DELTA, STOP], FAIL, Failure.EMPTY),
    ([STOP], FAIL, Failure.EMPTY),
    ([START, DELTA, STOP], PASS, None),
    ([PING], FAIL, Failure.EMPTY),
    ([b": only a comment\n\n"], FAIL, Failure.EMPTY),
    ([b"\n\n"], FAIL, Failure.EMPTY),
    ([], FAIL, Failure.EMPTY),
    ([HTML], FAIL, Failure.GARBAGE),
    ([b"error code: 502"], FAIL, Failure.GARBAGE),
    ([b"upstream connect error"], FAIL, Failure.GARBAGE),
    ([b"ev"], FAIL, Failure.GARBAGE),
    ([b"\x00\x01"], FAIL, Failure.GARBAGE),
    ([b"{"], FAIL, Failure.GARBAGE),
    ([b"[]"], FAIL, Failure.GARBAGE),
    ([b" " * 5000 + b"{}"], FAIL, Failure.GARBAGE),
    ([b"\xef\xbb\xbf", START, BLOCK], PASS, None),
    ([b"\xef\xbb\xbf \n" + ERROR], FAIL, Failure.ERROR_EVENT),
]


@pytest.mark.parametrize(("events", "decision", "failure"), STREAMS)
def test_streams(events, decision, failure):
    data = b"".join(events)
    for pieces in (events, [data], by_bytes(data)):
        assert judged(pieces)[:2] == (decision, failure)


def test_the_error_of_a_stream_is_kept():
    gate = new_gate(content_type="text/event-stream")
    gate.feed(START + ERROR_EVENT + BLOCK)
    headers = {"content-type": "text/event-stream"}
    assert gate.outcome() == Outcome(200, headers, OVERLOADED, Failure.ERROR_EVENT, "overloaded_error in a good answer")


def test_the_clock_starts_with_the_message():
    gate = new_gate()
    assert (gate.feed(PING), gate.started, gate.expire()) == (HOLD, False, HOLD)
    assert (gate.feed(START[:9]), gate.started) == (HOLD, False)
    assert (gate.feed(START[9:]), gate.started) == (HOLD, True)
    assert gate.expire() is PASS
    assert gate.feed(ERROR_EVENT) is PASS
    assert gate.outcome() == Outcome(200, {})


def test_json_does_not_expire():
    gate = new_gate()
    gate.feed(ERROR[:20])
    assert (gate.started, gate.expire()) == (False, HOLD)


@pytest.mark.parametrize("failure", list(Failure))
@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_while_held(failure, stream):
    gate = new_gate(stream=stream)
    gate.feed(START if stream else ERROR[:20])
    assert gate.cut(failure, "why") is FAIL
    assert gate.outcome() == Outcome(200, {}, b"", failure, "why")
    assert gate.feed(BLOCK) is gate.end() is gate.expire() is FAIL


def test_a_cut_after_the_decision_changes_nothing():
    gate = new_gate()
    gate.feed(START + BLOCK)
    assert gate.cut(Failure.RESET, "why") is PASS
    assert gate.outcome().failure is None


@pytest.mark.parametrize("step", [1, 1000, 10**9])
def test_a_long_start_passes_at_its_limit(step):
    data = START + PING * (HELD // len(PING) + 5) + ERROR_EVENT
    pieces = [data[n : n + step] for n in range(0, len(data), step)]
    assert judged(pieces)[:2] == (PASS, None)
    short = START + PING * ((HELD - 1000) // len(PING)) + ERROR_EVENT
    pieces = [short[n : n + step] for n in range(0, len(short), step)]
    assert judged(pieces)[:2] == (FAIL, Failure.ERROR_EVENT)


LIMIT = 64 * 1024


def decisions(gate, data, step):
    """What the gate says after each piece."""
    return [gate.feed(data[n : n + step]) for n in range(0, len(data), step)]


@pytest.mark.parametrize("step", [1, 1000, 10**9])
@pytest.mark.parametrize(("size", "decision"), [(LIMIT - 1, FAIL), (LIMIT, FAIL), (LIMIT + 1, PASS)])
def test_an_error_counts_when_it_ends_within_the_limit(size, decision, step):
    """To the byte, and whatever the pieces."""
    pings = START + PING * 1000
    data = pings + b":" + b" " * (size - len(pings) - len(ERROR_EVENT) - 2) + b"\n" + ERROR_EVENT
    assert len(data) == size
    said = decisions(new_gate(), data, step)
    assert said[-1] is decision
    assert set(said) <= {HOLD, decision}


@pytest.mark.parametrize("begin", [START, START + PING, b""], ids=["started", "pinged", "not started"])
@pytest.mark.parametrize("step", [1, 4096])
def test_a_start_is_held_up_to_its_limit_and_no_longer(begin, step):
    """Comments, and an event that never ends: nothing of it is content, and nothing more than the limit is kept back."""
    for endless in (b": comment\n", b"data: x\n"):
        data = (begin + endless * LIMIT)[: LIMIT + step]
        gate = new_gate(content_type="text/event-stream")
        said = decisions(gate, data[: LIMIT - 1], step)
        assert set(said) == {HOLD}
        assert gate.feed(data[LIMIT - 1 : LIMIT]) is PASS


@pytest.mark.parametrize("step", [1, 4096])
@pytest.mark.parametrize(
    ("status", "begin", "failure"), [(500, b"{", None), (400, b"x", None), (200, b"<html>", Failure.GARBAGE)]
)
def test_an_error_s_body_is_held_up_to_its_limit_and_no_longer(status, begin, failure, step):
    data = begin + b"y" * LIMIT
    gate = new_gate(status)
    assert set(decisions(gate, data[: LIMIT - 1], step)) == {HOLD}
    assert gate.feed(data[LIMIT - 1 : LIMIT]) is FAIL
    assert (gate.outcome().body, gate.outcome().failure) == (data[:LIMIT], failure)


@pytest.mark.parametrize("step", [7, 10**9])
@pytest.mark.parametrize("stream", [True, False])
def test_garbage_is_kept_to_its_limit(stream, step):
    gate = new_gate(stream=stream)
    data = HTML * 2000
    for n in range(0, len(data), step):
        gate.feed(data[n : n + step])
    assert gate.decision is FAIL
    assert gate.outcome().failure is Failure.GARBAGE
    assert gate.outcome().body == data[:HELD]


# -- JSON answers

BODIES = [
    (b"{}", PASS, None),
    (b' {"type": "message", "content": []}\n', PASS, None),
    (b'\xef\xbb\xbf{"type": "message"}', PASS, None),
    (b'{"type": "message", "error": {"type": "x"}}', PASS, None),
    (b'{"type": "message", "content": [{"type": "error"}]}', PASS, None),
    (b'{"error": null}', PASS, None),
    (b'{"error": {"message": "no"}}', FAIL, Failure.ERROR_EVENT),
    (b'{"error": "no"}', FAIL, Failure.ERROR_EVENT),
    (OVERLOADED, FAIL, Failure.ERROR_EVENT),
    (b'{"type": "error"}', FAIL, Failure.ERROR_EVENT),
    (b"", FAIL, Failure.EMPTY),
    (b" \r\n", FAIL, Failure.EMPTY),
    (b'{"type": "message"', FAIL, Failure.GARBAGE),
    (b'{"type": "message"}}', FAIL, Failure.GARBAGE),
    (b"[{}]", FAIL, Failure.GARBAGE),
    (b"null", FAIL, Failure.GARBAGE),
    (b'"text"', FAIL, Failure.GARBAGE),
    (b"OK", FAIL, Failure.GARBAGE),
    (HTML, FAIL, Failure.GARBAGE),
    (b'{"a":' + b"[" * 100_000, FAIL, Failure.GARBAGE),
]


@pytest.mark.parametrize("endpoint", [Endpoint.MESSAGES, Endpoint.COUNT_TOKENS, Endpoint.COMPLETE, Endpoint.MODELS])
@pytest.mark.parametrize(("body", "decision", "failure"), BODIES)
def test_bodies(endpoint, body, decision, failure):
    pieces = [body[:1], body[1:2], body[2:]]
    assert judged(pieces, endpoint=endpoint, stream=False) == (decision, failure, None)


@pytest.mark.parametrize("size", [HELD_JSON, HELD_JSON + 1])
def test_a_large_body_passes(size):
    body = b'{"type": "error", "x": "' + b"x" * (size - 26) + b'"}'
    pieces = [body[n : n + 2**20] for n in range(0, len(body), 2**20)]
    expected = (FAIL, Failure.ERROR_EVENT) if size == HELD_JSON else (PASS, None)
    assert judged(pieces, stream=False)[:2] == expected
    assert judged([body], stream=False)[:2] == expected


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_good_answer_that_cannot_be_decompressed(coding, stream):
    gate = new_gate(stream=stream, content_encoding=coding)
    assert gate.feed(b"this was never compressed, " * 9) is FAIL
    assert gate.outcome().failure is Failure.GARBAGE


def test_no_message_of_the_upstream_is_told_in_the_log():
    secret = "sk-ant-api03-secret"
    body = json.dumps({"type": "error", "error": {"type": f"no {secret}", "message": f"bad key {secret}"}}).encode()
    for how in ({"status": 401}, {"stream": False}, {"stream": True}):
        gate = new_gate(**how)
        gate.feed(body)
        gate.end()
        assert secret not in gate.outcome().message


# -- anything

EVENTS = st.sampled_from(
    [
        START,
        PING,
        BLOCK,
        DELTA,
        STOP,
        ERROR_EVENT,
        HTML,
        ERROR,
        b"\n",
        b"\r\n\r\n",
        b"data: x\n\n",
        b" ",
        b"{",
        b"\xef\xbb\xbf",
    ]
)
PIECES = st.lists(EVENTS | st.binary(max_size=20), max_size=6)


@given(
    st.integers(100, 599),
    st.sampled_from(Endpoint),
    st.booleans(),
    st.sampled_from(["", "gzip", "br", "zstd", "deflate", "x"]),
    PIECES,
)
def test_never_raises_and_decides_once(status, endpoint, stream, coding, pieces):
    gate = new_gate(status, endpoint=endpoint, stream=stream, content_encoding=coding)
    decision = gate.decision
    for piece in pieces:
        after = gate.feed(piece)
        assert decision in (HOLD, after)
        decision = after
    assert decision in (HOLD, gate.end())
    assert gate.decision is not HOLD
    outcome = gate.outcome()
    assert outcome.status == status
    assert len(outcome.body) <= HELD
    if gate.decision is PASS:
        assert outcome.failure is None


@given(PIECES, st.booleans(), st.lists(st.integers(0, 400), max_size=6))
def test_any_split_of_anything(pieces, stream, cuts):
    data = b"".join(pieces)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    whole = judged([data], stream=stream)
    split = judged([data[a:b] for a, b in pairwise(edges)], stream=stream)
    assert split[:2] == whole[:2]


def test_examples_in_the_documentation():
    known = {"Endpoint": Endpoint}
    assert doctest.testmod(gate_module, extraglobs=known).failed == 0
    assert doctest.testmod(answers, optionflags=doctest.ELLIPSIS).failed == 0


def test_what_moves_a_held_answer_on():
    gate = new_gate(stream=True)
    for part, moves in ((PING, 0), (b": alive\n\n", 0), (b"\n\n", 0), (START, 1), (PING, 1), (DELTA, 2)):
        gate.feed(part)
        assert gate.moves == moves
    gate = new_gate(stream=False)
    for part, moves in ((b"\n", 0), (b" ", 0), (b'{"type"', 1), (b"\n", 1), (b": 1", 2)):
        gate.feed(part)
        assert gate.moves == moves
