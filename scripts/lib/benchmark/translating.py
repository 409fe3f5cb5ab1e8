"""How long it takes to write a request for a provider of another format, and to read a chunk of its stream: in this process.

    measure_translating(3)   -> [Translating("openai-chat", request=Spread(milliseconds), chunk=Spread(microseconds)), …]

The request is a long agent loop of 400 KB with tools, read from its bytes and written to bytes; the stream has texts and calls, each chunk
in a piece of its own, as they come. What this module must not know: what is fast enough.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Asked
from claude_relay.core.formats.claude.reader import read
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer

from .figures import Spread, Translating

SIZE: Final = 400 * 1024
"""Bytes of the request."""
TURNS: Final = 100
TOOLS: Final = 30
CHUNKS: Final = 1_000
MODELS: Final = {"openai-chat": "gpt-4.1", "openai-responses": "gpt-5.6-sol", "gemini": "gemini-3.6-flash"}


def measure_translating(rounds: int) -> list[Translating]:
    """Each format, so many rounds."""
    body = request_body()
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in MODELS}
    for _ in range(rounds):
        for name, (requests, chunks) in found.items():
            requests.append(request_milliseconds(name, body))
            chunks.append(chunk_microseconds(name))
    return [Translating(name, Spread.of(requests), Spread.of(chunks)) for name, (requests, chunks) in found.items()]


def request_milliseconds(name: str, body: bytes) -> float:
    """From the client's bytes to the provider's."""
    began = time.perf_counter_ns()
    FORMATS[name].request(Asked(read(body), MODELS[name]))
    return (time.perf_counter_ns() - began) / 1e6


def chunk_microseconds(name: str) -> float:
    """The mean over a stream, from the provider's bytes to Claude's."""
    chunks = [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in CHUNKS_OF[name]]
    writer = Writer("claude-sonnet-5", "bench", stream=True)
    translation = Translation(FORMATS[name], writer, {"content-type": "text/event-stream"}, stream=True)
    began = time.perf_counter_ns()
    for chunk in chunks:
        translation.feed(chunk)
    spent = time.perf_counter_ns() - began
    assert writer.has_content
    return spent / len(chunks) / 1000


def request_body() -> bytes:
    """A request with many turns: a call and its result in each."""
    schema = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where."},
            "limit": {"type": ["integer", "null"], "minimum": 1},
            "mode": {"enum": ["read", "write"]},
        },
        "required": ["path"],
    }
    tools = [{"name": f"tool_{n}", "description": "Does it. " * 20, "input_schema": schema} for n in range(TOOLS)]
    messages: list[dict[str, Any]] = []
    text = "x = 1\n" * (SIZE // TURNS // 7)
    for n in range(TURNS):
        call = {"type": "tool_use", "id": f"toolu_{n}", "name": f"tool_{n % TOOLS}", "input": {"path": f"/src/{n}.py"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": [{"type": "text", "text": text}]}
        messages.append({"role": "user", "content": [{"type": "text", "text": f"Step {n}."}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]})
        messages.append({"role": "user", "content": [result]})
    whole = {"model": "claude-sonnet-5", "max_tokens": 8000, "stream": True, "tools": tools, "messages": messages}
    body = json.dumps(whole).encode()
    whole["system"] = "y" * max(0, SIZE - len(body))
    return json.dumps(whole).encode()


def chat_chunks() -> list[Mapping[str, object]]:
    """Texts, and the arguments of a call in pieces."""
    texts: list[Mapping[str, object]] = [
        {"choices": [{"index": 0, "delta": {"content": f" word{n}"}}]} for n in range(CHUNKS // 2)
    ]
    begun = {"index": 0, "id": "call_1", "function": {"name": "tool_1", "arguments": '{"path": "'}}
    pieces = [begun, *({"index": 0, "function": {"arguments": f"part{n}"}} for n in range(CHUNKS // 2))]
    return [*texts, *({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces)]


def responses_chunks() -> list[Mapping[str, object]]:
    """Likewise, as events of items."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "tool_1"}
    at = {"output_index": 0, "content_index": 0}
    return [
        {"type": "response.created", "response": {"model": "m"}},
        *({"type": "response.output_text.delta", **at, "delta": f" word{n}"} for n in range(CHUNKS // 2)),
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"path": "'},
        *({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": f"part{n}"} for n in range(CHUNKS // 2)),
    ]  # fmt: skip


def gemini_chunks() -> list[Mapping[str, object]]:
    """Texts, with a call at the end, which comes whole."""
    parts: list[Mapping[str, object]] = [{"text": f" word{n}"} for n in range(CHUNKS)]
    parts.append({"functionCall": {"name": "tool_1", "args": {"path": "/src"}}})
    return [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]


CHUNKS_OF: Final = {"openai-chat": chat_chunks(), "openai-responses": responses_chunks(), "gemini": gemini_chunks()}
