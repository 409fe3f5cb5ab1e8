"""A request's body, read whatever its coding, and sent byte for byte unless something in it must be another one."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading

import pytest
from mitmproxy import http

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Endpoint
from claude_relay.core.formats.answer_blocks import FOREIGN
from claude_relay.proxy.request import bodies
from claude_relay.proxy.request.bodies import LONG, at_leisure, facts_of, reworded, uncompressed, write_body

from .made import MODEL, relayed, runtime

BODY = b'{ "model" : "claude-sonnet-4-5",  "max_tokens": 5, "messages": []}'
OTHERS = {"other": {"format": "gemini", "base_url": "https://h.example"}, "anthropic": {"preset": "anthropic"}}


def request(body: bytes, coding: str = "") -> http.Request:
    found = http.Request.make("POST", "https://h/v1/messages", body)
    if coding:
        found.headers["content-encoding"] = coding
    return found


def plain(found: http.Request, endpoint: Endpoint = Endpoint.MESSAGES) -> bytes | None:
    return asyncio.run(uncompressed(found, endpoint))


@pytest.mark.parametrize("coding", ["", "identity", "gzip"])
def test_any_coding_is_undone(coding: str) -> None:
    body = gzip.compress(BODY) if coding == "gzip" else BODY
    assert plain(request(body, coding)) == BODY
    assert plain(request(b"", coding)) == b""


def test_a_broken_or_unknown_coding_cannot_be_read() -> None:
    assert plain(request(b"no gzip at all", "gzip")) is None
    assert plain(request(BODY, "unheard-of")) is None


def test_what_is_too_large_when_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024), 1)
    with pytest.raises(RelayError) as caught:
        plain(request(bomb, "gzip"))
    assert caught.value.status == 413
    assert plain(request(bomb, "gzip"), Endpoint.RESOURCE) is None


def test_long_work_leaves_the_event_loop() -> None:
    def where(body: bytes) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert asyncio.run(at_leisure(b"x", where))
    assert not asyncio.run(at_leisure(b"x" * (LONG + 1), where))


@pytest.mark.parametrize("filling", [0, bodies.LONG_TO_CHANGE, LONG])
def test_facts_of_bodies_of_all_sizes(filling: int) -> None:
    found = relayed(model="")
    found.body = json.dumps({"stream": True, "system": "x" * filling, "model": MODEL, "messages": []}).encode()
    facts = asyncio.run(facts_of(found))
    assert (facts.model, facts.stream) == (MODEL, True)
    found.body = None
    assert asyncio.run(facts_of(found)).model == ""


def said(
    body: bytes, *, model: str = MODEL, repaired: bool = False, endpoint: Endpoint = Endpoint.MESSAGES
) -> bytes | None:
    found = relayed(endpoint, runtime(providers=OTHERS))
    found.body = body
    return asyncio.run(reworded(found, Attempt(1, "anthropic", None, model, repaired=repaired)))


THOUGHTS = json.dumps(
    {
        "model": MODEL,
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": FOREIGN},
                    {"type": "thinking", "thinking": "hm", "signature": "of Claude"},
                    {"type": "text", "text": "so"},
                ],
            }
        ],
    }
).encode()


def test_the_clients_own_bytes_go_where_nothing_must_change() -> None:
    assert said(BODY) is None
    assert said(BODY, model="other", endpoint=Endpoint.SIDE) is None


def test_only_the_name_is_another_one() -> None:
    assert said(BODY, model="theirs") == BODY.replace(b"claude-sonnet-4-5", b"theirs")


def test_thoughts_of_other_models_are_taken_out_and_all_for_a_repair() -> None:
    foreign, repaired = said(THOUGHTS), said(THOUGHTS, repaired=True)
    assert foreign is not None
    assert repaired is not None
    assert FOREIGN.encode() not in foreign
    assert b"of Claude" in foreign
    assert b"thinking" not in repaired
    assert b'"so"' in repaired


def test_another_body_goes_uncompressed() -> None:
    found = request(b"packed", "gzip")
    write_body(found, b"plain text")
    assert (found.raw_content, found.headers["content-length"]) == (b"plain text", "10")
    assert "content-encoding" not in found.headers
    chunked = http.Request.make("POST", "https://h/", b"x", {"transfer-encoding": "chunked"})
    chunked.headers.pop("content-length", None)
    write_body(chunked, b"y")
    assert "content-length" not in chunked.headers
