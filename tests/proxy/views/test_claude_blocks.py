"""Claude's content blocks."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.proxy.views.claude_blocks import block, cache_mark, content
from claude_relay.proxy.views.page import page

BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"type": "text", "text": "Hi"}, "text: Hi\n"),
    "a mark of the cache": (
        {"type": "text", "text": "a\nb", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        "text: |-\n  a\n  b\ncache_control: {type: ephemeral, ttl: 1h}\n".replace("ttl: 1h", 'ttl: "1h"'),
    ),
    "a citation": (
        {
            "type": "text",
            "text": "Hi",
            "citations": [{"type": "web", "url": "https://a.example", "encrypted_index": "x" * 50}],
        },
        "text: Hi\ncitations:\n  - type: web\n    url: https://a.example\n    encrypted_index: … # 50 B\n",
    ),
    "thinking": (
        {"type": "thinking", "thinking": "a\nb", "signature": "x" * 9},
        "thinking: |- # signature: 9 B\n  a\n  b\n",
    ),
    "thinking that is kept from view": (
        {"type": "thinking", "thinking": "", "signature": "x" * 9},
        'thinking: "" # kept from view; signature: 9 B\n',
    ),
    "redacted": ({"type": "redacted_thinking", "data": "x" * 2000}, "redacted_thinking: … # 2.0 KB\n"),
    "an image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4000}},
        "image: image/png, 3.0 KB\n",
    ),
    "an image elsewhere": (
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b"}},
        "image: https://a.example/b\n",
    ),
    "a file": (
        {"type": "document", "title": "T", "source": {"type": "file", "file_id": "file_1"}},
        "document: file file_1\ntitle: T\n",
    ),
    "a document of text": ({"type": "document", "source": {"type": "text", "data": "words"}}, "document: words\n"),
    "a document of blocks": (
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
        "document:\n  - text: x\n",
    ),
    "a call": (
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls\ncat"}},
        "tool_use: Bash # toolu_1\ninput:\n  command: |-\n    ls\n    cat\n",
    ),
    "a result": (
        {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": "no"},
        "tool_result: toolu_1\nis_error: true\ncontent: no\n".replace("content: no", 'content: "no"'),
    ),
    "a result of blocks": (
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "x"}]},
        "tool_result: toolu_1\ncontent:\n  - text: x\n",
    ),
    "what a search found": (
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [
                {"type": "web_search_result", "title": "T", "url": "https://a.example", "encrypted_content": "x" * 900}
            ],
        },
        "web_search_tool_result: srvtoolu_1\ncontent:\n  - title: T\n    url: https://a.example\n",
    ),
    "an error of a tool": (
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"type": "e", "error_code": "unavailable"},
        },
        "web_fetch_tool_result: srvtoolu_1\ncontent:\n  type: e\n  error_code: unavailable\n",
    ),
    "what nobody knows": ({"type": "hologram", "depth": 3}, "hologram:\n  depth: 3\n"),
    "nothing": ({}, "?: {}\n".replace("?", '"?"')),
}


@pytest.mark.parametrize(("given", "shown"), BLOCKS.values(), ids=BLOCKS)
def test_blocks(given: dict[str, Any], shown: str) -> None:
    found = block(given)
    assert isinstance(found, dict)
    assert page("t", found).removeprefix("# t\n") == shown


def test_content() -> None:
    assert content("words") == "words"
    assert content([1, "x", None]) == [1, "x", None]
    assert content(None) is None


def test_blocks_within_blocks_end() -> None:
    inside: Any = "bottom"
    for _ in range(200):
        inside = [{"type": "tool_result", "tool_use_id": "t", "content": inside}]
    assert "tool_result" in str(content(inside))


def test_marks_as_remarks() -> None:
    assert cache_mark({"cache_control": {"type": "ephemeral", "ttl": "1h"}}) == "cache: ephemeral 1h"
    assert cache_mark({}) == cache_mark({"cache_control": None}) == cache_mark("x") == ""
