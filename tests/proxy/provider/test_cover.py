"""A compressed body goes on as it came, is held only while a key may begin in it, and never without bound."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from claude_relay.core.secrets import Matcher
from claude_relay.proxy.provider.cover import MOST_HELD, PackedVeil

KEY = b"sk-ant-api03-" + b"aB3x" * 10
MATCHER = Matcher(((KEY, b"relay:anthropic/k1"),))
EMPTY = b"\0\0\0\xff\xff"
"""A block of DEFLATE without anything in it."""


def flushed(*texts: bytes) -> list[bytes]:
    """Each text compressed as far as it goes, as a stream that is flushed event by event; then the end."""
    packed = zlib.compressobj(wbits=31)
    return [*(packed.compress(text) + packed.flush(zlib.Z_SYNC_FLUSH) for text in texts), packed.flush()]


def test_text_that_always_ends_in_what_may_begin_a_key_is_not_held() -> None:
    veil, sent = PackedVeil(MATCHER, "gzip"), 0
    chunks = flushed(*[b"some words" + KEY[:1]] * 3000)
    for came, chunk in enumerate(chunks[:-1]):
        sent += len(veil.feed(chunk))
        assert sum(map(len, chunks[:came])) <= sent
    assert sent + len(veil.feed(chunks[-1]) + veil.end()) == sum(map(len, chunks))


def test_what_unfolds_to_nothing_while_a_key_may_have_begun_is_held_up_to_a_bound() -> None:
    veil = PackedVeil(MATCHER, "gzip")
    veil.feed(flushed(KEY[:6])[0])
    tracemalloc.start()
    try:
        for _ in range(5 * MOST_HELD // (len(EMPTY) * 1000)):
            assert veil.feed(EMPTY * 1000) == b""
        assert tracemalloc.get_traced_memory()[1] < 3 * MOST_HELD
    finally:
        tracemalloc.stop()
    assert veil.repeated
    assert veil.end() == b""


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize(
    "body",
    [
        lambda key: b'{"error": "no key ' + key + b'"}',
        lambda key: gzip.compress(b"{}") + key,
        lambda key: gzip.compress(b"word " * 100)[:30] + b"\xff" * 20 + key + b"..",
        lambda key: gzip.compress(b"word" + key[:9]) + gzip.compress(key[9:]),
    ],
    ids=["none of it is compressed", "after the end", "where it is broken", "in two members"],
)
def test_a_key_in_what_is_no_compressed_text(body: Callable[[bytes], bytes], size: int) -> None:
    for key, is_ours in ((KEY, True), (b"sk-ant-api03-of-somebody-else", False)):
        veil, data = PackedVeil(MATCHER, "gzip"), body(key)
        sent = b"".join(veil.feed(data[at : at + size]) for at in range(0, len(data), size)) + veil.end()
        assert veil.repeated is is_ours
        assert sent == data or (is_ours and KEY not in sent and data.startswith(sent))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_has_no_key_in_it_leaves_as_it_came(coding: str) -> None:
    chance = random.Random(coding)
    for _ in range(100):
        text = bytes(chance.choices(KEY + b"  xyz", k=chance.randrange(400)))
        data = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
        veil, cut = PackedVeil(MATCHER, coding), chance.randrange(len(data))
        assert veil.feed(data[:cut]) + veil.feed(data[cut:]) + veil.end() == data
        assert not veil.repeated
