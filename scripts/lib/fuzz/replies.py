"""What a provider of each format answers when all is well, as JSON values: whole, and as the events of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

type Event = tuple[str, Any]
"""Name (empty: the format has none) and data; data that is text stands as it is."""

MODEL: Final = "@MODEL@"
USAGE: Final = {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1}


def anthropic(stream: bool) -> Any:
    """https://docs.claude.com/en/api/messages"""
    base = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "stop_sequence": None,
        "usage": USAGE,
    }
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"path": "/"}}
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "Hello"},
        use,
    ]
    if not stream:
        return base | {"content": content, "stop_reason": "tool_use"}
    events: list[Event] = [
        ("message_start", {"type": "message_start", "message": base | {"content": [], "stop_reason": None}})
    ]
    events.append(("ping", {"type": "ping"}))
    deltas = (
        [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "c2ln"}],
        [{"type": "text_delta", "text": "Hel"}, {"type": "text_delta", "text": "lo @KEY@"}],
        [
            {"type": "input_json_delta", "partial_json": '{"path":'},
            {"type": "input_json_delta", "partial_json": '"/"}'},
        ],
    )
    empties: list[dict[str, Any]] = [{"thinking": "", "signature": ""}, {"text": ""}, {"input": {}}]
    for index, (block, parts) in enumerate(zip(content, deltas, strict=True)):
        kind = "content_block_"
        empty = empties[index]
        events.append((f"{kind}start", {"type": f"{kind}start", "index": index, "content_block": block | empty}))
        events += [(f"{kind}delta", {"type": f"{kind}delta", "index": index, "delta": part}) for part in parts]
        events.append((f"{kind}stop", {"type": f"{kind}stop", "index": index}))
    delta = {"stop_reason": "tool_use", "stop_sequence": None}
    events.append(("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 4}}))
    return [*events, ("message_stop", {"type": "message_stop"})]


def chat(stream: bool) -> Any:
    """https://platform.openai.com/docs/api-reference/chat"""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"path": "/"}'}}
    base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
    if not stream:
        message = {"role": "assistant", "content": "Hello @KEY@", "tool_calls": [call], "reasoning_content": "hm"}
        return base | {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage}
    deltas: tuple[dict[str, Any], ...] = (
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "Hello"},
        {"tool_calls": [call]},
        {},
    )
    events: list[Event] = [
        ("", base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "tool_calls"}]})
        for delta in deltas
    ]
    return [*events, ("", base | {"choices": [], "usage": usage}), ("", "[DONE]")]


def responses(stream: bool) -> Any:
    """https://platform.openai.com/docs/api-reference/responses"""
    usage = {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}}
    text = {
        "type": "message",
        "id": "m1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello @KEY@", "annotations": []}],
    }
    call = {"type": "function_call", "id": "f1", "call_id": "call_1", "name": "look", "arguments": '{"path": "/"}'}
    reasoning = {
        "type": "reasoning",
        "id": "r1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "x",
    }
    whole = {
        "id": "resp_1",
        "object": "response",
        "model": MODEL,
        "status": "completed",
        "output": [reasoning, text, call],
        "usage": usage,
    }
    if not stream:
        return whole
    events: list[Any] = [{"type": "response.created", "response": whole | {"status": "in_progress", "output": []}}]
    for index, item in enumerate((reasoning, text, call)):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if index == 1:
            events.append(
                {
                    "type": "response.output_text.delta",
                    "item_id": "m1",
                    "output_index": 1,
                    "content_index": 0,
                    "delta": "Hello",
                }
            )
        if index == 2:
            events.append(
                {
                    "type": "response.function_call_arguments.delta",
                    "item_id": "f1",
                    "output_index": 2,
                    "delta": '{"path"',
                }
            )
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    return [(event["type"], event) for event in (*events, {"type": "response.completed", "response": whole})]


def gemini(stream: bool) -> Any:
    """https://ai.google.dev/api/generate-content"""

    def chunk(parts: list[Any], finish: str | None = None) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0} | (
            {"finishReason": finish} if finish else {}
        )
        usage = {
            "promptTokenCount": 9,
            "candidatesTokenCount": 4,
            "cachedContentTokenCount": 2,
            "thoughtsTokenCount": 1,
        }
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": MODEL}

    call = {"functionCall": {"name": "look", "args": {"path": "/"}, "id": "c1"}, "thoughtSignature": "c2ln"}
    parts = [{"text": "hm", "thought": True}, {"text": "Hello @KEY@"}, call]
    if not stream:
        return chunk(parts, "STOP")
    return [("", chunk([part], "STOP" if part is call else None)) for part in parts]


GOOD: Final[dict[str, Callable[[bool], Any]]] = {
    "anthropic": anthropic,
    "openai-chat": chat,
    "openai-responses": responses,
    "gemini": gemini,
}
ERRORS: Final[tuple[Any, ...]] = (
    *(
        {"type": "error", "error": {"type": kind, "message": "m @KEY@"}}
        for kind in ("overloaded_error", "api_error", "rate_limit_error", "x")
    ),
    {
        "error": {
            "message": "Incorrect API key provided: @KEY@",
            "type": "invalid_request_error",
            "code": "invalid_api_key",
        }
    },
    {
        "error": {
            "code": 429,
            "message": "m",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "RetryInfo", "retryDelay": "7s"}],
        }
    },
    *(
        [{"error": {"code": 500}}],
        {"error": "m"},
        {"error": None},
        {"error": []},
        {"message": {"message": "m"}},
        {"detail": "@KEY@"},
    ),
)
EVENT_ERRORS: Final[tuple[Event, ...]] = (
    ("error", ERRORS[0]),
    ("error", {"type": "error"}),
    ("", ERRORS[4]),
    ("response.failed", {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}),
)
