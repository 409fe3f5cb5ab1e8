"""Which body is which, by where it went and how it begins; and its page, whatever is in it.

>>> found = next(kind for kind in KINDS if kind.fits(b'{"model": "m"}', Seen(path="/v1/messages")))
>>> found.name
'Claude request'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from claude_relay.core.bodies.lenient import BOM
from claude_relay.core.bodies.sniff import SNIFFED, Shape, sniff

from . import batch_results, claude_answer, claude_request, errors, gemini, openai_chat, openai_responses, token_count
from .page import SHOWN, page, size
from .seen import Seen

type Show = Callable[[bytes, Seen], tuple[str, Mapping[str, object]] | None]
"""A body's title and page; None: it cannot be read as what it should be."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of body. `name`: in mitmproxy's list of views."""

    name: str
    path: re.Pattern[str]
    answer: bool
    show: Show
    error: bool = False

    def fits(self, data: bytes, seen: Seen) -> bool:
        """Whether a body is of this kind, as far as its beginning tells."""
        if seen.answer is not self.answer or ((seen.status or 0) >= 400) is not self.error:
            return False
        if not self.path.search(seen.path):
            return False
        shape = sniff(data[:SNIFFED], {})
        return shape is Shape.JSON or (shape is Shape.SSE and self.answer and not self.error)

    def text(self, data: bytes, seen: Seen) -> str:
        """The page of a body. Never raises: what cannot be read is shown as it is."""
        found = self.show(data.removeprefix(BOM), seen)
        if found is not None:
            return page(*found)
        words = data[:SHOWN].decode("utf-8", "replace")
        return page(f"no {self.name} that can be read, {size(len(data))}; as it is:", {"body": words})


PATHS: Final = {
    "messages": re.compile(r"/messages/?$"),
    "messages or their count": re.compile(r"/messages(/count_tokens)?/?$"),
    "batch": re.compile(r"/messages/batches/[^/]+/results/?$"),
    "chat": re.compile(r"/chat/completions/?$"),
    "responses": re.compile(r"/responses/?$"),
    "responses or their count": re.compile(r"/responses(/input_tokens)?/?$"),
    "gemini": re.compile(r":(stream)?[gG]enerateContent$"),
    "gemini or its count": re.compile(r":((stream)?[gG]enerateContent|countTokens)$"),
    "count": re.compile(r"/(count_tokens|input_tokens)/?$|:countTokens$"),
    "any": re.compile(r"/v1(beta|alpha)?/|/(chat/completions|messages|responses)/?$"),
}
KINDS: Final = (
    Kind("Claude request", PATHS["messages or their count"], False, claude_request.show),
    Kind("Claude answer", PATHS["messages"], True, claude_answer.ANSWERS.show),
    Kind("Claude batch results", PATHS["batch"], True, batch_results.show),
    Kind("OpenAI Chat request", PATHS["chat"], False, openai_chat.show_request),
    Kind("OpenAI Chat answer", PATHS["chat"], True, openai_chat.ANSWERS.show),
    Kind("OpenAI Responses request", PATHS["responses or their count"], False, openai_responses.show_request),
    Kind("OpenAI Responses answer", PATHS["responses"], True, openai_responses.ANSWERS.show),
    Kind("Gemini request", PATHS["gemini or its count"], False, gemini.show_request),
    Kind("Gemini answer", PATHS["gemini"], True, gemini.ANSWERS.show),
    Kind("Token count", PATHS["count"], True, token_count.show),
    Kind("API error", PATHS["any"], True, errors.show, error=True),
)
