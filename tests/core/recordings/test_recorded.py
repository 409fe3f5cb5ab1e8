"""What of a recorded request is sent again, and what never is."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.recordings.recorded import SENT, Recorded, Unusable

BODY = json.dumps({"model": "claude-sonnet-5", "stream": True, "messages": []}).encode()


def recorded(
    url: str = "/v1/messages", *fields: tuple[bytes, bytes], method: str = "POST", body: bytes | None = BODY
) -> Recorded:
    return Recorded.of("one", method, url, fields, body)


def test_its_model_and_whether_it_streams() -> None:
    found = recorded()
    assert (found.model, found.streamed, found.path) == ("claude-sonnet-5", True, "/v1/messages")
    assert found.fields == (("anthropic-version", "2023-06-01"), ("content-type", "application/json"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("https://api.anthropic.com/v1/messages?key=secret&beta=true", "/v1/messages?beta=true"),
        ("https://api.z.ai/api/anthropic/v1/messages", "/v1/messages"),
        ("http://127.0.0.1:8082/api/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/v1//messages/?x=1", "/v1/messages"),
        ("/v1/complete", "/v1/complete"),
    ],
)
def test_the_path_is_the_apis(url: str, path: str) -> None:
    assert recorded(url).path == path


@pytest.mark.parametrize(
    ("url", "method"),
    [
        ("/v1/chat/completions", "POST"),
        ("/v1beta/models/gemini-3:generateContent", "POST"),
        ("/v1/messages/batches", "POST"),
        ("/v1/messages", "GET"),
        ("/v1/messagesx", "POST"),
        ("/v1/files", "POST"),
        ("/v1/models", "GET"),
        ("/", "POST"),
    ],
)
def test_what_asks_no_model(url: str, method: str) -> None:
    with pytest.raises(Unusable, match="asks no model"):
        recorded(url, method=method)


def test_no_credential_is_even_read() -> None:
    fields = (
        (b"X-Api-Key", b"sk-ant-secret"),
        (b"Authorization", b"Bearer secret"),
        (b"Cookie", b"secret"),
        (b"x-goog-api-key", b"secret"),
        (b"X-Company-Pass", b"secret"),
        (b"anthropic-beta", b"one,two"),
        (b"Anthropic-Organization-Id", b"secret"),
        (b"User-Agent", b"claude-cli/2.0"),
        (b"x-stainless-lang", b"js"),
        (b"x-claude-code-session-id", b"0b1f"),
        (b"x-relay-target", b"other"),
        (b"x-relay-origin", b"duel"),
        (b"x-relay-project", b"mine"),
    )
    found = dict(recorded("/v1/messages?key=secret", *fields).fields)
    assert found.keys() == {
        "anthropic-version",
        "anthropic-beta",
        "content-type",
        "user-agent",
        "x-stainless-lang",
        "x-claude-code-session-id",
        "x-relay-project",
    }
    assert "secret" not in str(recorded("/v1/messages?key=secret", *fields))


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20))))
def test_only_known_fields_whatever_there_is(fields: list[tuple[bytes, bytes]]) -> None:
    assert all(SENT.fullmatch(name) for name, _ in recorded("/v1/messages", *fields).fields)


@pytest.mark.parametrize(("coding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_packed_body_goes_unpacked(coding: bytes, pack: object) -> None:
    packed = pack(BODY)  # type: ignore[operator]
    assert recorded("/v1/messages", (b"Content-Encoding", coding), body=packed).body == BODY
    with pytest.raises(Unusable, match="cannot be uncompressed"):
        recorded("/v1/messages", (b"content-encoding", coding), body=packed[:10])


@pytest.mark.parametrize("body", [None, b""])
def test_a_body_that_was_not_kept(body: bytes | None) -> None:
    with pytest.raises(Unusable, match="was not kept"):
        recorded(body=body)
