"""An answer in Claude's form, as it is compared: what was said, which tools are called with what, why it ended.

    answer = Answer.of(200, "text/event-stream", body)
    answer.stop, answer.text, answer.calls          "tool_use", "Let me look.", (Call("weather", {"city": "Oslo"}),)

Thoughts, ids and signatures are nobody's to compare. It must not know whom the answer is from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from claude_relay.core.bodies.lenient import parse_object
from claude_relay.core.bodies.sse import SseParser

SAID: Final = {"text_delta": "text", "input_json_delta": "partial_json"}
"""Deltas, and the member with what they add."""
CUT: Final = "cut off"
"""In the place of an error's name: the stream has no end."""
LONGEST_ERROR: Final = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that is called. `arguments`: a value; text where it is no JSON."""

    name: str
    arguments: Any

    def __str__(self) -> str:
        """As it is compared: equal values give equal texts, whatever the order of members and the form of numbers."""
        return f"{self.name}({canonical(self.arguments)})"


@dataclass(frozen=True, slots=True)
class Answer:
    """`error`: its type, or how else it failed; `message`: in the provider's words. `counted`: of a request that counts tokens."""

    status: int
    stop: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()
    error: str = ""
    message: str = ""
    counted: int | None = None

    @classmethod
    def of(cls, status: int, content_type: str, body: bytes) -> Answer:
        """From an uncompressed body."""
        if "text/event-stream" in content_type.lower():
            return _streamed(status, body)
        return _whole(status, parse_object(body))

    @property
    def good(self) -> bool:
        """Whether it is a whole answer."""
        return self.status == 200 and not self.error


def canonical(value: Any) -> str:
    """A value as text, the same for equal values: 1.0 is 1, and the order of members says nothing."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _whole(status: int, document: Mapping[str, Any]) -> Answer:
    if document.get("type") == "error" or status >= 400:
        return Answer(status, **_error(document))
    blocks = [block for block in document.get("content") or () if isinstance(block, Mapping)]
    counted = document.get("input_tokens")
    return Answer(
        status,
        str(document.get("stop_reason") or ""),
        _joined(block.get("text") for block in blocks) or str(document.get("completion") or ""),
        tuple(Call(str(block.get("name")), block.get("input")) for block in blocks if block.get("type") == "tool_use"),
        counted=counted if isinstance(counted, int) else None,
    )


def _streamed(status: int, body: bytes) -> Answer:
    """Put together from its events."""
    stop, ended = "", False
    error: dict[str, Any] = {"error": CUT, "message": "the stream has no end"}
    blocks: dict[int, dict[str, Any]] = {}
    for event in _events(body):
        match event:
            case {"type": "content_block_start", "index": int(index), "content_block": Mapping() as block}:
                blocks[index] = {"pieces": [block.get("text") or ""], **block}
            case {"type": "content_block_delta", "index": int(index), "delta": {"type": str(kind)} as delta}:
                if kind in SAID and index in blocks:
                    blocks[index]["pieces"].append(str(delta.get(SAID[kind]) or ""))
            case {"type": "message_delta", "delta": Mapping() as delta}:
                stop = str(delta.get("stop_reason") or stop)
            case {"type": "completion"}:
                blocks.setdefault(0, {"type": "text", "pieces": []})["pieces"].append(
                    str(event.get("completion") or "")
                )
                stop = str(event.get("stop_reason") or stop)
                ended = bool(stop)
            case {"type": "message_stop"}:
                ended = True
            case {"type": "error"}:
                error, ended = _error(event), False
                break
    said = [(block, "".join(block["pieces"])) for block in blocks.values()]
    return Answer(
        status,
        stop,
        _joined(text for block, text in said if block.get("type") == "text"),
        tuple(
            Call(str(block.get("name")), _arguments(text, block))
            for block, text in said
            if block.get("type") == "tool_use"
        ),
        **({} if ended else error),
    )


def _events(body: bytes) -> Iterator[Mapping[str, Any]]:
    parser = SseParser()
    for event in (*parser.feed(body), *parser.end()):
        yield parse_object(event.data)


def _arguments(text: str, block: Mapping[str, Any]) -> Any:
    if not text:
        return block.get("input")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _error(document: Mapping[str, Any]) -> dict[str, Any]:
    found = document.get("error")
    known = found if isinstance(found, Mapping) else {}
    return {"error": str(known.get("type") or "error"), "message": str(known.get("message") or "")[:LONGEST_ERROR]}


def _joined(texts: Any) -> str:
    return "".join(text for text in texts if isinstance(text, str))
