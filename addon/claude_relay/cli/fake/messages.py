"""What Claude says, shaped as https://docs.claude.com/en/api describes it: bodies, events, errors and headers. Pure values.

dump(message("Hello!"))                     the body of a whole answer
b"".join(events("Hel", "lo!"))              the same as a stream
dump(error("api_error", "Oops"))
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

type Headers = dict[str, str]

MODEL = "claude-sonnet-5"
REQUEST_ID = "req_011CTestTestTestTest"
USAGE: Mapping[str, object] = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 12000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 15,
    "service_tier": "standard",
}
CAPACITY = 4000
"""Requests in a minute."""


def dump(value: object) -> bytes:
    """JSON as the API writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


# -- beside every answer


def headers(
    request_id: str = REQUEST_ID, *, remaining: int = CAPACITY - 1, reset: str = "2035-01-01T00:00:00Z"
) -> Headers:
    """What stands beside every answer. `remaining`: requests, until `reset`."""
    return {
        "request-id": request_id,
        "anthropic-organization-id": "0f3c7f0e-0000-4000-8000-000000000001",
        **ratelimit("requests", CAPACITY, remaining, reset),
        **ratelimit("input-tokens", 2_000_000, 1_999_000, reset),
        "Server": "cloudflare",
        "CF-RAY": "8f0000000000abcd-FRA",
    }


def ratelimit(kind: str, limit: int, remaining: int, reset: str) -> Headers:
    """One limit: https://docs.claude.com/en/api/rate-limits#response-headers."""
    prefix = f"anthropic-ratelimit-{kind}-"
    return {prefix + "limit": str(limit), prefix + "remaining": str(remaining), prefix + "reset": reset}


@lru_cache(maxsize=4096)
def moment(when: int) -> str:
    """Seconds since the epoch as RFC 3339."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- bodies


def message(text: str = "Hello!", *, model: str = MODEL, usage: object = None, **more: object) -> dict[str, Any]:
    """A whole message, as `stream: false` gets it."""
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE if usage is None else usage,
    } | more


def error(kind: str, text: str, request_id: str = REQUEST_ID) -> dict[str, object]:
    """An error, as an answer's body and as an event's data: https://docs.claude.com/en/api/errors."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}


def models(*names: str) -> dict[str, Any]:
    """The list of models."""
    found = [
        {"type": "model", "id": n, "display_name": n.title(), "created_at": "2026-02-19T00:00:00Z"}
        for n in names or (MODEL,)
    ]
    return {"data": found, "has_more": False, "first_id": found[0]["id"], "last_id": found[-1]["id"]}


HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
"""What a middlebox says."""


# -- events


def event(name: str, data: Mapping[str, object] | None = None) -> bytes:
    """One server-sent event; its data has the name as `type`."""
    return b"event: " + name.encode() + b"\ndata: " + dump({"type": name, **(data or {})}) + b"\n\n"


PING = event("ping")
STOP = event("message_stop")
BLOCK_START = event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
BLOCK_STOP = event("content_block_stop", {"index": 0})


def start(*, model: str = MODEL, usage: Mapping[str, object] | None = None) -> bytes:
    """The first event, of a message without content."""
    return begun(message(model=model, usage=dict(USAGE if usage is None else usage)))


def begun(whole: Mapping[str, Any]) -> bytes:
    """The first event of a message."""
    usage = {**whole["usage"], "output_tokens": 1}
    return event("message_start", {"message": {**whole, "content": [], "stop_reason": None, "usage": usage}})


def delta(text: str) -> bytes:
    """Some text."""
    return event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})


def message_delta(output_tokens: int = 15, stop_reason: object = "end_turn", stop_sequence: object = None) -> bytes:
    """The last but one event: why the message ends, and what it came to."""
    ending = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
    return event("message_delta", {"delta": ending, "usage": {"output_tokens": output_tokens}})


def events(*texts: str, model: str = MODEL, output_tokens: int = 15) -> list[bytes]:
    """A whole stream that says `texts`, one event an item."""
    words = texts or ("Hel", "lo!")
    return [start(model=model), BLOCK_START, PING, *map(delta, words), BLOCK_STOP, message_delta(output_tokens), STOP]


def streamed(whole: Mapping[str, Any], *, piece: int = 12) -> list[bytes]:
    """A whole message as its stream, with blocks of any kind; texts and JSON in pieces of so many characters, pings in between."""
    found = [begun(whole)]
    for index, block in enumerate(whole["content"]):
        found += [*block_events(index, block, piece), PING]
    return [
        *found,
        message_delta(whole["usage"]["output_tokens"], whole["stop_reason"], whole["stop_sequence"]),
        STOP,
    ]


def block_events(index: int, block: Mapping[str, Any], piece: int = 12) -> list[bytes]:
    """One content block: text, thinking or tool_use."""
    empty, deltas = _parts(block, piece)
    return [
        event("content_block_start", {"index": index, "content_block": {**block, **empty}}),
        *(event("content_block_delta", {"index": index, "delta": part}) for part in deltas),
        event("content_block_stop", {"index": index}),
    ]


def _parts(block: Mapping[str, Any], piece: int) -> tuple[dict[str, object], list[dict[str, object]]]:
    """What a block is at first, and what comes to it."""
    match block["type"]:
        case "text":
            return {"text": ""}, _pieces("text_delta", "text", block["text"], piece)
        case "thinking":
            thoughts = _pieces("thinking_delta", "thinking", block["thinking"], piece)
            signed: dict[str, object] = {"type": "signature_delta", "signature": block["signature"]}
            return {"thinking": "", "signature": ""}, [*thoughts, signed]
        case _:
            return {"input": {}}, _pieces("input_json_delta", "partial_json", json.dumps(block["input"]), piece)


def _pieces(kind: str, name: str, text: str, size: int) -> list[dict[str, object]]:
    return [{"type": kind, name: text[at : at + size]} for at in range(0, len(text), size)]


def error_event(kind: str = "overloaded_error", text: str = "Overloaded") -> bytes:
    """An error in a stream."""
    return event("error", {"error": {"type": kind, "message": text}})
