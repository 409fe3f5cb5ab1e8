"""Decompressing in pieces."""

import doctest
import gzip
import random
import zlib
from itertools import pairwise

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.bodies import decode
from claude_relay.core.bodies.decode import OUTPUT_LIMIT, PIECE, Decoder
from claude_relay.core.bodies.zstd import zstd


def raw_deflate(data):
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


ENCODE = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate ": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "Deflate,identity,ZSTD": lambda data: zstd.compress(raw_deflate(data)),
    "gzip,gzip,gzip": lambda data: gzip.compress(gzip.compress(gzip.compress(data))),
}
TEXT = ("event: content_block_delta\ndata: {} é\n\n" * 30 + str(random.Random(1).random())).encode()

everywhere = pytest.mark.parametrize("coding", ENCODE)


def by_bytes(data):
    return [data[n : n + 1] for n in range(len(data))]


@everywhere
def test_whole_by_bytes_and_split_at_every_offset(coding):
    packed = ENCODE[coding](TEXT)
    splits = [[packed], by_bytes(packed), *([packed[:n], packed[n:]] for n in range(len(packed)))]
    for pieces in splits:
        decoder = Decoder(coding)
        assert b"".join(map(decoder.feed, pieces)) == TEXT
        assert not decoder.dead


@everywhere
def test_what_came_is_told_at_once(coding):
    """A stream that is flushed after every event is readable event by event."""
    flushers = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "deflate": zlib.compressobj,
        "deflate ": lambda: zlib.compressobj(wbits=-15),
        "zstd": zstd.ZstdCompressor,
        "br": brotli.Compressor,
    }
    if coding not in flushers:
        return
    compressor, decoder = flushers[coding](), Decoder(coding)
    flush_block = {"zstd": zstd.ZstdCompressor.FLUSH_BLOCK}.get(coding, zlib.Z_SYNC_FLUSH)
    for n in range(20):
        event = b"event: %d\n\n" % n + bytes(n * 9999)  # some longer than a piece
        if coding == "br":
            packed = compressor.process(event) + compressor.flush()
        else:
            packed = compressor.compress(event) + compressor.flush(flush_block)
        assert decoder.feed(packed) == event


@everywhere
def test_large_bodies(coding):
    rng = random.Random(2)
    body = b"".join(rng.choice([b"alpha ", b"beta ", b"gamma\n", rng.randbytes(9) * 3]) for _ in range(20_000))
    packed = ENCODE[coding](body)
    decoder = Decoder(coding)
    assert b"".join(decoder.feed(packed[n : n + 16384]) for n in range(0, len(packed), 16384)) == body


def test_deflate_with_and_without_wrapper():
    """Some raw streams have the check sum of a wrapper in their first bytes, but never its method too."""
    seen = set()
    for n in range(2000):
        body = b"%d " % (n * 7919) * (n % 7 + 1)
        packed = raw_deflate(body)
        seen.add(int.from_bytes(packed[:2], "big") % 31 == 0)
        assert Decoder("deflate").feed(packed) == Decoder("deflate").feed(zlib.compress(body)) == body
    assert seen == {True, False}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
def test_broken_input(coding):
    decoder = Decoder(coding)
    assert decoder.feed(b"<html>this is no compressed body</html>" * 20) == b""
    assert decoder.dead
    assert not decoder.blind
    assert decoder.feed(ENCODE[coding](TEXT)) == b""


@pytest.mark.parametrize("coding", ["compress", "gzip, aes128gcm", "br, br, br, br", "*"])
def test_unknown_codings(coding):
    decoder = Decoder(coding)
    assert decoder.dead
    assert decoder.blind
    assert decoder.feed(TEXT) == b""


def test_several_members_and_frames():
    assert Decoder("gzip").feed(gzip.compress(b"one ") + gzip.compress(b"two")) == b"one two"
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    frames = zstd.compress(b"one ") + skippable + zstd.compress(b"two")
    assert Decoder("zstd").feed(frames) == b"one two"
    decoder = Decoder("zstd")
    assert b"".join(map(decoder.feed, by_bytes(frames))) == b"one two"
    decoder = Decoder("gzip")
    assert b"".join(map(decoder.feed, by_bytes(gzip.compress(b"one ") + gzip.compress(b"two")))) == b"one two"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate "])
@pytest.mark.parametrize("split", [False, True])
def test_padding_after_the_end_is_ignored(coding, split):
    decoder = Decoder(coding)
    packed = ENCODE[coding](TEXT) + b"\0\0" + gzip.compress(b"no")
    pieces = by_bytes(packed) if split else [packed]
    assert b"".join(map(decoder.feed, pieces)) == TEXT
    assert not decoder.dead


@pytest.mark.parametrize("split", [False, True])
def test_brotli_and_zstd_end_where_they_end(split):
    for coding in ("br", "zstd"):
        decoder = Decoder(coding)
        packed = ENCODE[coding](TEXT) + b"padding"
        for piece in by_bytes(packed) if split else [packed]:
            decoder.feed(piece)
        assert decoder.dead
        assert not decoder.blind


BOMBS = {
    "gzip": lambda size: gzip.compress(bytes(size)),
    "deflate": lambda size: zlib.compress(bytes(size)),
    "br": lambda size: brotli.compress(bytes(size), quality=5),
    "zstd": lambda size: zstd.compress(bytes(size)),
    "gzip, gzip": lambda size: gzip.compress(gzip.compress(bytes(size))),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_is_not_unfolded(coding):
    packed = BOMBS[coding](OUTPUT_LIMIT + 1_000_000)
    decoder = Decoder(coding)
    assert decoder.feed(packed) == b""
    assert decoder.blind
    assert decoder.dead


@pytest.mark.parametrize("coding", BOMBS)
def test_a_caller_who_has_seen_enough_stops(coding):
    pieces = Decoder(coding).pieces(BOMBS[coding](OUTPUT_LIMIT + 1_000_000))
    first = next(pieces)
    assert 0 < len(first) <= 2 * PIECE
    pieces.close()


def test_a_limit_of_ones_own():
    assert Decoder("gzip", limit=100).feed(gzip.compress(bytes(100))) == bytes(100)
    assert Decoder("gzip", limit=100).feed(gzip.compress(bytes(101))) == b""
    assert Decoder("", limit=100).feed(bytes(101)) == bytes(101)


def test_a_window_larger_than_http_allows():
    packed = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 25})
    decoder = Decoder("zstd")
    assert decoder.feed(packed.compress(bytes(1000)) + packed.flush()) == b""
    assert decoder.dead


@given(st.sampled_from(list(ENCODE)), st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_split(coding, body, cuts):
    packed = ENCODE[coding](body)
    edges = sorted({0, len(packed), *(cut for cut in cuts if cut < len(packed))})
    decoder = Decoder(coding)
    assert b"".join(decoder.feed(packed[a:b]) for a, b in pairwise(edges)) == body


@given(st.sampled_from([*ENCODE, "nonsense", ", ,", "\x00"]), st.lists(st.binary(max_size=60), max_size=5))
def test_never_raises(coding, pieces):
    decoder = Decoder(coding)
    for piece in pieces:
        assert isinstance(decoder.feed(piece), bytes)


@given(st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.integers(0, 60), st.integers(1, 255))
def test_one_wrong_byte(coding, place, flip):
    packed = bytearray(ENCODE[coding](TEXT))
    packed[place % len(packed)] ^= flip
    assert isinstance(Decoder(coding).feed(bytes(packed)), bytes)


def test_examples_in_the_documentation():
    assert doctest.testmod(decode).failed == 0
