"""What is kept of an answer of the Responses API for the requests after it, and how that is put together with what the client sends back.

    >>> kept("gpt-5.6-sol", [reasoning_memory(reasoning), message_memory(message, 12)])
    '{"format":"openai-responses","model":"gpt-5.6-sol",…}'
    >>> list(replay(items, ["First I look."]))     items for `input`, in the order in which they came

OpenAI wants the items of a turn back in their order, reasoning with its encrypted content and messages with their `phase`. Claude's form
has a place for the texts alone, so the rest is kept beside it, and goes to the same model only. It must not know streams, nor the rest of
a request.

https://developers.openai.com/api/docs/guides/reasoning, https://developers.openai.com/api/docs/guides/latest-model 2026-11-27
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from claude_relay.core.bodies.lenient import count, mapping, text
from claude_relay.core.formats.conversation import Json

FORMAT: Final = "openai-responses"
"""Whose items they are that were kept."""
JOINT: Final = "\n\n"
"""Between what are two messages here, and one text to Claude."""

# `gpt-5` is asked for and `gpt-5-2025-08-07` answers: one model, which can read its reasoning again.
_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|latest)$")


def lineage(model: str) -> str:
    """The model's name without vendor, date and variant: reasoning is only given back to the model that it came from."""
    return _DATED.sub("", model.lower().rpartition("/")[2].partition(":")[0])


def kept(model: str, items: Sequence[Json], requested: str = "", after: Sequence[Json] = ()) -> str:
    """Items of an answer as `Writer.remember` keeps them.

    items      those before a call, or before the end, in their order
    after      those after the last call
    requested  the name by which the model was asked for, such as a deployment's
    """
    memory = {"format": FORMAT, "model": lineage(model), "asked": requested, "items": items, "after": after}
    return msgspec.json.encode(memory).decode()


def is_of(memory: Json, model: str) -> bool:
    """Whether what was kept came from the model that is asked for now."""
    same = memory.get("model") == lineage(model) or memory.get("asked") == model
    return memory.get("format") == FORMAT and same


def reasoning_memory(raw: Json) -> Json | None:
    """What is kept of reasoning; None when it cannot be given back: the server stores nothing, so it must be encrypted."""
    if not text(raw.get("encrypted_content")):
        return None
    return {name: raw[name] for name in ("id", "encrypted_content", "summary") if name in raw}


def message_memory(raw: Json, length: int) -> Json | None:
    """What is kept of a message that has become so many characters of text; None when it has become none."""
    known = {name: raw[name] for name in ("id", "phase") if text(raw.get(name))}
    return {"type": "message", "length": length, **known} if length else None


def worth_keeping(items: Sequence[Json]) -> bool:
    """Whether they have anything that the texts do not say by themselves: reasoning, or what a message is."""
    return any("encrypted_content" in item or "phase" in item for item in items)


def replay(items: object, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Items for `input`: what was kept, in its order, with the texts that the client has sent back for them.

    Texts that are not as they were are one message, in the place of the last, without the id that it had.
    """
    known = _objects(items)
    messages = [item for item in known if item.get("type") == "message"]
    pieces = _split(texts, [count(item.get("length")) or 0 for item in messages])
    for item in known:
        if item.get("type") != "message":
            yield from _reasoning(item)
        elif pieces:
            yield _message([pieces.pop(0)], text(item.get("phase")), text(item.get("id")))
        elif pieces is None and item is messages[-1]:
            yield _message(texts, text(item.get("phase")))
    if texts and not messages:
        yield _message(texts)


def _reasoning(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    secret, own, summary = text(item.get("encrypted_content")), text(item.get("id")), item.get("summary")
    if secret:
        summary = summary if isinstance(summary, list) else []
        yield {"type": "reasoning", **({"id": own} if own else {}), "summary": summary, "encrypted_content": secret}


def _message(texts: Sequence[str], phase: str | None = None, id: str | None = None) -> dict[str, Any]:
    content: list[dict[str, object]] = [
        {"type": "output_text", "text": words} | ({"annotations": []} if id else {}) for words in texts
    ]
    message: dict[str, Any] = {"type": "message", "role": "assistant", "content": content}
    message |= {"id": id, "status": "completed"} if id else {}
    return message | ({"phase": phase} if phase else {})


def _split(texts: Sequence[str], lengths: Sequence[int]) -> list[str] | None:
    """The texts of messages with these lengths, [] when there are none; None when these are not the messages' texts."""
    if not texts:
        return []
    rest, pieces = list(texts), []
    for length in lengths:
        head = rest.pop(0) if rest else ""
        if len(head) < length:
            return None
        pieces.append(head[:length])
        if after := head[length:]:
            if not after.startswith(JOINT):
                return None
            rest.insert(0, after.removeprefix(JOINT))
    return None if rest else pieces


def _objects(listed: object) -> list[dict[str, Any]]:
    return [mapping(one) for one in listed] if isinstance(listed, list) else []
