"""Requests uncompressed as a whole: all of it, nothing, or too much."""

import doctest
import gzip
import time
import zlib

import brotli
import pytest

from claude_relay.core.bodies import unpack as unpack_module
from claude_relay.core.bodies.unpack import LIMIT, is_packed, unpack
from claude_relay.core.bodies.zstd import zstd
from claude_relay.core.errors import RelayError
from linear import TOO_MUCH, growth
from waiting import PATIENCE

from .test_decode import ENCODE, TEXT

CODINGS = [coding for coding in ENCODE if is_packed(coding)]


@pytest.mark.parametrize("coding", CODINGS)
def test_all_of_it(coding):
    assert unpack(ENCODE[coding](TEXT), coding) == TEXT
    assert unpack(ENCODE[coding](b""), coding.upper()) == b""


@pytest.mark.parametrize("coding", CODINGS)
def test_what_was_cut_off_is_nothing(coding):
    packed = ENCODE[coding](TEXT)
    assert {unpack(packed[:end], coding) for end in range(len(packed) - 1)} == {None}


@pytest.mark.parametrize("coding", ["compress", "gzip, x", "br, br, br, br", "*"])
def test_an_unknown_coding(coding):
    assert is_packed(coding)
    assert unpack(TEXT, coding) is None


def test_no_coding():
    assert not is_packed(" Identity , ")
    assert not is_packed("")


def test_one_byte_too_many():
    assert unpack(gzip.compress(bytes(100)), "gzip", limit=100) == bytes(100)
    with pytest.raises(RelayError, match="MB") as caught:
        unpack(gzip.compress(bytes(101)), "gzip", limit=100)
    assert (caught.value.status, caught.value.final) == (413, True)


BOMBS = {
    "gzip": gzip.compress(bytes(LIMIT + 1)),
    "deflate": zlib.compress(bytes(LIMIT + 1)),
    "br": brotli.compress(bytes(LIMIT + 1), quality=5),
    "zstd": zstd.compress(bytes(LIMIT + 1)),
    # what lies between the two would be gigabytes, and what comes out of it nothing at all
    "gzip, gzip": gzip.compress(gzip.compress(b"") * 3_000_000),
    "deflate, br": brotli.compress(zlib.compress(b"") + bytes(LIMIT * 2), quality=5),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_bombs(coding):
    begun = time.process_time()
    with pytest.raises(RelayError) as caught:
        unpack(BOMBS[coding], coding)
    assert caught.value.status == 413
    assert time.process_time() - begun < PATIENCE


@pytest.mark.parametrize(
    ("coding", "member"), [("gzip", gzip.compress(b"")), ("zstd", zstd.compress(b""))], ids=["gzip", "zstd"]
)
def test_many_members_that_hold_nothing(coding, member):
    begun = time.process_time()
    assert unpack(member * 1000, coding) == b""
    with pytest.raises(RelayError):
        unpack(member * 1_000_000, coding)
    assert time.process_time() - begun < PATIENCE  # what is copied for each would take hours


def test_much_input_is_not_copied_again_and_again():
    body = bytes(range(256)) * 130_000
    assert unpack(zlib.compress(body, 0), "deflate") == body
    sizes = (len(body) // 16, len(body) // 4, len(body))
    assert (
        growth(lambda packed: unpack(packed, "deflate"), lambda size: zlib.compress(body[:size], 0), sizes) < TOO_MUCH
    )


def test_examples_in_the_documentation():
    assert doctest.testmod(unpack_module, extraglobs={"zlib": zlib}).failed == 0
