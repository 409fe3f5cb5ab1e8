"""Codes that people compare."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from claude_relay.core.clients.sign_in import LETTERS, email_of, new_user_code, read_user_code


def test_a_new_code_has_letters_that_nobody_mistakes() -> None:
    codes = [new_user_code(random.Random(seed).randbytes) for seed in range(2000)]
    assert all(read_user_code(code) == code for code in codes)
    assert len(set(codes)) == len(codes)
    counts = Counter(letter for code in codes for letter in code.replace("-", ""))
    assert set(counts) == set(LETTERS)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_no_letter_is_likelier_than_another() -> None:
    """Bytes that would favour some are drawn anew."""
    given = itertools.cycle(range(256))
    counts = Counter("".join(new_user_code(lambda n: bytes(next(given) for _ in range(n))) for _ in range(960)))
    del counts["-"]
    assert max(counts.values()) - min(counts.values()) < 40


@pytest.mark.parametrize("typed", ["WDJB-MJHT", " wdjbmjht ", "wdjb mjht", "W.D.J.B:M/J\\H_T\n"])
def test_a_code_is_read_however_it_is_typed(typed: str) -> None:
    assert read_user_code(typed) == "WDJB-MJHT"


@pytest.mark.parametrize(
    "typed", ["", "WDJB-MJH", "WDJB-MJHTT", "WDJB-MJHA", "WDJB-MJH1", "-" * 100 + "WDJBMJHT", "ſ" * 8]
)
def test_what_is_no_code(typed: str) -> None:
    assert read_user_code(typed) is None


def test_an_owner_may_be_an_address() -> None:
    assert email_of("ann@example.com") == "ann@example.com"
    assert [
        email_of(owner) for owner in ("", "4711", "ann@", "a b@example.com", "ann@localhost", "x@" + "a." * 500)
    ] == [None] * 6
