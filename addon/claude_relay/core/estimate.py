"""How many tokens a request holds, by its size: enough to choose a route, and costs no parsing.

    >>> estimate_tokens(b'{"messages": [{"role": "user", "content": "' + b"word " * 800 + b'"}]}')
    1011

The count that a client asks for is another one: `formats/counting.py`. It must not know what the request says.
"""

from __future__ import annotations

import re
from functools import partial

from . import spans

PAYLOAD_TOKENS = 1_600
"""What an image costs at most. https://docs.claude.com/en/docs/build-with-claude/vision#calculate-image-costs"""
BYTES_PER_TOKEN = 4
LOOKED_AT = 64 * 1024
"""Bytes of what is called data, to know text by its blanks."""

_BASE64 = b'"base64"'
_DATA = b'"data"'
_OPENING_OF_TEXT = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*"')


def estimate_tokens(body: bytes) -> int:
    """A token for four bytes, and for an encoded file no more than an image costs.

    Text in other scripts and code take more, JSON around it less; a PDF's pages are not counted. Costs half a millisecond a megabyte.
    """
    tokens = len(body) // BYTES_PER_TOKEN
    if tokens <= PAYLOAD_TOKENS:  # whatever is encoded in it counts by its size
        return tokens
    find = body.find if len(body) <= spans.HUGE else partial(spans.find, body)
    name = find(_DATA, 0) if find(_BASE64, 0) >= 0 else -1
    while name >= 0:
        start = end = name + len(_DATA)
        if opening := _OPENING_OF_TEXT.match(body, start):
            start = opening.end()
            end = max(start, find(b'"', start))
            if body.find(b" ", start, min(end, start + LOOKED_AT)) < 0:  # otherwise it is text that somebody calls data
                tokens -= max(0, (end - start) // BYTES_PER_TOKEN - PAYLOAD_TOKENS)
        name = find(_DATA, end)
    return tokens
