"""Pages of the Responses API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.proxy.views.openai_responses import ANSWERS, show_request
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen

CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "ls", "arguments": '{"path": "/tmp"}'}
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "I think"}],
    "encrypted_content": "x" * 2000,
}
REQUEST: dict[str, Any] = {
    "model": "gpt-5.1",
    "instructions": "Be kind",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "https://a.example/b"},
            ],
        },
        REASONING,
        CALL,
        {"type": "function_call_output", "call_id": "call_1", "output": "a\nb"},
        {"type": "hologram", "depth": 3},
        {"role": "user", "content": "and?"},
    ],
    "tools": [{"type": "function", "name": "ls"}, {"type": "web_search"}],
    "reasoning": {"effort": "high"},
    "max_output_tokens": 500,
}
PAGE = """\
model: gpt-5.1
max_output_tokens: 500
reasoning: {effort: high}
instructions: Be kind # 7 B
tools: [ls, web_search] # 2, 60 B
input:
  - user: and? # 6 of 6, 35 B
  - hologram: # 5 of 6, 32 B
      depth: 3
  - function_call_output: # 4 of 6, 71 B
      call_id: call_1
      output: |-
        a
        b
  - function_call: # 3 of 6, 111 B
      name: ls # call_1
      arguments:
        path: /tmp
  - reasoning: # 2 of 6, 2.1 KB
      summary:
        - summary_text: I think
      encrypted_content: … # 2.0 KB
  - user: # 1 of 6, 129 B
      - input_text: see
      - input_image: https://a.example/b
"""


def without_title(found: tuple[str, Any] | None) -> str:
    assert found is not None
    return page(*found).partition("\n")[2]


def test_a_request() -> None:
    assert without_title(show_request(json.dumps(REQUEST).encode(), Seen())) == PAGE


def test_an_input_of_one_text() -> None:
    assert without_title(show_request(b'{"model": "m", "input": "Hello"}', Seen())) == "model: m\ninput: Hello\n"


OUTPUT = [
    REASONING,
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello\nthere"}]},
    CALL,
]
USAGE = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}
ANSWER = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5.1",
    "output": OUTPUT,
    "usage": USAGE,
    "error": None,
}
ANSWERED = """\
model: gpt-5.1
status: completed
usage: {input_tokens: 20, output_tokens: 5, total_tokens: 25}
output:
  - reasoning:
      summary:
        - summary_text: I think
      encrypted_content: … # 2.0 KB
  - assistant:
      - output_text: |-
          Hello
          there
  - function_call:
      name: ls # call_1
      arguments:
        path: /tmp
"""


def event(kind: str, **more: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **more}).encode() + b"\n\n"


DELTAS = [
    event("response.created", response={"model": "gpt-5.1", "status": "in_progress", "output": []}),
    event("response.output_item.added", output_index=0, item={"type": "message", "role": "assistant", "content": []}),
    event("response.output_text.delta", output_index=0, content_index=0, delta="Hello\n"),
    event("response.output_text.delta", output_index=0, content_index=0, delta="there"),
    event(
        "response.output_item.added",
        output_index=1,
        item={"type": "function_call", "call_id": "call_1", "name": "ls", "arguments": ""},
    ),
    event("response.function_call_arguments.delta", output_index=1, delta='{"path": "/t'),
]


def test_a_whole_answer() -> None:
    assert without_title(ANSWERS.show(json.dumps(ANSWER).encode(), Seen())) == ANSWERED


@pytest.mark.parametrize("kind", ["response.completed", "response.done"])
def test_the_last_event_holds_all(kind: str) -> None:
    found = ANSWERS.show(b"".join([*DELTAS, event(kind, response=ANSWER)]), Seen())
    assert without_title(found) == ANSWERED
    assert found is not None
    assert "breaks off" not in found[0]


def test_a_stream_that_breaks_off() -> None:
    found = ANSWERS.show(b"".join(DELTAS), Seen())
    assert found is not None
    assert found[0].endswith("it breaks off before its end")
    text = without_title(found)
    assert "- assistant:\n      - output_text: |-\n          Hello\n          there\n" in text
    assert "- function_call:\n      name: ls # call_1\n      arguments:\n        path: /t\n" in text


def test_items_that_were_told_whole_count() -> None:
    done = event("response.output_item.done", output_index=0, item=OUTPUT[1])
    assert without_title(ANSWERS.show(b"".join([*DELTAS[:3], done]), Seen())).count("Hello") == 1


def test_pieces_without_their_item() -> None:
    text = without_title(
        ANSWERS.show(
            DELTAS[2] + event("response.function_call_arguments.delta", output_index=5, delta='{"a": 1}'), Seen()
        )
    )
    assert "output_text" in text
    assert "a: 1" in text


def test_an_error_in_the_stream() -> None:
    text = without_title(ANSWERS.show(b"".join([*DELTAS[:3], event("error", message="Oops", code="x")]), Seen()))
    assert "message: Oops" in text
    assert "Hello" in text


def test_a_huge_stream() -> None:
    many = [event("response.output_text.delta", output_index=0, content_index=0, delta="word ")] * 20_000
    end = event(
        "response.completed",
        response={**ANSWER, "output": [{"type": "message", "role": "assistant", "content": "x" * 300_000}]},
    )
    text = without_title(ANSWERS.show(b"".join([*DELTAS[:2], *many, end]), Seen()))
    assert "word word" in text
    assert "output_tokens: 5" in text
