"""The wire formats of providers: one module each with the functions of `base.Format`.

reading       Claude's request, checked ──► conversation.Conversation
openai_chat, openai_responses, gemini       Conversation ──► the provider's request; its answers ──► Writer
writer        the answer in Claude's form, streamed or whole
translation   bytes of an answer ──► the format's reader ──► bytes in Claude's form
telling       what error answers say, in whatever shape; problems: what that means in Claude's words
alive         which events say that the answer moves on, and which are signs of life
anthropic     Claude's own format, which passes byte for byte
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
