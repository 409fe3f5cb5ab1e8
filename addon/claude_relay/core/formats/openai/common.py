"""What Chat Completions and Responses have in common: names of functions, words for settings, limits, pictures, errors.

It must not know how either of them tells a conversation.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Mapping

from claude_relay.core.formats.base import Asked, Problem, Unsuited
from claude_relay.core.formats.conversation import Image
from claude_relay.core.formats.error_text import read_problem
from claude_relay.core.formats.errors import claude_problem, stated_wait

from .families import Family, most_output, ruling_name

NAME = re.compile(r"[a-zA-Z0-9_-]+")
"""Names of functions, at most 64 characters: https://platform.openai.com/docs/api-reference/chat/create#chat_create-tools"""
SCHEMA_NAME = "answer"
"""Claude's `output_config.format` has no name, OpenAI's `json_schema` must have one."""
NO_RESULT = "(no result)"
PLAIN_EFFORTS = ("low", "medium", "high")
"""Of a model whose family is not known."""
CHOICES = {"auto": "auto", "any": "required", "none": "none", "search": "auto"}
TIERS = {"standard_only": "default"}
_FRAME = re.compile(rb"\x21\xf9\x04.{4}\x00[\x2c\x21]", re.DOTALL)
"""What is before each picture of an animated GIF. https://www.w3.org/Graphics/GIF/spec-gif89a.txt 23"""


def output_limit(query: Asked, least: int, notes: list[str]) -> int:
    """How many tokens an answer may have: as the client says, but for what the model cannot give, and what is no answer at all."""
    limit, option = query.conversation.max_tokens, query.options.get("most_output")
    most = option if isinstance(option, int) else most_output(ruling_name(query))
    if most is not None and limit > most:
        notes.append(f"max_tokens: {limit} lowered to {most}, the most that {query.model} gives")
        return most
    if limit < least:
        notes.append(f"max_tokens: {limit} raised to {least}")
        return least
    return limit


def check_tools(query: Asked, family: Family, count: int) -> None:
    """Raises Unsuited for more tools than a request may have."""
    option = query.options.get("most_tools")
    most = option if isinstance(option, int) else family.most_tools
    if most is not None and count > most:
        raise Unsuited("tools", f"there are {count}, and {query.model} takes {most} at most")


def unseen(image: Image, family: Family) -> str:
    """Why the provider does not take a picture, as a media type; "" when it does, or nobody can tell.

    Sizes are no matter: Claude's requests have 32 MB at most, OpenAI's 512 MB.
    https://developers.openai.com/api/docs/guides/images-vision 2026-11-27
    """
    kind = image.media_type.lower().replace("image/jpg", "image/jpeg")
    if image.data and kind not in family.images:
        return kind
    if kind == "image/gif" and len(_FRAME.findall(_bytes(image.data))) > 1:
        return "animated image/gif"
    return ""


def _bytes(data: str) -> bytes:
    try:
        return a2b_base64(data)
    except ValueError:
        return b""


def error(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """An error answer; `headers` by their names in small letters."""
    kind, code, message = read_problem(body)
    wait = stated_wait(headers, body, message) if status == 429 or status >= 500 else None
    return claude_problem(status, kind, code, message, wait)
