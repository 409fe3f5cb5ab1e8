"""The bytes that the benchmark asks with: requests as Claude Code sends them, orders in them for the upstream (`upstream`).

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

from claude_relay.cli.fake.messages import MODEL, dump

MESSAGES: Final = "/v1/messages?beta=true"
COUNT_TOKENS: Final = "/v1/messages/count_tokens?beta=true"
CLIENT_KEY: Final = "sk-ant-bench-client"
KEY_REFUSED: Final = "sk-ant-bench-refused"
"""The upstream answers 401 to this key where it is asked for faults."""

ORDER_HEADER: Final = "x-bench"
"""Tells the upstream how to answer: `events=200 rate=20`, `faults`."""
SENT: Final = re.compile(rb"sent=(\d+);")
"""The time stamp in an event: nanoseconds of the machine's monotonic clock."""

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
LINE: Final = 'Look at "src/main.py" and say why the test fails.\n'


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
