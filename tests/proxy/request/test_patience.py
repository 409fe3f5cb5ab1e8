"""Which limit is over, and when."""

from __future__ import annotations

import pytest

from claude_relay.proxy.request.patience import Patience
from claude_relay.proxy.running.runtime import Limits

LIMITS = Limits(first_byte=120.0, whole=600.0, idle=300.0, progress=200.0)


def answering(*, whole: bool = False) -> Patience:
    """One whose request has left at 0."""
    patience = Patience(LIMITS, whole=whole)
    patience.connect(-1.0)
    patience.handed_over(0.0)
    assert patience.look(patience.due) is None
    return patience


@pytest.mark.parametrize("whole", [False, True])
def test_connecting(whole: bool) -> None:
    patience = Patience(LIMITS, whole=whole)
    patience.connect(10.0)
    assert (patience.due, patience.look(129.0)) == (130.0, None)
    assert patience.look(130.0) == "no connection within 120 s (retry.first_byte)"
    assert patience.silent_since is None


@pytest.mark.parametrize(("whole", "limit"), [(False, "first_byte"), (True, "whole")])
def test_the_first_byte(whole: bool, limit: str) -> None:
    patience, seconds = answering(whole=whole), getattr(LIMITS, limit)
    assert patience.due == seconds
    assert patience.look(seconds - 0.1) is None
    assert patience.look(seconds) == f"no first byte within {seconds:g} s (retry.{limit})"
    assert patience.silent_since == 0.0


def test_a_call_whose_limit_is_not_relay_yamls() -> None:
    patience = Patience(Limits(10.0, 10.0, 300.0, 300.0), named=False)
    patience.handed_over(0.0)
    patience.look(1.0)
    assert patience.look(10.0) == "no first byte within 10 s"


def test_an_upload_is_looked_at_until_it_has_left() -> None:
    patience = Patience(LIMITS)
    patience.handed_over(0.0)
    for second in range(1, 1000):
        assert patience.due == second
        assert patience.look(patience.due, unsent=2000 - second) is None
    assert patience.uploading
    assert patience.look(1000.0, unsent=0) is None
    assert not patience.uploading
    assert patience.due == 1120.0


def test_an_upload_that_stands_still() -> None:
    patience = Patience(LIMITS, whole=True)
    patience.handed_over(0.0)
    patience.look(1.0, unsent=900)
    patience.look(2.0, unsent=800)
    said = None
    while said is None:
        now = patience.due
        said = patience.look(now, unsent=800)
    assert (now, said) == (122.0, "nothing of the request left for 120 s (retry.first_byte)")
    assert patience.silent_since == 2.0


def test_a_short_limit_is_looked_at_more_often() -> None:
    patience = Patience(Limits(0.4, 0.4, 1.0, 1.0))
    patience.handed_over(0.0)
    assert patience.due == pytest.approx(0.05)


def test_every_byte_restarts_idle_and_only_some_restart_progress() -> None:
    patience = answering()
    patience.byte(10.0, moved=False)
    assert patience.due == 210.0
    patience.byte(20.0, moved=True)
    assert patience.due == 220.0
    for second in range(30, 220, 10):
        patience.byte(float(second), moved=False)
        assert patience.look(float(second)) is None
    assert patience.look(220.0) == "nothing but pings for 200 s (retry.progress)"
    assert patience.silent_since is None  # pings were heard


def test_silence() -> None:
    patience = Patience(Limits(120.0, 600.0, 100.0, 200.0))
    patience.handed_over(0.0)
    patience.byte(10.0, moved=True)
    assert patience.look(110.0) == "silent for 100 s (retry.idle)"
    assert patience.silent_since == 10.0


def test_a_model_that_may_be_silent_has_whole() -> None:
    patience = answering()
    patience.byte(10.0, moved=True, quiet=True)
    assert patience.due == 310.0  # idle
    for second in range(20, 610, 10):
        patience.byte(float(second), moved=False, quiet=True)
        assert patience.look(float(second)) is None
    assert patience.look(610.0) == "nothing but pings for 600 s (retry.whole)"


def test_blanks_before_a_whole_answer() -> None:
    patience = answering(whole=True)
    for second in range(10, 600, 10):
        patience.byte(float(second), moved=False)
        assert patience.look(float(second)) is None
    assert patience.look(600.0) == "no first byte within 600 s (retry.whole)"
    patience = answering(whole=True)
    patience.byte(10.0, moved=False)
    assert patience.look(310.0) == "silent for 300 s (retry.idle)"


def test_an_answer_that_begins_during_the_upload() -> None:
    patience = Patience(LIMITS)
    patience.handed_over(0.0)
    patience.look(1.0, unsent=900)
    patience.byte(2.0, moved=True)
    assert not patience.uploading
    assert patience.due == 202.0
