"""The page of Claude's answers: streamed or whole, it is the same."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.cli.fake import messages as fake
from claude_relay.proxy.views.claude_answer import ANSWERS, page_of
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen

CONTENT: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Let me see.\nYes.", "signature": "abc" * 100},
    {"type": "text", "text": "Here:\n  it is"},
    {"type": "tool_use", "id": "toolu_9", "name": "Edit", "input": {"path": "/a", "new": "x = 1\ny = 2", "n": [1]}},
]
USAGE = {"input_tokens": 25, "cache_read_input_tokens": 12000, "output_tokens": 15}
MESSAGE = fake.message(content=CONTENT, stop_reason="tool_use", usage=USAGE)
SEEN = Seen(
    "/v1/messages",
    answer=True,
    status=200,
    story="k1 · claude-sonnet-5",
    noted={"cost_usd": "0.020000"},
    first_byte=0.5,
    whole=2.0,
)
PAGE = """\
model: claude-sonnet-5
stop_reason: tool_use
usage: {input_tokens: 25, cache_read_input_tokens: 12000, output_tokens: 15}
story: k1 · claude-sonnet-5
relay: {cost: 0.020000 USD}
times: {first byte: 0.50 s, whole: 2.00 s}
content:
  - thinking: |- # signature: 300 B
      Let me see.
      Yes.
  - text: |-
      Here:
        it is
  - tool_use: Edit # toolu_9
    input:
      path: /a
      new: |-
        x = 1
        y = 2
      n:
        - 1
"""


def shown(data: bytes, seen: Seen = SEEN) -> str:
    found = ANSWERS.show(data, seen)
    assert found is not None
    return page(*found)


def without_title(text: str) -> str:
    return text.partition("\n")[2]


def test_a_whole_answer() -> None:
    text = shown(fake.dump(MESSAGE))
    assert text.startswith("# answer of Claude, ")
    assert without_title(text) == PAGE


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_streamed_answer_has_the_same_page(piece: int) -> None:
    events = fake.streamed(MESSAGE, piece=piece)
    text = shown(b"".join(events))
    assert text.startswith(f"# answer of Claude, streamed in {len(events)} events, ")
    assert without_title(text) == PAGE


def test_a_stream_that_breaks_off_shows_what_came() -> None:
    stream = b"".join(fake.streamed(MESSAGE, piece=4))
    text = shown(stream[: stream.index(b"y = 2") + 20] if b"y = 2" in stream else stream[: -len(fake.STOP) - 300])
    assert "; it breaks off before its end\n" in text
    assert "tool_use: Edit # toolu_9" in text
    assert "path: /a" in text


def test_every_cut_can_be_shown() -> None:
    stream = b"".join(fake.streamed(MESSAGE))
    for at in range(60, len(stream), 3):
        shown(stream[:at])


def test_an_error_in_the_stream() -> None:
    text = shown(b"".join([*fake.events()[:4], fake.error_event()]))
    assert "error: {type: overloaded_error, message: Overloaded}" in text
    assert "breaks off" not in text
    assert "- text: Hel\n" in text


def test_citations_come_in_deltas() -> None:
    delta = {"index": 0, "delta": {"type": "citations_delta", "citation": {"url": "https://a.example"}}}
    text = shown(b"".join([fake.start(), fake.BLOCK_START, fake.delta("x"), fake.event("content_block_delta", delta)]))
    assert "- text: x\n    citations:\n      - url: https://a.example\n" in text


def test_of_a_huge_stream_both_ends_are_shown() -> None:
    text = shown(b"".join(fake.events(*["first "] * 10, *["word "] * 30_000, *["last "] * 3)))
    assert "streamed in many events" in text
    assert "stop_reason: end_turn" in text
    assert "output_tokens: 15" in text
    assert "first first" in text
    assert "of the stream are not shown" in text
    assert "last last last" in text


def test_blocks_without_a_beginning() -> None:
    text = shown(
        b"".join(
            [
                fake.delta("words"),
                fake.event("content_block_delta", {"index": 4, "delta": {"partial_json": '{"a": "b'}}),
            ]
        )
    )
    assert "- text: words\n" in text
    assert '- tool_use: "?"\n    input:\n      a: b\n' in text


def test_a_message_of_a_batch() -> None:
    assert list(page_of(MESSAGE)) == ["model", "stop_reason", "usage", "content"]
    assert page_of({"usage": 3, "content": None, "container": {"id": "c"}}).keys() == {"usage", "content", "container"}
