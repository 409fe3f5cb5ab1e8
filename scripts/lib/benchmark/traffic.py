"""The bytes of the benchmark: requests as Claude Code sends them, answers as Claude gives them.

They are made once and sent many times, so that making them costs the measured run nothing. What this module must not know: sockets,
clocks, processes.

>>> len(request(8080, 2048).partition(b"\\r\\n\\r\\n")[2])
2048
"""

from __future__ import annotations

import functools
import json
import re
from typing import Final

MODEL: Final = "claude-sonnet-5"
MESSAGES: Final = "/v1/messages?beta=true"
COUNT_TOKENS: Final = "/v1/messages/count_tokens?beta=true"
CLIENT_KEY: Final = "sk-ant-bench-client"
KEY_REFUSED: Final = "sk-ant-bench-refused"
"""The upstream answers 401 to this key where it is asked for faults."""

ORDER_HEADER: Final = "x-bench"
"""Tells the upstream how to answer: `events=200 rate=20`, `faults`."""
SENT: Final = re.compile(rb"sent=(\d+);")
"""The time stamp in an event: nanoseconds of the machine's monotonic clock."""
LAST_CHUNK: Final = b"0\r\n\r\n"

CLIENT_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Content-Type": "application/json",
    "User-Agent": "claude-cli/2.1.330 (external, cli)",
    "X-Stainless-Arch": "x64",
    "X-Stainless-Lang": "js",
    "X-Stainless-OS": "Linux",
    "X-Stainless-Package-Version": "0.91.0",
    "X-Stainless-Retry-Count": "0",
    "X-Stainless-Runtime": "node",
    "X-Stainless-Timeout": "600",
    "anthropic-beta": "claude-code-20250219,context-management-2025-06-27,interleaved-thinking-2025-05-14,effort-2025-11-24",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-version": "2023-06-01",
    "x-api-key": CLIENT_KEY,
    "x-app": "cli",
}
UPSTREAM_HEADERS: Final = {
    "anthropic-organization-id": "0b9d3d1e-5f0a-4a39-9d5e-8f2f5c2f7a11",
    "anthropic-ratelimit-input-tokens-limit": "2000000",
    "anthropic-ratelimit-input-tokens-remaining": "1999000",
    "anthropic-ratelimit-input-tokens-reset": "2100-01-01T00:00:00Z",
    "anthropic-ratelimit-output-tokens-limit": "400000",
    "anthropic-ratelimit-output-tokens-remaining": "399000",
    "anthropic-ratelimit-output-tokens-reset": "2100-01-01T00:00:00Z",
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2100-01-01T00:00:00Z",
    "cf-cache-status": "DYNAMIC",
    "server": "bench",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
}
REASONS: Final = {
    200: "OK",
    401: "Unauthorized",
    429: "Too Many Requests",
    500: "Internal Server Error",
    529: "Overloaded",
}
LINE: Final = 'Look at "src/main.py" and say why the test fails.\n'
USAGE: Final = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 340,
    "cache_read_input_tokens": 11_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 340, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
}


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


# -- requests


def request(
    port: int, size: int, *, path: str = MESSAGES, stream: bool = False, order: str = "", client: int = 0
) -> bytes:
    """A whole request with a body of `size` bytes (at least ~500). `client` tells sessions apart."""
    body = request_body(size, stream, client)
    headers = {"Host": f"127.0.0.1:{port}"} | CLIENT_HEADERS | ({ORDER_HEADER: order} if order else {})
    lines = [f"POST {path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items()), f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@functools.lru_cache(maxsize=1024)
def request_body(size: int, stream: bool, client: int = 0) -> bytes:
    """A conversation of that many bytes."""
    turns = 2 * (size // 8192) + 1
    who = {"device_id": "d" * 64, "account_uuid": "", "session_id": f"00000000-0000-4000-8000-{client:012d}"}
    body = {
        "model": MODEL,
        "messages": [
            {"role": "assistant" if n % 2 else "user", "content": [{"type": "text", "text": ""}]} for n in range(turns)
        ],
        "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
        "max_tokens": 32_000,
        "metadata": {"user_id": json.dumps(who)},
    } | ({"stream": True} if stream else {})
    missing = max(0, size - len(dump(body)))
    line = len(json.dumps(LINE)) - 2
    for message in body["messages"]:  # type: ignore[attr-defined]
        message["content"][0]["text"] = LINE * (missing // turns // line)
    body["messages"][0]["content"][0]["text"] += "." * max(0, size - len(dump(body)))  # type: ignore[index]
    return dump(body)


# -- answers


def head(status: int, content_type: str, number: int, framing: str) -> bytes:
    """The head of an answer; `framing`: the header that says where the body ends."""
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        f"Content-Type: {content_type}",
        framing,
        f"request-id: req_bench_{number}",
    ]
    return "\r\n".join([*lines, *(f"{n}: {v}" for n, v in UPSTREAM_HEADERS.items())]).encode() + b"\r\n\r\n"


def message() -> bytes:
    """A whole answer's body."""
    content = [{"type": "text", "text": LINE * 4}]
    return dump(_message(content, "end_turn", 96))


def _message(content: list[dict[str, str]], stop_reason: str | None, output_tokens: int) -> dict[str, object]:
    usage = USAGE | {"output_tokens": output_tokens}
    same = {"id": "msg_bench", "type": "message", "role": "assistant", "model": MODEL, "stop_sequence": None}
    return same | {"content": content, "stop_reason": stop_reason, "usage": usage}


def error(kind: str, text: str) -> bytes:
    """An error in Claude's shape."""
    return dump({"type": "error", "error": {"type": kind, "message": text}})


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(name: str, **data: object) -> bytes:
    """One server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dump({"type": name} | data))


OPENING: Final = event("message_start", message=_message([], None, 1)) + event("ping")
BLOCK: Final = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
CLOSING: Final = (
    event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 96})
    + event("message_stop")
)


def delta(sent: int) -> bytes:
    """An event of text that carries the time at which it was sent."""
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"a few words, sent={sent}; "})
