"""What Claude sends: answers, events, errors and headers, shaped as https://docs.claude.com/en/api describes them."""

from __future__ import annotations

import json
from collections.abc import Iterable

MODEL = "claude-sonnet-5"
Headers = list[tuple[str, str]]

USAGE = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 12000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 15,
    "service_tier": "standard",
}


def headers(request_id: str = "req_011CTestTestTestTest") -> Headers:
    """What stands beside every answer of Claude's."""
    return [
        ("request-id", request_id),
        ("anthropic-organization-id", "0f3c7f0e-0000-4000-8000-000000000001"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2035-01-01T00:00:00Z"),
        ("anthropic-ratelimit-input-tokens-limit", "2000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
        ("anthropic-ratelimit-input-tokens-reset", "2035-01-01T00:00:00Z"),
        ("Server", "cloudflare"),
        ("CF-RAY", "8f0000000000abcd-FRA"),
    ]


def dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def message(text: str = "Hello!", *, model: str = MODEL, usage: object = None, **more: object) -> dict[str, object]:
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


def error(kind: str, text: str, request_id: str = "req_011CTestTestTestTest") -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}


def event(name: str, data: object) -> bytes:
    """One server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + dump(data) + b"\n\n"


PING = event("ping", {"type": "ping"})
STOP = event("message_stop", {"type": "message_stop"})
BLOCK_START = event(
    "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
)
BLOCK_STOP = event("content_block_stop", {"type": "content_block_stop", "index": 0})


def start(*, model: str = MODEL, usage: dict[str, object] | None = None) -> bytes:
    first = (USAGE if usage is None else usage) | {"output_tokens": 1}
    return event(
        "message_start",
        {"type": "message_start", "message": message(model=model, usage=first, content=[], stop_reason=None)},
    )


def delta(text: str) -> bytes:
    return event(
        "content_block_delta",
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    )


def message_delta(output_tokens: int = 15) -> bytes:
    return event(
        "message_delta",
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": output_tokens},
        },
    )


def events(*texts: str, model: str = MODEL, output_tokens: int = 15) -> list[bytes]:
    """A whole stream that says `texts`, one event an item."""
    words: Iterable[str] = texts or ("Hel", "lo!")
    return [start(model=model), BLOCK_START, PING, *map(delta, words), BLOCK_STOP, message_delta(output_tokens), STOP]


def streamed(whole: dict[str, object], *, piece: int = 12) -> list[bytes]:
    """A whole message as its stream, with blocks of any kind; texts and JSON in pieces of so many characters, pings in between."""
    usage = dict(whole["usage"])  # type: ignore[call-overload]
    begun = whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    found = [event("message_start", {"type": "message_start", "message": begun})]
    for index, block in enumerate(whole["content"]):  # type: ignore[arg-type, var-annotated]
        found += [*block_events(index, block, piece), PING]
    last = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    ending = {"type": "message_delta", "delta": last, "usage": {"output_tokens": usage["output_tokens"]}}
    return [*found, event("message_delta", ending), STOP]


def block_events(index: int, block: dict[str, object], piece: int = 12) -> list[bytes]:
    """One content block: text, thinking or tool_use."""
    empty, deltas = {
        "text": lambda: ({"text": ""}, _pieces("text_delta", "text", str(block["text"]), piece)),
        "thinking": lambda: (
            {"thinking": "", "signature": ""},
            [
                *_pieces("thinking_delta", "thinking", str(block["thinking"]), piece),
                {"type": "signature_delta", "signature": block["signature"]},
            ],
        ),
        "tool_use": lambda: (
            {"input": {}},
            _pieces("input_json_delta", "partial_json", json.dumps(block["input"]), piece),
        ),
    }[str(block["type"])]()
    begin = {"type": "content_block_start", "index": index, "content_block": block | empty}
    return [
        event("content_block_start", begin),
        *(event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": d}) for d in deltas),
        event("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


def _pieces(kind: str, name: str, text: str, size: int) -> list[dict[str, object]]:
    return [{"type": kind, name: text[at : at + size]} for at in range(0, len(text), size)]


def error_event(kind: str = "overloaded_error", text: str = "Overloaded") -> bytes:
    return event("error", {"type": "error", "error": {"type": kind, "message": text}})


def models(*names: str) -> dict[str, object]:
    found = [
        {"type": "model", "id": n, "display_name": n.title(), "created_at": "2026-02-19T00:00:00Z"}
        for n in names or (MODEL,)
    ]
    return {"data": found, "has_more": False, "first_id": found[0]["id"], "last_id": found[-1]["id"]}


HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
