"""A request's body as it can be read: uncompressed. What is sent stays as it came.

    >>> unpack(zlib.compress(b'{"model": "m"}'), "deflate")
    b'{"model": "m"}'

A few bytes can unfold into gigabytes: more than LIMIT is refused, and no more than that is ever unfolded. It must not know what the
bytes say.
"""

from __future__ import annotations

from io import BytesIO

from claude_relay.core.errors import RelayError

from .decode import Decoder, codings

LIMIT = 40_000_000
"""Bytes that a compressed request may have when it is unfolded. Claude itself takes 32 MB. https://docs.claude.com/en/api/errors"""


def is_packed(content_encoding: str) -> bool:
    """Whether a body of this `Content-Encoding` (all its fields, joined with commas) has to be unfolded to be read."""
    return bool(codings(content_encoding))


def unpack(body: bytes, content_encoding: str, *, limit: int = LIMIT) -> bytes | None:
    """The body uncompressed; None when its coding is unknown, or it is broken or cut off.

    Raises RelayError 413 when it has more than `limit` bytes, or is made to take long. Takes up to some hundred milliseconds: for a thread.
    """
    decoder, output = Decoder(content_encoding, limit=limit), BytesIO()
    for piece in decoder.pieces(body):
        output.write(piece)
    if decoder.large:
        raise RelayError(413, TOO_LARGE.format(limit // 1_000_000), final=True)
    return output.getvalue() if decoder.whole else None


TOO_LARGE = "The request's body has more than {} MB when it is uncompressed. Send less at once."
