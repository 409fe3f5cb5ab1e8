"""What providers of other formats answer, as steps of a `FakeUpstream`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from . import steps
from .steps import Part
from .upstream import Step


def data(value: object) -> bytes:
    """One event of a stream without names."""
    return f"data: {json.dumps(value)}\n\n".encode()


def named(value: Mapping[str, object]) -> bytes:
    """One event whose name is its type."""
    return f"event: {value['type']}\n".encode() + data(value)


def json_answer(value: object, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Step:
    return steps.answer([json.dumps(value).encode()], status=status, headers=[("x-request-id", "req-theirs"), *headers])


def events(parts: Sequence[Part]) -> Step:
    return steps.answer(
        parts, content_type="text/event-stream", framing="chunked", headers=[("x-request-id", "req-theirs")]
    )


# -- Chat Completions


def chat(text: str = "Hello!", *, model: str = "gpt-5.1") -> Step:
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json_answer(
        {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    )


def chat_chunk(delta: Mapping[str, object], finish: str | None = None, model: str = "gpt-5.1") -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return data({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model, "choices": [choice]})


CHAT_START = chat_chunk({"role": "assistant", "content": ""})
CHAT_USAGE = data(
    {
        "choices": [],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}},
    }
)
DONE = b"data: [DONE]\n\n"


def chat_stream(*parts: Part) -> Step:
    said = parts or (chat_chunk({"content": "Hel"}), chat_chunk({"content": "lo!"}))
    return events([CHAT_START, *said, chat_chunk({}, "stop"), CHAT_USAGE, DONE])


def openai_error(status: int, code: str, text: str, headers: Sequence[tuple[str, str]] = ()) -> Step:
    return json_answer({"error": {"message": text, "type": "some_error", "param": None, "code": code}}, status, headers)


# -- Gemini


def gemini_chunk(parts: Sequence[Mapping[str, object]], finish: str | None = None) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 30, "cachedContentTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3-pro-001"}


def gemini_call(name: str, args: Mapping[str, object], signature: str) -> dict[str, object]:
    return {"functionCall": {"name": name, "args": dict(args), "id": "call-theirs"}, "thoughtSignature": signature}


def gemini_stream(*chunks: Mapping[str, object]) -> Step:
    return events([data(chunk) for chunk in chunks])


def gemini_exhausted() -> Step:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    error = {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": [retry]}
    return json_answer({"error": error}, 429)


# -- Responses


def responses(output: Sequence[Mapping[str, object]], model: str = "gpt-5.1") -> Step:
    """An answer that is not streamed."""
    return json_answer(_response(output, model))


def _response(output: Sequence[Mapping[str, object]], model: str) -> dict[str, object]:
    usage = {"input_tokens": 40, "input_tokens_details": {"cached_tokens": 15}, "output_tokens": 9}
    response = {"id": "resp_1", "object": "response", "model": model, "status": "completed"}
    return response | {"output": list(output), "usage": usage}


def responses_stream(output: Sequence[Mapping[str, object]], model: str = "gpt-5.1") -> Step:
    """The items of an answer, each told whole, as the last events of its making."""
    begun: list[Part] = [
        named({"type": "response.created", "response": {"id": "resp_1", "model": model, "status": "in_progress"}})
    ]
    for index, item in enumerate(output):
        begun.append(
            named({"type": "response.output_item.added", "output_index": index, "item": {**item, "arguments": ""}})
        )
        begun.append(named({"type": "response.output_item.done", "output_index": index, "item": item}))
    return events([*begun, named({"type": "response.completed", "response": _response(output, model)})])
