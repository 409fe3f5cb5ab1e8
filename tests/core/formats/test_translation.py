"""What a provider sends, cut anywhere and in any shape, against what the client asked for; read by a format made up for it."""

import gzip
import json
import zlib

import pytest

from claude_relay.core.bodies.gate import Decision, Gate
from claude_relay.core.exchange import Endpoint
from claude_relay.core.formats.base import Format, Problem
from claude_relay.core.formats.translation import MAX_BODY, Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_answer, assert_claude_body, assert_claude_stream, events_of, feed_all_ways

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


class ToyReader:
    """Texts and an end; like some providers', a stream may end without a mark once its reason to stop was told."""

    def __init__(self, writer):
        self.writer = writer

    def event(self, name, data):
        if "raise" in data:
            raise RuntimeError("odd data")
        if "error" in data:
            self.writer.fail("overloaded_error", str(data["error"]))
        self.writer.start(data.get("model"))
        self.writer.text(data.get("text"))
        if "stop" in data:
            self.writer.stop("end_turn")

    def end(self, *, done):
        if done or self.writer.stopped:
            self.writer.finish()


def answer(body, writer):
    reader = ToyReader(writer)
    reader.event("", body)


def error(status, headers, body):
    return Problem(429, "rate_limit_error", json.loads(body)["error"])


TOY = Format(request=None, answer=answer, stream=ToyReader, error=error)


def translation(*, stream=True, headers=SSE):
    return Translation(TOY, Writer("claude-sonnet-5", "1", stream=stream), headers, stream=stream)


def translated(data, **kind):
    it = translation(**kind)
    return it.feed(data) + it.end()


def text_of(message):
    assert len(message["content"]) <= 1
    return "".join(block["text"] for block in message["content"])


def by_gate(data, *, stream):
    gate = Gate(200, SSE if stream else JSON, endpoint=Endpoint.MESSAGES, stream=stream)
    gate.feed(data)
    return gate.end()


WHOLE = {
    "plain": b'data: {"model": "x", "text": "Hel"}\n\ndata: {"text": "lo"}\n\ndata: {"stop": 1}\n\ndata: [DONE]\n\n',
    "no [DONE]": b'data: {"text": "Hello"}\n\ndata: {"stop": 1}\n\n',
    "no blank line": b'data: {"text": "Hello"}\n\ndata: {"stop": 1}',
    "CRLF, no blanks": b'data:{"text": "Hello"}\r\n\r\ndata:{"stop": 1}\r\n\r\ndata:[DONE]\r\n\r\n',
    "CR": b'data: {"text": "Hello"}\r\rdata: {"stop": 1}\r\r',
    "comments and fields": b': KEEPALIVE\n\nid: 1\ndata: {"text": "Hello"}\n\n: x\nretry: 1\n\nevent: a\nid: 2\ndata: {"stop": 1}\n\n',
    "empty and broken data": b'data:\n\ndata: {"text": "Hel\n\ndata: nonsense\n\ndata: 1\n\ndata: {"text": "Hello"}\n\ndata: [DONE]\n\n',
    "several data lines": b'data: {"text":\ndata:  "Hello"}\n\ndata: [DONE]\n\n',
    "after [DONE]": b'data: {"text": "Hello"}\n\ndata: [DONE]\n\ndata: {"text": "!"}\n\n{"error": 1}\n\ndata: [DONE]\n\n',
    "byte order mark": b'\xef\xbb\xbfdata: {"text": "Hello"}\n\ndata: [DONE]\n\n',
    "blank lines first": b"\n" * 1500 + b'data: {"text": "Hello"}\n\ndata: [DONE]\n\n',
    "chunks in an array": b'[{"text": "He"}\n,\r\n{"text": "llo", "a": [{}, "]}\\"\\\\"]},3,"}",{"stop": {"{": 1}}}]\n',
    "array in one line": b' [{"text":"Hello"},{"stop":1}]',
    "bare line that is no error": b'data: {"text": "Hello"}\n\n{"text": "!"}\n\ndata: [DONE]\n\n',
}
ERRORS = {
    "event": b'data: {"text": "Hello"}\n\ndata: {"error": "busy"}\n\ndata: [DONE]\n\n',
    "bare line": b'data: {"text": "Hello"}\n\n{"error": "busy"}\n\ndata: [DONE]\n\n',
    "bare line, CRLF": b'data: {"text": "Hello"}\r\n\r\n{"error": "busy"}\r\n\r\ndata: [DONE]\r\n\r\n',
    "bare line at the end": b'data: {"text": "Hello"}\n\n{"error": "busy"}',
    "bare line without a blank one": b'data: {"text": "Hello"}\n{"error": "busy"}\ndata: [DONE]\n\n',
    "several bare lines": b'data: {"text": "Hello"}\n\n{\n  "error": "busy"\n}\n\ndata: {"text": "!"}\n\n',
    "several bare lines, CRLF": b'data: {"text": "Hello"}\r\n\r\n{\r\n"error": "busy"\r\n}\r\n\r\n',
    "array in an event": b'data: {"text": "Hello"}\n\ndata: [{"error": "busy"}]\n\n',
    "array": b'[{"text": "Hello"},{"error": "busy"},{"stop": 1}]',
}
OBJECT = b'{"model": "x", "text": "Hello", "stop": 1}'


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_a_whole_stream_is_a_whole_answer_however_it_is_cut(data, stream):
    for message in feed_all_ways(lambda: translation(stream=stream), data):
        assert text_of(message) == "Hello"
        assert message["stop_reason"] == "end_turn"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("data", ERRORS.values(), ids=ERRORS)
def test_an_error_in_mid_stream_ends_the_answer(data, stream):
    for message in feed_all_ways(lambda: translation(stream=stream), data):
        assert message["error"] == {"type": "overloaded_error", "message": "busy"}
        assert text_of(message) == ("Hello" if stream else "")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("data", [OBJECT, b"\n" * 1200 + OBJECT, b"\xef\xbb\xbf " + OBJECT])
def test_a_json_object_is_the_whole_answer(data, stream):
    for headers in (SSE, JSON):
        for message in feed_all_ways(lambda headers=headers: translation(stream=stream, headers=headers), data):
            assert text_of(message) == "Hello"


@pytest.mark.parametrize("data", [*WHOLE.values(), OBJECT], ids=[*WHOLE, "object"])
def test_the_client_gets_the_form_that_it_asked_for(data):
    assert assert_claude_stream(translated(data)) == assert_claude_body(translated(data, stream=False))


@pytest.mark.parametrize("data", [WHOLE["plain"], WHOLE["array in one line"]], ids=["sse", "array"])
def test_no_event_waits_for_the_next(data):
    it = translation()
    *most, last = data.partition(b'"Hel' if b"DONE" in data else b'"Hello"}')
    assert it.feed(b"".join(most)).count(b"content_block_delta") == (0 if b"DONE" in data else 2)
    events = events_of(it.feed(last))
    assert events[-1]["type"] == "message_stop"
    assert it.end() == b""


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"text": "Hello"}\n\n',
        b'data: {"text": "Hello"}\n\ndata: {"stop"',
        b'[{"text": "Hello"},{"st',
        b'[{"text": "Hello"},',
    ],
)
def test_a_stream_that_was_cut_has_no_end(data):
    assert text_of(assert_claude_stream(translated(data), cut=True)) == "Hello"
    assert translated(data, stream=False) == b""


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("data", [b"", b"\n", b"<html>busy</html>", b"da", b"no answer", OBJECT[:-3], b'{"a": 01}'])
def test_what_is_no_answer_stays_what_it_was(data, stream):
    for headers in (SSE, JSON, {}):
        out = translated(data, stream=stream, headers=headers)
        assert out == data.strip() or (headers == SSE and out == b"")
        assert by_gate(out, stream=stream) is Decision.FAIL


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_under_a_good_status_is_told_by_the_format(stream):
    for message in feed_all_ways(
        lambda: translation(stream=stream, headers=JSON), b'{"error": "slow down", "text": 1}'
    ):
        assert message["error"] == {"type": "rate_limit_error", "message": "slow down"}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("data", [b"{}", b'{"detail": "Not Found"}'])
def test_an_object_that_says_nothing_is_no_success(data, stream):
    assert assert_claude_answer(translated(data, stream=stream))["error"]["type"] == "api_error"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "data", [b'data: {"text": "a"}\n\ndata: {"raise": 1}\n\ndata: {"text": "b"}\n\n', b'{"raise": 1}']
)
def test_a_reader_that_raises_ends_the_answer_with_an_error(data, stream):
    it = translation(stream=stream)
    message = assert_claude_answer(it.feed(data) + it.end())
    assert message["error"]["type"] == "api_error"
    assert "odd data" not in message["error"]["message"]
    assert isinstance(it.fault, RuntimeError)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_answer_is_read(coding):
    packed = (gzip if coding == "gzip" else zlib).compress(WHOLE["plain"])
    headers = SSE | {"content-encoding": coding}
    for message in feed_all_ways(lambda: translation(headers=headers), packed):
        assert text_of(message) == "Hello"


def test_broken_compression_is_an_error_and_an_unknown_one_passes():
    broken = gzip.compress(b"")[:10] + b"\xff" * 50
    it = translation(headers=SSE | {"content-encoding": "gzip"})
    assert assert_claude_stream(it.feed(broken) + it.end())["error"]["type"] == "api_error"
    assert translated(b"\x01\x02", headers=SSE | {"content-encoding": "x-own"}) == b"\x01\x02"


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"a\\ud83d"', "a\ufffd"),
        (b'"\\\\ud83d \\udc00"', "\\ud83d \ufffd"),
        (b'"a\xf0\x9f"', "a\ufffd"),
    ],
)
def test_half_a_character_does_not_cost_the_rest(told, read):
    data = b'data: {"text": ' + told + b"}\n\ndata: [DONE]\n\n"
    assert text_of(assert_claude_stream(translated(data))) == read


@pytest.mark.parametrize(
    ("begin", "stream"),
    [
        (b'{"text": "', False),
        (b'[{"text": "', True),
        (b'data: {"text": "', True),
        (b'data: {"text": "', False),
        (b'data: 1\n\n{"error": "', True),
    ],
)
def test_an_answer_without_end_is_an_error(begin, stream):
    it, piece = translation(stream=stream), b"x" * 1024 * 1024
    out = it.feed(begin)
    for _ in range((MAX_BODY >> 20) + 2):
        out += it.feed(piece)
    assert assert_claude_answer(out)["error"]["type"] == "api_error"
    assert it.feed(piece) + it.end() == b""


def test_the_served_model_and_the_memories_are_those_of_the_writer():
    it = translation()
    it.feed(WHOLE["plain"])
    assert (it.served_model, it.memories) == ("x", {})
