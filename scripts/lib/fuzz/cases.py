"""One input: what a client sends, and what the upstream answers to it.

    {"part": "base-h1", "why": "two lengths", "send": ["POST / HTTP/1.1\\r\\n", …, [70000, "a"], {"end": "reset"}]}

`send` and `answer` are lists of pieces:

    "text"                                    bytes, written as Latin-1
    [70000, "text"]                           the same, so often
    {"frame": "HEADERS", "stream": 1, "flags": 5, "fields": [[":method", "POST"], …]}
                                              an HTTP/2 frame; "payload" in the place of "fields", text or a list as above; "length" when it
                                              lies about that; "times"
    {"repeat": 500, "step": 2, "of": […]}     pieces so often; the numbers of their streams grow by `step`
    {"wait": 0.1}                             seconds
    {"end": "close"}                          or "reset", or "half": nothing more is sent, but read

Words between @ stand for what is another one in every run: @UA@ and @MODEL@ name the case, @HOST@, @BASE@ and @STATUS@ are addresses,
@KEY@ is the credential that the upstream was given. What this module must not know: sockets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import hpack

type Piece = str | list[Any] | dict[str, Any]

FORMATS: Final = ("anthropic", "openai-chat", "openai-responses", "gemini")
CLIENT_PARTS: Final = ("base-h1", "base-h2", "proxy-plain", "proxy-h1", "proxy-h2", "status")
ANSWER_PARTS: Final = tuple(f"{form}-{version}" for form in FORMATS for version in ("h1", "h2"))
PARTS: Final = (*CLIENT_PARTS, *ANSWER_PARTS)
FRAMED: Final = frozenset(part for part in PARTS if part.endswith("-h2"))
"""Those in which the client speaks HTTP/2; mitmproxy speaks it with an upstream only then."""
FRAMES: Final = {
    name: number
    for number, name in enumerate(
        (
            *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS"),
            *("PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"),
        )
    )
}
"""https://www.rfc-editor.org/rfc/rfc9113#section-6"""
END_STREAM, END_HEADERS = 1, 4
LONGEST: Final = 40_000_000
"""Bytes that a case may have on the wire."""


@dataclass(frozen=True, slots=True)
class Case:
    """`name` is unique in a run; `answer` empty: the upstream answers as a good one."""

    part: str
    name: str
    send: tuple[Piece, ...]
    answer: tuple[Piece, ...] = ()
    why: str = ""
    status: int = 200
    """Of the upstream's answer, where `answer` has frames or a head of its own that does not count."""

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        found: dict[str, Any] = {"part": self.part, "why": self.why, "send": list(self.send)}
        return found | ({"answer": list(self.answer)} if self.answer else {})


def parsed(data: Mapping[str, Any], name: str) -> Case:
    """A stored case. Raises ValueError."""
    if data.get("part") not in PARTS:
        raise ValueError(f"part {data.get('part')!r} is none of {', '.join(PARTS)}")
    if not isinstance(data.get("send", []), list) or not isinstance(data.get("answer", []), list):
        raise ValueError("send and answer are lists of pieces")
    return Case(
        data["part"], name, tuple(data.get("send", ())), tuple(data.get("answer", ())), str(data.get("why", ""))
    )


def load(path: Path) -> list[Case]:
    """The cases of a file, a finding's too. Raises ValueError that names it."""
    try:
        data = json.loads(path.read_text("utf-8"))
        many = data.get("cases", [data])
        return [parsed(one, f"{path.stem}-{number}" if len(many) > 1 else path.stem) for number, one in enumerate(many)]
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def corpus(folder: Path) -> list[Case]:
    """All cases of a folder, by name."""
    return [case for path in sorted(folder.rglob("*.json")) for case in load(path)]


def renamed(case: Case, name: str) -> Case:
    """The same under another name."""
    return replace(case, name=name)


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """`how`: close, reset or half."""

    how: str


class Wire:
    """Pieces as bytes, for one connection: header compression remembers. `words`: what stands for the words between @."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = words
        self.encoder = hpack.Encoder()

    def sent(self, pieces: Iterable[Piece]) -> Iterator[bytes | Pause | End]:
        """In the order of the pieces."""
        for piece in pieces:
            if isinstance(piece, str):
                yield self.text(piece)
            elif isinstance(piece, list):
                count, text = piece
                data = self.text(text)
                yield data * min(int(count), LONGEST // max(1, len(data)))
            elif "repeat" in piece:
                for turn in range(min(int(piece["repeat"]), 5000)):
                    yield from self.sent(moved(one, turn * int(piece.get("step", 0))) for one in piece["of"])
            elif "wait" in piece:
                yield Pause(min(float(piece["wait"]), 2.0))
            elif "end" in piece:
                yield End(str(piece["end"]))
            else:
                yield self.frame(piece) * int(piece.get("times", 1))

    def text(self, text: str) -> bytes:
        """Latin-1, with the words filled in."""
        if "@" in text:
            for word, value in self.words.items():
                text = text.replace(word, value)
        return text.encode("latin-1", "replace")

    def frame(self, piece: Mapping[str, Any]) -> bytes:
        """https://www.rfc-editor.org/rfc/rfc9113#section-4.1"""
        payload = b"".join(
            self.text(part) if isinstance(part, str) else self.text(part[1]) * int(part[0])
            for part in ([piece["payload"]] if isinstance(piece.get("payload"), str) else piece.get("payload", ()))
        )
        if "fields" in piece:
            payload = self.fields(piece["fields"]) + payload
        kind = piece["frame"]
        number = FRAMES[kind] if kind in FRAMES else int(kind)
        length = int(piece.get("length", len(payload))) & 0xFFFFFF
        head = length.to_bytes(3) + bytes((number & 0xFF, int(piece.get("flags", 0)) & 0xFF))
        return head + (int(piece.get("stream", 0)) & 0xFFFFFFFF).to_bytes(4) + payload

    def fields(self, fields: Sequence[Sequence[str]]) -> bytes:
        """A header block."""
        block: bytes = self.encoder.encode([(self.text(name), self.text(value)) for name, value in fields])
        return block


def moved(piece: Piece, step: int) -> Piece:
    """A frame of a stream so much further on."""
    return (
        piece | {"stream": int(piece.get("stream", 0)) + step}
        if step and isinstance(piece, dict) and "frame" in piece
        else piece
    )
