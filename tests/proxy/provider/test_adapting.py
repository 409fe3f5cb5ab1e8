"""Answers of providers that were asked otherwise than the client did: by another name, at another address, in another format."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from mitmproxy import http

from claude_relay.core.exchange import Outcome
from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Sent
from claude_relay.proxy.provider.adapting import BATCHES_LIMIT, Readdressed, Renamed, Translated

MESSAGE = b'{"type":"message","model":"theirs","content":[]}'
START = b'event: message_start\ndata: {"type":"message_start","message":{"model":"theirs"}}\n\n'


def response(content_type: str, **headers: str) -> http.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = http.Response.make(200, b"", {"content-type": content_type, **named})
    if "content_length" not in headers:
        del found.headers["content-length"]
    return found


def through(bytes_: Any, data: bytes, step: int) -> bytes:
    pieces = [bytes_.feed(data[at : at + step]) for at in range(0, len(data), step)]
    return b"".join([*pieces, bytes_.end()])


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(("kind", "data"), [("application/json", MESSAGE), ("text/event-stream", START)])
def test_the_client_gets_its_own_name_of_the_model_back(kind: str, data: bytes, step: int) -> None:
    opened = Renamed("mine", stream=False).open(response(kind))
    assert opened is not None
    assert through(opened, data, step) == data.replace(b"theirs", b"mine")
    assert opened.served_model == "theirs"


def test_what_cannot_be_renamed_passes_as_it_is() -> None:
    assert Renamed("mine", stream=False).open(response("application/json", content_encoding="gzip")) is None
    assert Renamed("mine", stream=True).open(response("text/event-stream", content_length="9")) is None
    told = response("application/json", content_length="48")
    assert Renamed("mine", stream=False).open(told) is not None
    assert told.headers["content-length"] == "0"
    outcome = Outcome(400)
    assert Renamed("mine", stream=False).problem(outcome, "r") is outcome


RESULTS = b'{"id":"b","results_url":"https://api.anthropic.com/v1/messages/batches/b/results"}'


def test_results_of_batches_are_fetched_here() -> None:
    head = response("application/json", content_length=str(len(RESULTS)))
    opened = Readdressed("http://127.0.0.1:8082").open(head)
    assert opened is not None
    assert head.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in head.headers
    assert json.loads(through(opened, RESULTS, 7))["results_url"].startswith("http://127.0.0.1:8082/v1/")
    assert Readdressed("http://h").open(response("application/json", content_encoding="br")) is None


def test_what_is_larger_than_any_list_of_batches_is_not_held() -> None:
    opened = Readdressed("http://h").open(response("application/json"))
    assert opened is not None
    data = b"x" * (BATCHES_LIMIT + 1)
    assert opened.feed(data) == data


def translated(**more: Any) -> Translated:
    given: dict[str, Any] = {"stream": False, "estimate": 5, "counts": False} | more
    return Translated(FORMATS["gemini"], Sent("/", b""), "mine", "gemini-3-pro", "req_relay_1", **given)


ANSWER = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}], "modelVersion": "g"}


@pytest.mark.parametrize("coded", [False, True])
def test_another_format_becomes_claudes(coded: bool) -> None:
    head = response("application/json", x_request_id="theirs", server="gws", content_encoding="gzip" if coded else "")
    opened = translated().open(head)
    assert opened is not None
    assert dict(head.headers.items()) == {
        "content-type": "application/json",
        "request-id": "theirs",
        "content-length": "0",
    }
    data = json.dumps(ANSWER).encode()
    found = json.loads(through(opened, gzip.compress(data) if coded else data, 11))
    assert (found["model"], found["content"]) == ("mine", [{"type": "text", "text": "Hi"}])


def test_a_stream_of_another_format() -> None:
    head = response("text/event-stream")
    opened = translated(stream=True).open(head)
    assert opened is not None
    assert head.headers["transfer-encoding"] == "chunked"
    assert head.headers["request-id"] == "req_relay_1"
    out = through(opened, b"data: " + json.dumps(ANSWER).encode() + b"\n\n", 5)
    assert out.startswith(b"event: message_start")
    assert b'"input_tokens":5' in out
    assert out.endswith(b'data: {"type":"message_stop"}\n\n')


def test_tokens_that_a_provider_has_counted() -> None:
    opened = translated(counts=True).open(response("application/json"))
    assert opened is not None
    assert json.loads(through(opened, b'{"totalTokens": 12}', 3)) == {"input_tokens": 12}
    odd = translated(counts=True).open(response("application/json"))
    assert odd is not None
    assert through(odd, b"what?", 3) == b"what?"


def test_an_error_of_another_format() -> None:
    body = b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow"}}'
    found = translated().problem(Outcome(429, body=body), "req_1")
    assert json.loads(found.body)["error"]["type"] == "rate_limit_error"
