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

from collections.abc import Mapping

from . import gemini, openai_chat, openai_responses
from .base import Format

FORMATS: Mapping[str, Format] = {
    "openai-chat": Format.of(openai_chat),
    "openai-responses": Format.of(openai_responses),
    "gemini": Format.of(gemini),
}
"""By the name in `format:`; Claude's own, `anthropic`, is not translated and so not in it."""
