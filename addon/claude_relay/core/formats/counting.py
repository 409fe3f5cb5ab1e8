"""Estimates how many input tokens a request has, for providers that cannot say so themselves.

    estimate(Conversation("claude-opus-5-5", 1024, (Turn("user", (Text("Hello"),)),)))    -> 8

Texts, tools, calls and results are counted with o200k_base, OpenAI's public vocabulary, which comes with the package `splintr`;
nothing is ever fetched. Other vocabularies differ: Claude's need a sixth to a half more tokens for the same text. Pictures and PDFs are
guessed from their size. It must not know providers, routes or the wire form of any request.

The first count of a process loads the vocabulary: about 0.3 s and 60 MB. A count is pure computation, roughly 30 ms for 400 KB;
callers on an event loop use a thread. The vocabulary's code keeps the interpreter lock, so texts are counted in pieces of a
few milliseconds, between which other threads run.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64
from functools import cache
from typing import TYPE_CHECKING

from .conversation import Call, Conversation, Document, Image, Part, Result, Text, Thinking

if TYPE_CHECKING:
    from splintr import AnyTokenizer

VOCABULARY = "o200k_base"
PIECE = 16_384
"""Characters counted at once: at most about 5 ms, even of text without a single blank."""

REPLY = 3
TURN = 4
"""What frames the whole request, and each turn. Claude's own frame of one message is 7 tokens, too."""
BLOCK = 6
"""What frames a call, a result or a tool beside its own text."""

PIXELS_PER_TOKEN = 750
LONGEST_EDGE = 1568
MOST_OF_AN_IMAGE = 1600
"""A picture costs width × height / 750 tokens and is scaled down to these limits before; one whose size cannot be read counts
as the largest. https://docs.claude.com/en/docs/build-with-claude/vision"""

PAGE = 3000
"""Tokens of a page of PDF: 1500 to 3000 of text, beside its picture.
https://docs.claude.com/en/docs/build-with-claude/pdf-support"""
PAGE_BYTES = 50_000
UNKNOWN_PAGES = 5

_HEAD = 4 * 65_536  # base64 characters of a picture that are looked at: a JPEG may begin with a long block of Exif
_PDF_HEAD = 4 * 524_288
_A_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
# Start-of-frame markers of JPEG; C4, C8 and CC in between are something else. https://www.w3.org/Graphics/JPEG/itu-t81.pdf B.1.1.3
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def estimate(conversation: Conversation) -> int:
    """Input tokens of the whole request, at least 1. Never raises.

    Claude's own earlier thoughts do not count, for no other provider gets them; foreign ones do.
    """
    texts: list[str] = [text.text for text in conversation.system]
    tokens = REPLY + TURN * len(conversation.turns)
    for tool in conversation.tools:
        texts += tool.name, tool.description, _json(tool.schema)
        tokens += BLOCK
    texts += (_json(extra) for extra in (conversation.schema, conversation.web_search) if extra is not None)
    for turn in conversation.turns:
        tokens += sum(_part(part, texts) for part in turn.parts)
    return tokens + _count(texts)


def _part(part: Part, texts: list[str]) -> int:
    """The tokens of a part that are not text; its texts go to `texts`."""
    match part:
        case Text(text):
            texts.append(text)
            return 0
        case Thinking(text, foreign=foreign):
            texts.append(text if foreign else "")
            return 0
        case Call(name=name, input=given):
            texts += name, _json(given)
            return BLOCK
        case Result(content=content):
            return BLOCK + sum(_part(inner, texts) for inner in content)
        case Image():
            return image_tokens(part.data) if part.data else MOST_OF_AN_IMAGE
        case Document():
            texts.append(part.title)
            return PAGE * pdf_pages(part.data)


# -- texts


def count_text(text: str) -> int:
    """Tokens of a text."""
    return _count([text])


@cache
def _encoder() -> AnyTokenizer:
    # splintr is imported here because only relays that translate need it. Its compiler of patterns stays off: it gains
    # nothing here, and some systems forbid memory that is both writable and executable.
    from splintr import Tokenizer

    return Tokenizer.from_pretrained(VOCABULARY).jit(False)


def _count(texts: list[str]) -> int:
    encoder = _encoder()
    # Joined, because short texts are many and a call costs more than the line ends that are counted with them.
    whole = "\n".join(text for text in texts if text)
    if not whole.isascii():
        whole = whole.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair, which JSON can hold
    tokens = sum(len(encoder.encode_ordinary(whole[start : start + PIECE])) for start in range(0, len(whole), PIECE))
    encoder.clear_cache()  # it would keep words of the conversation in memory
    return tokens


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=dict)
    except (TypeError, ValueError, RecursionError):
        return ""


# -- pictures and documents


def image_tokens(data: str) -> int:
    """Tokens of a picture in base64, from the size in its first bytes. PNG, GIF, WebP and JPEG; others count as the largest."""
    size = _image_size(_decoded(data, _HEAD))
    if size is None or not all(size):
        return MOST_OF_AN_IMAGE
    scale = min(1.0, LONGEST_EDGE / max(size))
    pixels = size[0] * scale * size[1] * scale
    return min(MOST_OF_AN_IMAGE, max(1, round(pixels / PIXELS_PER_TOKEN)))


def pdf_pages(data: str) -> int:
    """Pages of a PDF in base64: those it names in the clear within the first 1.5 MB, else by its size. Without data: a guess."""
    if not data:
        return UNKNOWN_PAGES
    named = len(_A_PAGE.findall(_decoded(data, _PDF_HEAD)))
    return max(1, named or len(data) * 3 // 4 // PAGE_BYTES)


def _decoded(data: str, characters: int) -> bytes:
    try:
        return a2b_base64(data[: min(characters, len(data) // 4 * 4)])
    except ValueError:
        return b""


def _image_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp_size(head)
    return _jpeg_size(head) if head.startswith(b"\xff\xd8") else None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """https://developers.google.com/speed/webp/docs/riff_container"""
    match head[12:16]:
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            return int.from_bytes(head[at + 7 : at + 9]), int.from_bytes(head[at + 5 : at + 7])
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return None
