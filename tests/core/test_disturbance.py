"""What becomes of an answer's bytes, however they come."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.disturbance import PIECE, SIZES, Disturbance, Ending, Pause
from claude_relay.core.exchange import Fault
from claude_relay.core.faults import error_event

EVENTS = [f"event: content_block_delta\ndata: {json.dumps({'n': n})}\n\n".encode() for n in range(8)]
STREAM = b"".join(EVENTS)
FOUR = b"".join(EVENTS[:4])


def run(kind, pieces=(STREAM,), stream=True, **more):
    disturbance = Disturbance(Fault(kind, **more), stream=stream, form="anthropic", id="req_1")
    return [step for data in pieces for step in disturbance.feed(data)], disturbance


def joined(steps):
    return b"".join(step for step in steps if isinstance(step, bytes))


def cuts(data, places):
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


PLACES = st.lists(st.integers(min_value=0), max_size=12)


@given(PLACES)
def test_a_stream_is_cut_after_its_fourth_event(places):
    steps, disturbance = run("cut", cuts(STREAM, places))
    assert joined(steps) == FOUR
    assert [step for step in steps if not isinstance(step, bytes)] == [Ending.CUT]
    assert steps[-1] is Ending.CUT
    assert disturbance.over


@given(PLACES, st.integers(0, len(STREAM)))
def test_a_stream_is_cut_after_so_many_bytes(places, after):
    steps, _ = run("cut", cuts(STREAM, places), after=after)
    assert (joined(steps), steps[-1]) == (STREAM[:after], Ending.CUT)


def test_an_answer_that_is_no_stream_is_cut_in_the_middle():
    assert run("cut", [b"0123456789"], stream=False)[0] == [b"01234", Ending.CUT]


def test_a_place_that_never_comes():
    steps, disturbance = run("cut", after=len(STREAM) + 1)
    assert (steps, disturbance.over) == ([STREAM], False)


@given(PLACES, st.integers(0, len(STREAM) - 1))
def test_an_error_event_comes_between_events(places, after):
    steps, _ = run("error_event", cuts(STREAM, places), after=after)
    text = joined(steps)
    event = error_event("anthropic", "req_1")
    assert text.endswith(event)
    before = text.removesuffix(event)
    assert STREAM.startswith(before)
    assert before.endswith(b"\n\n") or (before == b"" and after == 0)
    assert len(before) >= after
    assert steps[-1] is Ending.WHOLE


@given(PLACES)
def test_some_bytes_of_an_events_data_are_others(places):
    steps, _ = run("corrupt", cuts(STREAM, places))
    found = joined(steps)
    assert len(found) == len(STREAM)
    wrong = [at for at, (came, sent) in enumerate(zip(found, STREAM, strict=True)) if came != sent]
    assert 1 <= len(wrong) <= 8
    assert STREAM[wrong[0] : wrong[0] + 1] == b"{"
    assert wrong[0] > len(FOUR)


@given(PLACES)
def test_a_stall_takes_nothing_away(places):
    steps, _ = run("stall", cuts(STREAM, places), lasts=3.0)
    pauses = [at for at, step in enumerate(steps) if isinstance(step, Pause)]
    assert joined(steps) == STREAM
    assert [steps[at] for at in pauses] == [Pause(3.0)]
    assert joined(steps[: pauses[0]]) == FOUR
    assert Pause(math.inf) in run("stall")[0]


@pytest.mark.parametrize(("kind", "most", "pause"), [("split", max(SIZES), 0.0), ("slow", PIECE, 0.1)])
@given(places=PLACES)
def test_an_answer_in_pieces_is_whole(kind, most, pause, places):
    steps, disturbance = run(kind, cuts(STREAM, places))
    assert joined(steps) == STREAM
    assert {step for step in steps if isinstance(step, Pause)} == {Pause(pause)}
    assert max(len(step) for step in steps if isinstance(step, bytes)) <= most
    assert not disturbance.over


def test_an_answer_is_as_slow_as_asked():
    assert set(run("slow", lasts=2.0)[0][::2]) == {Pause(2.0)}
