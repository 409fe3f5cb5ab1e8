"""The page of a request to Claude."""

from __future__ import annotations

import json
from typing import Any

from claude_relay.proxy.views.claude_request import show
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen

REQUEST: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "total 12\n  x"},
                {"type": "text", "text": "and now?", "cache_control": {"type": "ephemeral"}},
            ],
        },
    ],
    "system": [{"type": "text", "text": "Be kind. " * 100, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "tools": [
        {"name": "Bash", "description": "d" * 500, "input_schema": {}},
        {"name": "Read", "cache_control": {"type": "ephemeral"}},
    ],
    "stream": True,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "max_tokens": 32000,
    "odd": [1],
    "model": "claude-sonnet-5",
}
PAGE = """\
# request to Claude, 2.1 KB; messages: newest first
model: claude-sonnet-5
max_tokens: 32000
stream: true
thinking: {type: enabled, budget_tokens: 1024}
odd: [1]
system: Be kind. Be kind. Be kind. Be kind. Be k… # 900 B, cache: ephemeral 1h
tools: [Bash, Read] # 2, 615 B, cache: ephemeral at Read
messages:
  - user: # 3 of 3, 186 B
      - tool_result: toolu_1
        content: |-
          total 12
            x
      - text: and now?
        cache_control: {type: ephemeral}
  - assistant: # 2 of 3, 117 B
      - tool_use: Bash # toolu_1
        input:
          command: ls
  - user: Hello # 1 of 3, 36 B
"""


def shown(request: object) -> str:
    found = show(json.dumps(request).encode(), Seen())
    assert found is not None
    return page(*found)


def test_a_request() -> None:
    assert shown(REQUEST) == PAGE


def test_a_system_prompt_of_one_text() -> None:
    assert "system: Be kind # 7 B\n" in shown({"system": "Be kind", "messages": []})


def test_odd_ones() -> None:
    assert shown({"messages": "x", "system": 3, "tools": {"a": 1}}) == (
        "# request to Claude, 49 B; messages: newest first\nmessages: x\nsystem: … # 1 B\ntools: [] # 0, 8 B\n"
    )
    assert '- "?": 3 # 1 of 1, 1 B' not in shown({"messages": [3]})
    assert show(b"[]", Seen()) is None
    assert show(b"\xff\xfe", Seen()) is None


def test_a_tool_at_the_provider_has_a_name() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "x"}, {"mcp_server_name": "m"}, {}]
    assert 'tools: [web_search, x, m, "?"]' in shown({"tools": tools})


def test_a_request_that_is_cut_off() -> None:
    found = show(json.dumps(REQUEST).encode()[:300], Seen())
    assert found is not None
    assert "command" in page(*found)
