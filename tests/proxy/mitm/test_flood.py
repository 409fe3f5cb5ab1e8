"""What a connection owes: who sends what is worth sending pays nothing, a flood ends soon."""

from __future__ import annotations

import time

import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from mitmproxy.proxy import commands
from mitmproxy.proxy.layers.http import ResponseData
from mitmproxy.proxy.layers.http._base import ReceiveHttp

from claude_relay.proxy.mitm.flood import MOST, OF_FRAME, OF_REQUEST, PER_SECOND, SAVED, TINY, Toll, is_flood, price_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: found[0])
    return found


def until_too_much(toll: Toll, price: float) -> int:
    return next(n for n in range(1, 10**6) if toll.charge(price))


def test_a_flood_ends_and_a_trickle_does_not(clock: list[float]) -> None:
    assert until_too_much(Toll(), OF_FRAME) == MOST / OF_FRAME + 1
    toll = Toll()
    for _ in range(100_000):
        clock[0] += OF_FRAME / PER_SECOND
        assert not toll.charge(OF_FRAME)


def test_requests_that_are_answered_cost_nothing(clock: list[float]) -> None:
    toll = Toll()
    for _ in range(100_000):
        assert not toll.charge(OF_REQUEST)
        assert not toll.charge(OF_FRAME)
        toll.answered()


def test_acknowledgements_of_what_was_sent_cost_nothing(clock: list[float]) -> None:
    toll = Toll()
    for _ in range(100_000):
        toll.earned(16_384)
        assert not any(toll.charge(OF_FRAME) for _ in range(2))


def test_a_long_honest_life_pays_for_no_flood(clock: list[float]) -> None:
    toll = Toll()
    for _ in range(100_000):
        toll.answered()
    assert until_too_much(toll, OF_FRAME) <= MOST - SAVED + 1


@pytest.mark.parametrize(
    ("frame", "price"),
    [
        (DataFrame(1, b"x" * TINY), 0.0),
        (DataFrame(1, b"x"), 0.2),
        (DataFrame(1, b""), 10.0),
        (DataFrame(1, b"", flags=["END_STREAM"]), 0.0),
        (HeadersFrame(1, b""), 4.0),
        (PingFrame(0), 1.0),
        (SettingsFrame(0), 1.0),
        (RstStreamFrame(1), 1.0),
    ],
)
def test_prices(frame: Frame, price: float) -> None:
    assert price_of(frame) == price


def test_pieces_of_bodies_of_http1(clock: list[float]) -> None:
    toll, tiny, large = Toll(), ReceiveHttp(ResponseData(1, b"x")), ReceiveHttp(ResponseData(1, b"x" * TINY))
    assert not any(is_flood(toll, large) for _ in range(100_000))
    assert not is_flood(toll, commands.Log("x"))
    assert next(n for n in range(10**6) if is_flood(toll, tiny)) == pytest.approx(MOST / 0.2, rel=0.01)
