"""Requests of Claude's form, in few words."""

import json
from typing import get_args, get_type_hints

from claude_relay.core.formats.claude import reader

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}


def body(**fields):
    whole = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def read(**fields):
    return reader.read(body(**fields))


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def parts(role, *blocks):
    """What a turn of these blocks becomes."""
    return read(messages=[{"role": "user", "content": "Hi"}, {"role": role, "content": list(blocks)}]).turns[1].parts


def result(**fields):
    """What a tool result becomes."""
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **fields}
    return read(messages=[user({"type": "text", "text": "Hi"}), assistant(USE), user(block)]).turns[2].parts[0]


def kinds_of(union):
    """The values of `type` in a union of the SDK's typed dictionaries."""
    params = [param for param in get_args(union) if hasattr(param, "__required_keys__")]
    found = [get_type_hints(param, include_extras=True)["type"] for param in params]
    return {kind for annotation in found for kind in _strings(annotation)}


def _strings(annotation):
    return (
        [annotation]
        if isinstance(annotation, str)
        else [text for inner in get_args(annotation) for text in _strings(inner)]
    )
