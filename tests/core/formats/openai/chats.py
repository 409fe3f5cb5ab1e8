"""Requests for Chat Completions as a provider with a preset gets them.

>>> requested(model="deepseek-v4-pro", preset="deepseek-openai", effort=Effort(off=True))["thinking"]
{'type': 'disabled'}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from claude_relay.core.config.filling import presets
from claude_relay.core.formats.base import Asked, Sent
from claude_relay.core.formats.conversation import Call, Conversation, Text, Tool, Turn
from claude_relay.core.formats.openai import chat

USER = Turn("user", (Text("Hello"),))
READ = Tool("Read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
WRITE = Tool("Write", "Writes a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
CALL = Call("call_1", "Read", {"path": "a"})


def request_of(
    *turns: Turn,
    model: str = "gpt-4.1",
    preset: str = "",
    options: Mapping[str, Any] | None = None,
    recall: Mapping[str, str] | None = None,
    **said: Any,
) -> Sent:
    """The request; options are laid over those of the preset."""
    conversation = Conversation(model="claude-x", **{"max_tokens": 1000, "turns": turns or (USER,)} | said)
    own = {**presets()[preset].get("options", {})} if preset else {}
    return chat.request(Asked(conversation, model, own | dict(options or {}), recall or {}))


def requested(*turns: Turn, **said: Any) -> dict[str, Any]:
    """Its body."""
    return json.loads(request_of(*turns, **said).body)


def noted(*turns: Turn, **said: Any) -> tuple[str, ...]:
    """Its notes."""
    return request_of(*turns, **said).notes
