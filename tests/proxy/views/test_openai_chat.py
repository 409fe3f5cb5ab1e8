"""Pages of Chat Completions."""

from __future__ import annotations

import json
from typing import Any

from claude_relay.proxy.views.openai_chat import ANSWERS, show_request
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen

CALL = {"id": "call_1", "type": "function", "function": {"name": "ls", "arguments": '{"path": "/tmp", "deep": true}'}}
REQUEST: dict[str, Any] = {
    "model": "gpt-5.1",
    "stream": True,
    "reasoning_effort": "high",
    "messages": [
        {"role": "system", "content": "Be kind"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 4000}"}},
                {"type": "image_url", "image_url": "https://a.example/b.png"},
                {"type": "input_audio", "input_audio": {"format": "wav", "data": "A" * 400}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{'A' * 400}"},
                },
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a\nb"},
    ],
    "tools": [{"type": "function", "function": {"name": "ls", "parameters": {}}}],
}
PAGE = """\
model: gpt-5.1
stream: true
reasoning_effort: high
tools: [ls] # 1, 68 B
messages:
  - tool: # 4 of 4, 61 B
      tool_call_id: call_1
      content: |-
        a
        b
  - assistant: # 3 of 4, 173 B
      tool_calls:
        - function: ls # call_1
          input:
            path: /tmp
            deep: true
  - user: # 2 of 4, 5.2 KB
      - text: see
      - image: image/png, 3.0 KB
      - image: https://a.example/b.png
      - audio: wav, 300 B
      - file: application/pdf, 300 B # a.pdf
  - system: Be kind # 1 of 4, 40 B
"""


def without_title(found: tuple[str, Any] | None) -> str:
    assert found is not None
    return page(*found).partition("\n")[2]


def test_a_request() -> None:
    assert without_title(show_request(json.dumps(REQUEST).encode(), Seen())) == PAGE


MESSAGE = {
    "role": "assistant",
    "content": "Hello\nthere",
    "reasoning_content": "hm",
    "tool_calls": [CALL],
    "annotations": [],
}
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}
ANSWER = {
    "id": "c", "object": "chat.completion", "model": "gpt-5.1", "usage": USAGE,
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls", "logprobs": None}],
}  # fmt: skip
ANSWERED = """\
model: gpt-5.1
usage: {prompt_tokens: 20, completion_tokens: 5,
  prompt_tokens_details: {cached_tokens: 8}}
choices:
  - finish_reason: tool_calls
    reasoning_content: hm
    content: |-
      Hello
      there
    tool_calls:
      - function: ls # call_1
        input:
          path: /tmp
          deep: true
"""


def chunk(delta: object, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return (
        b"data: "
        + json.dumps({"object": "chat.completion.chunk", "model": "gpt-5.1", "choices": [choice], **more}).encode()
        + b"\n\n"
    )


def call(index: int = 0, **more: object) -> dict[str, object]:
    return {"tool_calls": [{"index": index, **more}]}


STREAM = [
    chunk({"role": "assistant", "content": "", "reasoning_content": "h"}),
    chunk({"reasoning_content": "m"}),
    chunk({"content": "Hello\n"}),
    chunk({"content": "there"}),
    chunk(call(id="call_1", type="function", function={"name": "ls", "arguments": ""})),
    chunk(call(function={"arguments": '{"path": "/tm'})),
    chunk(call(function={"arguments": 'p", "deep": true}'})),
    chunk({}, "tool_calls"),
    b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n",
    b"data: [DONE]\n\n",
]


def test_a_whole_answer() -> None:
    assert without_title(ANSWERS.show(json.dumps(ANSWER).encode(), Seen())) == ANSWERED


def test_a_streamed_answer_has_the_same_page() -> None:
    assert without_title(ANSWERS.show(b"".join(STREAM), Seen())) == ANSWERED


def test_a_stream_that_breaks_off() -> None:
    found = ANSWERS.show(b"".join(STREAM[:6]), Seen())
    assert found is not None
    assert found[0].endswith("it breaks off before its end")
    assert "path: /tm\n" in page(*found)


def test_several_choices_and_calls() -> None:
    first = chunk(call(0, id="a", function={"name": "x", "arguments": "{}"}))
    second = chunk(call(1, id="b", function={"name": "y", "arguments": "{}"}))
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "two"}, "finish_reason": "stop"}]}\n\n'
    text = without_title(ANSWERS.show(first + second + other, Seen()))
    assert "x # a" in text
    assert "y # b" in text
    assert "content: two" in text


def test_an_error_in_the_stream() -> None:
    assert "error: {message: Oops}" in without_title(
        ANSWERS.show(STREAM[0] + b'data: {"error": {"message": "Oops"}}\n\n', Seen())
    )


def test_a_huge_stream() -> None:
    text = without_title(ANSWERS.show(b"".join([chunk({"content": "word "})] * 20_000 + STREAM[-3:]), Seen()))
    assert "are not shown" in text
    assert "finish_reason: tool_calls" in text
    assert "completion_tokens: 5" in text
