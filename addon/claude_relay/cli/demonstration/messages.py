"""What Claude answers, shaped as https://docs.claude.com/en/api describes it: messages, events, errors, headers.

    b"".join(events("req_demo_1", SONNET, "Hello!", usage))      # a whole stream
    error("authentication_error", "invalid x-api-key", "req_demo_2")

Pure values; sending them is `upstream`'s part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

type Headers = dict[str, str]
type Usage = Mapping[str, object]

CAPACITY = 4000
CACHED_TOKENS = 8421
"""What system prompt and tools of a coding assistant come to, roughly; the first request with a key writes them to the cache."""

ANSWERS = (
    "The first key was not accepted, the second one was at its limit and the third one was overloaded for a moment.",
    "The next one that is ready. They take turns.",
    "Nothing of the failed try has reached you, so it was simply made again.",
    "Only this upstream. Everybody else has seen an alias.",
    "In pieces, as they are made.",
    "Then it is held until it is whole, because only then is it clear that it is good.",
    "At the second it named, and not before.",
    "No. It has asked once and got one answer.",
    "Its tokens, its tries and its times, before the last byte of the answer leaves.",
    "With a table.",
)


def dump(value: object) -> bytes:
    """JSON as the API writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def headers(request_id: str, remaining: int, reset: float) -> Headers:
    """What stands beside every answer. `reset`: seconds since the epoch."""
    when = datetime.fromtimestamp(reset, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "request-id": request_id,
        "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
        "anthropic-ratelimit-requests-limit": str(CAPACITY),
        "anthropic-ratelimit-requests-remaining": str(remaining),
        "anthropic-ratelimit-requests-reset": when,
    }


def error(kind: str, text: str, request_id: str) -> dict[str, object]:
    """An error, as an answer's body and as an event's data."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}


def usage(question: bytes, *, cached: bool) -> dict[str, object]:
    """What a request costs on its way in."""
    written = 0 if cached else CACHED_TOKENS
    return {
        "input_tokens": tokens(len(question)),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": CACHED_TOKENS if cached else 0,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }


def tokens(length: int) -> int:
    """About how many tokens so many bytes of text are."""
    return max(1, length // 4)


def message(request_id: str, model: str, text: str, spent: Usage) -> dict[str, object]:
    """A whole message, as `stream: false` gets it."""
    return _message(request_id, model, spent) | {
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {**spent, "output_tokens": tokens(len(text))},
    }


def events(request_id: str, model: str, text: str, spent: Usage) -> Iterator[bytes]:
    """The same message as a stream, one event an item, one word a delta."""
    start = _message(request_id, model, {**spent, "output_tokens": 1})
    yield event("message_start", {"message": start})
    yield event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    yield event("ping", {})
    for word in text.split(" "):
        yield event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": word + " "}})
    yield event("content_block_stop", {"index": 0})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", {"delta": delta, "usage": {"output_tokens": tokens(len(text))}})
    yield event("message_stop", {})


def event(name: str, data: Mapping[str, object]) -> bytes:
    """One server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + dump({"type": name, **data}) + b"\n\n"


def models(names: tuple[str, ...]) -> dict[str, object]:
    """The list of models."""
    found = [
        {"type": "model", "id": name, "display_name": name.title(), "created_at": "2026-01-01T00:00:00Z"}
        for name in names
    ]
    return {"data": found, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def _message(request_id: str, model: str, spent: Usage) -> dict[str, object]:
    return {
        "id": request_id.replace("req", "msg", 1),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": dict(spent),
    }
