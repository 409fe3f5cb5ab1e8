"""What the results of a batch have used."""

import doctest
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.accounting import batches
from claude_relay.core.accounting.batches import (
    SHORT,
    BatchMeter,
    Part,
    batch_of,
    fetched_here,
    lists_batches,
    portions,
)
from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.terms import Terms


def line(number: int, model: str = "claude-sonnet-5", **usage: object) -> bytes:
    message = {"type": "message", "model": model, "content": [{"type": "text", "text": 'a "b"\n' * 9}], "usage": usage}
    return json.dumps({"custom_id": f"c{number}", "result": {"type": "succeeded", "message": message}}).encode()


FAILED = b'{"custom_id": "x", "result": {"type": "errored", "error": {"type": "invalid_request_error"}}}'
EXPIRED = b'{"custom_id": "y", "result": {"type": "expired"}}'
RESULTS = b"\n".join(
    [
        line(1, input_tokens=10, output_tokens=5),
        FAILED,
        line(2, "claude-haiku-4-5", input_tokens=3, output_tokens=1, cache_creation_input_tokens=7),
        EXPIRED,
        line(3, input_tokens=20, output_tokens=6, cache_read_input_tokens=100),
    ]
)
USED = {
    "claude-sonnet-5": [Usage(input_tokens=30, output_tokens=11, cache_read_tokens=100)],
    "claude-haiku-4-5": [Usage(input_tokens=3, output_tokens=1, cache_write_5m_tokens=7, cache_write_1h_tokens=0)],
}


def counted(*pieces: bytes, coding: str = "") -> BatchMeter:
    meter = BatchMeter({"content-encoding": coding})
    for piece in pieces:
        assert meter.feed(piece) is None
    meter.end()
    return meter


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n"])
def test_results_are_counted_by_model_however_they_are_cut(end: bytes) -> None:
    data = RESULTS + end
    cuts = [
        [data],
        [data[at : at + 1] for at in range(len(data))],
        *([data[:at], data[at:]] for at in range(len(data))),
    ]
    for pieces in cuts:
        meter = counted(*pieces)
        assert (meter.used, meter.complete) == (USED, True)


def test_results_at_other_terms_and_what_is_billed_beside_them_are_counted_apart() -> None:
    advisor = {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 7, "output_tokens": 8}
    compaction = {"type": "compaction", "input_tokens": 90, "output_tokens": 9}
    lines = [
        line(1, input_tokens=10, output_tokens=5, service_tier="batch"),
        line(2, input_tokens=1, output_tokens=2, inference_geo="us", iterations=[advisor, compaction]),
        line(3, input_tokens=3, output_tokens=4, inference_geo="us", iterations=[advisor]),
    ]
    meter = counted(b"\n".join(lines))
    usual, here = Part("claude-sonnet-5", Terms()), Part("claude-sonnet-5", Terms(geo="us"))
    assert meter.parts == {
        usual: [Usage(10, 5)],
        here: [Usage(4, 6)],
        Part("claude-opus-5", Terms(geo="us"), "advisor", here): [Usage(14, 16)],
        Part("claude-sonnet-5", Terms(geo="us"), "compaction", here): [Usage(90, 9)],
    }
    assert meter.used == {"claude-sonnet-5": [Usage(10, 5), Usage(4, 6)]}


def test_portions_are_short_but_for_single_long_results() -> None:
    sizes = [60_000, 30_000, 20_000, 300_000, 1, 99_999, 1]
    meter = counted(*(line(n, input_tokens=size) + b"\n" for n, size in enumerate(sizes)))
    assert [one.input_tokens for one in meter.used["claude-sonnet-5"]] == [90_000, 20_000, 300_000, 100_000, 1]


@given(st.tuples(*[st.none() | st.integers(0, 10**7)] * 7))
def test_a_sum_is_cut_into_short_portions_that_make_it_up_again(columns: tuple[int | None, ...]) -> None:
    usage = Usage(*columns)
    parts = list(portions(usage))
    assert Usage.total(parts) == usage
    assert all(batches._input(part) <= SHORT + 4 for part in parts)


def test_compressed_results() -> None:
    assert counted(gzip.compress(RESULTS), coding="gzip").used == USED


@pytest.mark.parametrize("data", [RESULTS[:-1], RESULTS.replace(b'{"custom_id": "y"', b'{"custom_id" "y"'), b"<html>"])
def test_what_is_not_whole_is_not_complete(data: bytes) -> None:
    assert not counted(data).complete


def test_a_line_that_is_too_long_makes_the_sum_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LONGEST_LINE", 1000)
    meter = counted(b" " * 600, b" " * 600, b"\n" + RESULTS)
    assert not meter.complete
    assert len(meter._line) == 0


@pytest.mark.parametrize(
    ("path", "batch"),
    [
        ("/v1/messages/batches/msgbatch_01A/results", "msgbatch_01A"),
        ("/v1/messages/batches/msgbatch_01A/results?beta=true", "msgbatch_01A"),
        ("/v1/messages/batches/msgbatch_01A", None),
        ("/v1/messages/batches/a/b/results", None),
        ("/v1/files/file_01/results", None),
    ],
)
def test_which_batch_a_path_is_about(path: str, batch: str | None) -> None:
    assert batch_of(path) == batch


@pytest.mark.parametrize(
    ("path", "tells"),
    [
        ("/v1/messages/batches", True),
        ("/v1/messages/batches?limit=5", True),
        ("/v1/messages/batches/msgbatch_01A", True),
        ("/v1/messages/batches/msgbatch_01A/cancel", True),
        ("/v1/messages/batches/msgbatch_01A/results", False),
        ("/v1/files", False),
    ],
)
def test_which_answers_tell_of_batches(path: str, tells: bool) -> None:
    assert lists_batches(path) is tells


def test_every_batch_of_a_list_is_fetched_here_and_nothing_else_changes() -> None:
    theirs = b"https://api.example/anthropic/v1/messages/batches/%s/results"
    listed = b'{"data": [{"results_url":"%s"}, {"results_url": null}, {"results_url" : "%s"}], "note": "%s"}'
    there = listed % (theirs % b"b1", theirs % b"b2", theirs % b"b3")
    here = listed % (
        b"http://[::1]:82/v1/messages/batches/b1/results",
        b"http://[::1]:82/v1/messages/batches/b2/results",
        theirs % b"b3",
    )
    assert fetched_here(there, "http://[::1]:82") == here


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(batches).failed == 0
