"""Requests to Gemini, in few words."""

from __future__ import annotations

import json
from typing import Any

from claude_relay.core.formats.base import Asked, Sent
from claude_relay.core.formats.conversation import (
    Call,
    Conversation,
    Image,
    Part,
    Result,
    Text,
    Tool,
    Turn,
)
from claude_relay.core.formats.gemini import requests as gemini

OLD, NEW = "gemini-2.5-flash", "gemini-3.1-pro-preview"
HELLO = Turn("user", (Text("Hello"),))
READ = Tool("Read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PICTURE = Image("image/png", data="AAAA")


def ask(*turns: Turn, model: str = OLD, options: Any = None, recall: Any = None, **said: Any) -> Sent:
    talk = Conversation(model="claude-x", **{"max_tokens": 1000, "turns": turns or (HELLO,)} | said)
    return gemini.request(Asked(talk, model, options or {}, recall or {}))


def body_of(*turns: Turn, **said: Any) -> dict[str, Any]:
    return json.loads(ask(*turns, **said).body)


def contents(*turns: Turn, **said: Any) -> list[dict[str, Any]]:
    return body_of(*turns, **said)["contents"]


def config(**said: Any) -> dict[str, Any]:
    return body_of(**said)["generationConfig"]


def user(*parts: Part) -> Turn:
    return Turn("user", parts)


def model(*parts: Part) -> Turn:
    return Turn("assistant", parts)


def call(id: str, name: str = "Read", **input: Any) -> Call:
    return Call(id, name, input)


def result(id: str, *parts: Any, **more: Any) -> Result:
    return Result(id, tuple(Text(part) if isinstance(part, str) else part for part in parts), **more)


def memory(signature: str | None = None, id: str | None = None, model: str = NEW) -> str:
    return json.dumps({"format": "gemini", "model": model, "signature": signature, "id": id})
