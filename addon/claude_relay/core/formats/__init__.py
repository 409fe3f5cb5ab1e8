"""The wire formats of providers: one module each with the functions of `base.Format`.

claude.reader    Claude's request, checked ──► conversation.Conversation
openai.chat, openai.responses, gemini.requests
                 Conversation ──► the provider's request; its answers ──► Writer
writer           the answer in Claude's form, streamed or whole; answer_blocks: one block of it
translation      bytes of an answer ──► the format's reader ──► bytes in Claude's form
searching        what of a web search's restrictions a provider heeds; sources: what one has found
error_text       what error answers say, in whatever shape; errors: what that means in Claude's words
progress         which events say that the answer moves on, and which are signs of life
recalling        under which keys something is kept for the turns after an answer
naming           names and ids that a provider takes; counting: tokens of a prompt, estimated; counts: those that a provider tells
base             what a format is; claude: Claude's own, which passes byte for byte
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from .base import Format

MODULES: Mapping[str, str] = {
    "openai-chat": "openai.chat",
    "openai-responses": "openai.responses",
    "gemini": "gemini.requests",
}
"""By the name in `format:`; Claude's own, `anthropic`, is not translated and so not in it."""


class Builtin(Mapping[str, Format]):
    """The formats of MODULES, each loaded when it is asked for, as the user's own are."""

    def __getitem__(self, name: str) -> Format:
        """The format, loaded the first time."""
        return _load(MODULES[name])

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(MODULES)

    def __len__(self) -> int:
        """How many there are."""
        return len(MODULES)


@cache
def _load(module: str) -> Format:
    return Format.of(import_module(f"{__name__}.{module}"))


FORMATS = Builtin()
