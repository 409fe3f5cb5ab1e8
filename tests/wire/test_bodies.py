"""Requests that cannot be read at once: compressed, not quite JSON, large, or not to be read at all."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest

from claude_relay.core.bodies.zstd import zstd
from claude_relay.core.formats.answer_blocks import FOREIGN

from . import claude, foreign, steps
from .clients import HOST, PLACEHOLDER, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, provider, rows
from .test_translation import other
from .upstream import FakeUpstream

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2"]
STREAM = b"".join(claude.events())
Base = Callable[[Relay], RawClient]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "identity": bytes,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "identity,GZIP ,  zstd": lambda data: zstd.compress(gzip.compress(data)),
}
HAIKU = {"match": {"model": "claude-haiku-*"}, "to": ["anthropic"]}
REFUSED = steps.status(401, "authentication_error", "invalid x-api-key")


def packed(coding: str, body: bytes) -> dict[str, Any]:
    return {"body": PACK[coding](body), "headers": [("content-encoding", coding)]}


def to(url: str, keys: list[str] = KEYS, **more: Any) -> dict[str, Any]:
    return {"anthropic": provider(url, keys, **more)}


# -- compressed


@pytest.mark.parametrize("coding", PACK)
def test_a_compressed_request_is_read_and_sent_as_it_came(
    start: StartRelay, upstream: FakeUpstream, dial: Dial, coding: str
) -> None:
    """Only a route by model and by stream takes it; the second attempt has the same bytes as the first."""
    upstream.script(REFUSED, steps.stream())
    routes = [{"match": {"model": "claude-sonnet-*", "stream": True}, "to": ["anthropic"]}]
    relay = start(config(upstream.url, KEYS, routes=routes))
    sent = packed(coding, messages_body(stream=True))
    answer = dial(relay).ask("POST", "/v1/messages", **sent)
    assert (answer.status, answer.body, answer.header("x-relay-attempts")) == (200, STREAM, "2")
    assert [request.body for request in upstream.requests] == [sent["body"]] * 2
    assert {request.header("content-encoding") for request in upstream.requests} == {coding}
    row = rows(relay.database)[0]
    assert (row["requested_model"], row["stream"], row["finished"]) == ("claude-sonnet-5", 1, "complete")
    assert row["request_bytes"] == len(sent["body"])


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, br"])
def test_a_compressed_request_for_another_name_leaves_uncompressed(
    start: StartRelay, upstream: FakeUpstream, dial: Dial, coding: str
) -> None:
    upstream.script(REFUSED, steps.stream(claude.events(model="there")))
    relay = start(config(providers=to(upstream.url, models={"claude-*": "there"})))
    answer = dial(relay).ask("POST", "/v1/messages", **packed(coding, messages_body(stream=True)))
    assert (answer.status, answer.body) == (200, b"".join(claude.events(model="claude-sonnet-5")))
    expected = messages_body(stream=True, model="there")
    for request in upstream.requests:
        assert request.body == expected
        assert request.header("content-encoding") is None
        assert request.header("content-length") == str(len(expected))
    assert len(upstream.requests) == 2


def test_two_fields_of_content_encoding(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(config(providers=to(upstream.url, models={"claude-*": "there"})))
    twice = [("Content-Encoding", "gzip"), ("content-encoding", "br")]
    body = PACK["gzip, br"](messages_body())
    assert base_client(relay).ask("POST", "/v1/messages", body=body, headers=twice).status == 200
    assert upstream.requests[0].body == messages_body(model="there")
    assert upstream.requests[0].header("content-encoding") is None


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_request_is_translated(start: StartRelay, upstream: FakeUpstream, dial: Dial, coding: str) -> None:
    upstream.script(foreign.openai_error(401, "invalid_api_key", "no"), foreign.chat())
    relay = start(config(providers={"openai": other(upstream)}))
    answer = dial(relay).ask("POST", "/v1/messages", **packed(coding, messages_body(text="é" * 20_000)))
    assert (answer.status, answer.json()["model"]) == (200, "claude-sonnet-5")
    for request in upstream.requests:
        assert json.loads(request.body)["messages"][-1]["content"] == "é" * 20_000
        assert request.header("content-encoding") is None


def test_foreign_thoughts_and_refused_signatures_go_out_of_a_compressed_request(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": FOREIGN + "-1"}
    own = thought | {"signature": "EqoB"}
    text = {"type": "text", "text": "x"}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [thought, own, text]}]
    body = json.dumps({"model": "claude-sonnet-5", "max_tokens": 5, "messages": turns}).encode()
    signature = "messages.1.content.0: Invalid `signature` in `thinking` block"
    upstream.script(steps.status(400, "invalid_request_error", signature), steps.message())
    relay = start(config(providers=to(upstream.url) | {"openai": other(upstream)}))
    assert base_client(relay).ask("POST", "/v1/messages", **packed("gzip", body)).status == 200
    contents = [json.loads(request.body)["messages"][1]["content"] for request in upstream.requests]
    assert contents == [[own, text], [text]]
    assert not [request for request in upstream.requests if request.header("content-encoding")]


@pytest.fixture
def claude_elsewhere() -> Iterator[FakeUpstream]:
    with FakeUpstream() as found:
        yield found


def test_a_file_named_in_a_compressed_request_is_asked_of_its_key(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    client = base_client(start(keys=[*KEYS, "sk-ant-api03-secret-3"]))
    upstream.script(steps.answer([b'{"type":"file","id":"file_011CNha8iCJc"}']))
    assert client.ask("POST", "/v1/files", body=b"x").status == 200
    content = [{"type": "document", "source": {"type": "file", "file_id": "file_011CNha8iCJc"}}]
    body = messages_body(messages=[{"role": "user", "content": content}])
    upstream.default = steps.message()
    for _ in range(4):
        assert client.ask("POST", "/v1/messages", **packed("gzip", body)).status == 200
    assert len(set(upstream.used_keys())) == 1


BOMBS = {
    "gzip": gzip.compress(bytes(60_000_000)),
    "br": brotli.compress(bytes(60_000_000), quality=5),
    "zstd": zstd.compress(bytes(60_000_000)),
    "gzip, gzip": gzip.compress(gzip.compress(bytes(60_000_000))),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_is_refused(start: StartRelay, upstream: FakeUpstream, dial: Dial, coding: str) -> None:
    relay = start(keys=KEYS)
    client = dial(relay)
    answer = client.ask("POST", "/v1/messages", body=BOMBS[coding], headers=[("content-encoding", coding)])
    assert (answer.status, answer.error_type) == (413, "request_too_large")
    assert upstream.requests == []
    assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert [row["finished"] for row in rows(relay.database)] == ["error", "complete"]


def test_a_file_may_be_a_bomb(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """What is uploaded is nobody's business here."""
    relay = start(keys=KEYS)
    sent = {"body": BOMBS["gzip"], "headers": [("content-encoding", "gzip")]}
    assert base_client(relay).ask("POST", "/v1/files", **sent).status == 200
    assert upstream.requests[0].body == BOMBS["gzip"]


# -- not to be read

UNREAD: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "another coding": (b"\x01\x02" + messages_body(stream=True)[::-1], [("content-encoding", "aes128gcm")]),
    "compressed, but for its end": (gzip.compress(messages_body(stream=True))[:-9], [("content-encoding", "gzip")]),
    "said to be compressed": (messages_body(stream=True), [("content-encoding", "br")]),
    "four codings": (messages_body(), [("content-encoding", "gzip, gzip, gzip, gzip")]),
    "half of it": (b'{"model":"claude-sonnet-5","stream":true,', []),
    "a comma too many": (b'{"model":"claude-sonnet-5","stream":true,}', []),
    "no json": (b"model=claude-sonnet-5&stream=true", []),
}


@pytest.mark.parametrize("body", UNREAD)
def test_the_answer_tells_whether_an_unread_request_is_a_stream(
    start: StartRelay, upstream: FakeUpstream, dial: Dial, body: str
) -> None:
    relay = start(keys=KEYS)
    client, (data, headers) = dial(relay), UNREAD[body]
    upstream.script(steps.stream(), steps.message())
    answer = client.ask("POST", "/v1/messages", body=data, headers=headers)
    assert (answer.status, answer.body, answer.header("x-relay-attempts")) == (200, STREAM, "1")
    answer = client.ask("POST", "/v1/messages", body=data, headers=headers)
    assert (answer.status, answer.json()["type"], answer.header("x-relay-attempts")) == (200, "message", "1")
    assert [request.body for request in upstream.requests] == [data] * 2
    found = rows(relay.database)
    assert [(row["requested_model"], row["stream"], row["finished"]) for row in found] == [
        (None, 1, "complete"),
        (None, 0, "complete"),
    ]
    assert [row["output_tokens"] for row in found] == [15, 15]


@pytest.mark.parametrize("said", [b'"true"', b"1", b"[]"])
def test_a_stream_that_is_asked_for_in_other_words(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, said: bytes
) -> None:
    upstream.script(steps.stream(claude.events(model="there")))
    relay = start(config(providers=to(upstream.url, models={"claude-*": "there"})))
    body = b'{"model":"claude-sonnet-5","stream":%b}' % said
    answer = base_client(relay).ask("POST", "/v1/messages", body=body)
    assert (answer.status, answer.body) == (200, b"".join(claude.events(model="claude-sonnet-5")))
    assert rows(relay.database)[0]["stream"] == 1


@pytest.mark.parametrize("said", [(b"true", b"false"), (b"false", b"true")])
def test_a_stream_that_is_asked_for_and_is_not(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, said: tuple[bytes, bytes]
) -> None:
    """Upstreams take the first or the last of two members; the answer tells."""
    upstream.script(steps.stream(), steps.message())
    client = base_client(start(keys=KEYS))
    for body in (STREAM, json.dumps(claude.message()).encode()):
        asked = b'{"model":"claude-sonnet-5","stream":%b,"stream":%b}' % said
        answer = client.ask("POST", "/v1/messages", body=asked)
        assert (answer.status, answer.header("x-relay-attempts")) == (200, "1")
        assert (answer.body == STREAM) is (body is STREAM)


def test_nobody_is_blamed_for_an_unread_request(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS)
    client = base_client(relay)
    for data, headers in UNREAD.values():
        upstream.script(steps.status(400, "invalid_request_error", "The request body is not valid JSON"))
        answer = client.ask("POST", "/v1/messages", body=data, headers=headers)
        assert (answer.status, answer.error_type) == (400, "invalid_request_error")
        assert answer.header("x-relay-attempts") == "1"
    assert {row["verdict"] for row in rows(relay.database, "attempts")} == {"bad_request"}
    upstream.requests.clear()
    for _ in range(2):
        assert client.ask("POST", "/v1/messages", body=messages_body()).header("x-relay-attempts") == "1"
    assert set(upstream.used_keys()) == set(KEYS)


def test_only_a_route_for_everything_takes_an_unread_request(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, claude_elsewhere: FakeUpstream
) -> None:
    conditions = [
        {"model": "claude-*"},
        {"stream": True},
        {"stream": False},
        {"tools": False},
        {"thinking": False},
        {"min_input_tokens": 1},
    ]
    routes = [{"match": match, "to": ["other"]} for match in conditions] + [{"to": ["anthropic"]}]
    both = to(upstream.url) | {"other": provider(claude_elsewhere.url, KEYS)}
    relay = start(config(providers=both, routes=routes))
    upstream.default = steps.stream()
    for data, headers in UNREAD.values():
        assert base_client(relay).ask("POST", "/v1/messages", body=data, headers=headers).body == STREAM
    assert claude_elsewhere.requests == []


def test_an_unread_request_cannot_be_translated(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(config(providers={"openai": other(upstream)}))
    for data, headers in UNREAD.values():
        answer = base_client(relay).ask("POST", "/v1/messages", body=data, headers=headers)
        assert (answer.status, answer.error_type) == (400, "invalid_request_error")
    assert upstream.requests == []


def test_the_limits_of_an_unread_request(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """Those of a stream, until the answer's head says that it is none."""
    limits = {"attempts": 4, "max_wait": "20ms", "first_byte": "1s", "whole": "20s", "idle": "4s", "progress": "4s"}
    relay = start(keys=KEYS, retry=limits)
    client = base_client(relay)

    async def late(exchange: Any) -> None:
        await asyncio.sleep(1.2)
        await exchange.send(json.dumps(claude.message("late")).encode())

    upstream.script(steps.stall_before_head, steps.answer([late], framing="chunked"))
    answer = client.ask("POST", "/v1/messages", body=UNREAD["no json"][0])
    assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")
    assert rows(relay.database, "attempts")[0]["error"] == "no first byte within 1 s (retry.first_byte)"


# -- not quite JSON

NEARLY = {
    "a byte order mark": b"\xef\xbb\xbf" + messages_body(stream=True, text="é"),
    "half a surrogate pair": messages_body(stream=True, text="\ud83d"),
    "nan": messages_body(stream=True, top_p=float("nan")),
    "control characters": messages_body(stream=True, text="a\\nb").replace(b"\\\\n", b"\n\x01"),
    "bytes that are no text": messages_body(stream=True, text="XX").replace(b"XX", b"\xff\xc3"),
    "a name that is no text": messages_body(stream=True, XX=1).replace(b"XX", b"\xff"),
    "utf-16": messages_body(stream=True, text="é").decode().encode("utf-16"),
    "utf-32": messages_body(stream=True, text="é").decode().encode("utf-32-be"),
    "twice the model": messages_body(stream=True).replace(b"{", b'{"model": "claude-haiku-5", ', 1),
    "a huge number": messages_body(stream=True).replace(b"{", b'{"x": 1e999, "y": %b, ' % (b"9" * 5000), 1),
}


@pytest.mark.parametrize("body", NEARLY)
def test_what_is_nearly_json_is_read_and_sent_as_it_came(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, body: str
) -> None:
    upstream.default = steps.stream()
    routes = [{"match": {"model": "claude-sonnet-*", "stream": True}, "to": ["anthropic"]}]
    client = base_client(start(config(upstream.url, KEYS, routes=routes)))
    for coding in ("identity", "gzip"):
        sent = packed(coding, NEARLY[body])
        assert client.ask("POST", "/v1/messages", **sent).body == STREAM
        assert upstream.requests[-1].body == sent["body"]


@pytest.mark.parametrize("body", NEARLY)
def test_only_the_model_of_it_changes(start: StartRelay, upstream: FakeUpstream, base_client: Base, body: str) -> None:
    upstream.default = steps.stream()
    relay = start(config(providers=to(upstream.url, models={"claude-sonnet-*": "there"})))
    assert base_client(relay).ask("POST", "/v1/messages", body=NEARLY[body]).status == 200
    charset = {"utf-16": "utf-16-le", "utf-32": "utf-32-be"}.get(body, "utf-8")
    sent = NEARLY[body]
    for name in ("claude-sonnet-5", "claude-haiku-5"):
        sent = sent.replace(name.encode(charset), "there".encode(charset))
    assert upstream.requests[0].body == sent


@pytest.mark.parametrize("body", NEARLY)
def test_it_is_translated(start: StartRelay, upstream: FakeUpstream, base_client: Base, body: str) -> None:
    upstream.default = foreign.chat_stream()
    relay = start(config(providers={"openai": other(upstream)}))
    answer = base_client(relay).ask("POST", "/v1/messages", body=NEARLY[body])
    assert (answer.status, b"message_stop" in answer.body) == (200, True)
    asked = json.loads(upstream.requests[0].body)
    texts = {"a byte order mark": "é", "half a surrogate pair": "\ufffd", "control characters": "a\n\x01b"}
    texts |= {"bytes that are no text": "??", "utf-16": "é", "utf-32": "é"}
    assert (asked["model"], asked["messages"][-1]["content"]) == ("gpt-5.1", texts.get(body, "Hi"))


# -- large

LARGE = messages_body(text="word é\n" * 600_000)


def test_a_large_body_is_read_beside_the_event_loop(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_relay.proxy.common import process
    from claude_relay.proxy.request import bodies

    threads = []
    to_thread = asyncio.to_thread

    async def noted(work: Callable[..., Any], *arguments: Any) -> Any:
        threads.append(work)
        return await to_thread(work, *arguments)

    monkeypatch.setattr(process.asyncio, "to_thread", noted)
    relay = start(config(providers=to(upstream.url, models={"claude-*": "there"})))
    assert base_client(relay).ask("POST", "/v1/messages", body=LARGE).status == 200
    assert upstream.requests[0].body == LARGE.replace(b"claude-sonnet-5", b"there")
    assert bodies._measured in threads


# -- a real client


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("way", ["base url", "proxy"])
@pytest.mark.parametrize("kind", ["native", "renamed", "translated"])
def test_curl_sends_a_compressed_body(
    start: StartRelay, upstream: FakeUpstream, kind: str, way: str, version: str
) -> None:
    body = gzip.compress(messages_body())
    providers = {
        "native": to(upstream.url),
        "renamed": to(upstream.url, models={"claude-*": "there"}),
        "translated": {"openai": other(upstream)},
    }
    answers = [foreign.openai_error(401, "invalid_api_key", "no"), foreign.chat()]
    upstream.script(*(answers if kind == "translated" else [REFUSED, steps.message()]))
    relay = start(config(providers=providers[kind]))
    url, more = f"http://127.0.0.1:{relay.base_port}", ["--noproxy", "*"]
    if way == "proxy":
        url = f"https://{HOST}"
        more = ["--proxy", f"http://127.0.0.1:{relay.proxy_port}", "--cacert", str(relay.ca_file)]
    head = [f"x-api-key: {PLACEHOLDER}", "content-type: application/json", "content-encoding: gzip"]
    headers = [word for field in head for word in ("-H", field)]
    command = ["curl", "-sS", "-m", "5", version, *more, *headers, "--data-binary", "@-", f"{url}/v1/messages"]
    found = subprocess.run(command, input=body, capture_output=True, check=True)
    assert json.loads(found.stdout)["type"] == "message"
    sent = [request.body for request in upstream.requests]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert (sent[0] == body) is (kind == "native")
    assert {request.header("content-encoding") for request in upstream.requests} == {
        "gzip" if kind == "native" else None
    }
