"""Pages of Gemini's requests and answers."""

from __future__ import annotations

import json
from typing import Any

from claude_relay.proxy.views.gemini import ANSWERS, show_request
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen

REQUEST: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "see"}, {"inlineData": {"mimeType": "image/png", "data": "A" * 4000}}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "ls", "args": {"path": "/tmp"}, "id": "c1"}, "thoughtSignature": "x" * 90}
            ],
        },
        {
            "parts": [
                {"functionResponse": {"name": "ls", "response": {"output": "a\nb"}}},
                {"file_data": {"file_uri": "gs://a/b"}},
            ]
        },
    ],
    "systemInstruction": {"parts": [{"text": "Be kind"}]},
    "tools": [{"functionDeclarations": [{"name": "ls"}, {"name": "cat"}]}, {"googleSearch": {}}],
    "generationConfig": {"maxOutputTokens": 500, "thinkingConfig": {"thinkingBudget": 100}},
}
PAGE = """\
generationConfig: {maxOutputTokens: 500, thinkingConfig: {thinkingBudget: 100}}
systemInstruction: Be kind # 7 B
tools: [ls, cat, googleSearch] # 3, 83 B
contents:
  - user: # 3 of 3, 122 B
      - functionResponse: ls
        response:
          output: |-
            a
            b
      - fileData: gs://a/b
  - model: # 2 of 3, 214 B
      - functionCall: ls # c1
        input:
          path: /tmp
        thoughtSignature: … # 90 B
  - user: # 1 of 3, 4.1 KB
      - text: see
      - inlineData: image/png, 3.0 KB
"""


def without_title(found: tuple[str, Any] | None) -> str:
    assert found is not None
    return page(*found).partition("\n")[2]


def test_a_request() -> None:
    assert without_title(show_request(json.dumps(REQUEST).encode(), Seen())) == PAGE


USAGE = {"promptTokenCount": 30, "candidatesTokenCount": 4, "thoughtsTokenCount": 3}
CALL = {"functionCall": {"name": "ls", "args": {"path": "/tmp"}}}


def chunk(*parts: object, finish: str | None = None) -> dict[str, object]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0} | (
        {"finishReason": finish} if finish else {}
    )
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-3-pro"}


CHUNKS = [
    chunk({"text": "h", "thought": True}),
    chunk({"text": "m", "thought": True}),
    chunk({"text": "Hello\n"}),
    chunk({"text": "there"}),
    chunk(CALL, finish="STOP"),
]
ANSWER = chunk({"text": "hm", "thought": True}, {"text": "Hello\nthere"}, CALL, finish="STOP")
ANSWERED = """\
model: gemini-3-pro
usage: {promptTokenCount: 30, candidatesTokenCount: 4, thoughtsTokenCount: 3}
candidates:
  - finishReason: STOP
    parts:
      - thought: hm
      - text: |-
          Hello
          there
      - functionCall: ls
        input:
          path: /tmp
"""


def stream(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in chunks)


def test_a_whole_answer() -> None:
    assert without_title(ANSWERS.show(json.dumps(ANSWER).encode(), Seen())) == ANSWERED


def test_a_streamed_answer_has_the_same_page() -> None:
    assert without_title(ANSWERS.show(stream(*CHUNKS), Seen())) == ANSWERED
    assert without_title(ANSWERS.show(json.dumps(CHUNKS, indent=1).encode(), Seen())) == ANSWERED


def test_a_stream_that_breaks_off() -> None:
    found = ANSWERS.show(stream(*CHUNKS[:3]), Seen())
    assert found is not None
    assert found[0].endswith("it breaks off before its end")
    assert "text: |\n          Hello\n" in page(*found)


def test_a_prompt_that_was_refused() -> None:
    found = ANSWERS.show(stream({"promptFeedback": {"blockReason": "SAFETY"}}), Seen())
    assert "promptFeedback: {blockReason: SAFETY}" in without_title(found)
    assert found is not None
    assert "breaks off" not in found[0]


def test_a_huge_stream() -> None:
    text = without_title(ANSWERS.show(stream(*[chunk({"text": "word "})] * 20_000, CHUNKS[-1]), Seen()))
    assert "are not shown" in text
    assert "finishReason: STOP" in text
    assert "functionCall: ls" in text
