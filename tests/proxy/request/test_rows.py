"""A request that is over, as the ledger's rows."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from claude_relay.core.accounting.meter import Meter, Usage
from claude_relay.core.accounting.terms import ORDINARY
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint
from claude_relay.proxy.request.outgoing import Outgoing
from claude_relay.proxy.request.records import Charged
from claude_relay.proxy.request.relayed import RELAY_ENDS, Relayed
from claude_relay.proxy.request.rows import (
    attempt_rows,
    close_attempts,
    error_type_of,
    how_it_finished,
    milliseconds,
    request_row,
)

from .made import record, relayed

WHOLE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-served","usage":{"input_tokens":3}}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
BAD = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'

NOT_FOUND = BAD.replace(b"overloaded_error", b"not_found")


def metered(data: bytes) -> Meter:
    meter = Meter({"content-type": "text/event-stream"}, endpoint=Endpoint.MESSAGES)
    meter.feed(data)
    return meter


def flow_of(status: int | None = 200) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.response = None if status is None else http.Response.make(status)
    return flow


@pytest.mark.parametrize(
    ("status", "state", "finished"),
    [
        (200, {}, "complete"),
        (399, {"outgoing": Outgoing(metered(WHOLE))}, "complete"),
        (404, {}, "error"),
        (None, {}, "error"),
        (200, {"outgoing": Outgoing(metered(BAD))}, "error"),
        (200, {"gone": True}, "client_closed"),
        (200, {"gone": True, "outgoing": Outgoing(metered(WHOLE[:-20]))}, "client_closed"),
        (200, {"gone": True, "outgoing": Outgoing(metered(WHOLE))}, "complete"),  # it left with all of it
        (200, {"broken": "cut"}, "upstream_closed"),
        (200, {"broken": "cut", "ended": RelayError(503, "ends")}, "error"),
    ],
)
def test_how_it_finished(status: int | None, state: dict[str, Any], finished: str) -> None:
    request = relayed()
    for name, value in state.items():
        setattr(request, name, value)
    assert how_it_finished(flow_of(status), request) == finished


@pytest.mark.parametrize(
    ("finished", "state", "verdict", "unknown"),
    [
        ("client_closed", {}, "client_closed", True),
        ("upstream_closed", {"broken": "the stream broke"}, "broken", False),
        ("error", {"broken": "ends", "ended": RelayError(503, "ends")}, RELAY_ENDS.name, False),
        ("error", {"outgoing": Outgoing(metered(BAD))}, "error_event", False),
        ("complete", {}, "success", False),
    ],
)
def test_the_last_try_ends_with_the_request(finished: str, state: dict[str, Any], verdict: str, unknown: bool) -> None:
    request = relayed()
    for name, value in state.items():
        setattr(request, name, value)
    request.attempts = [record(dispatched=True, verdict="success" if finished == "complete" else "")]
    close_attempts(request, finished, 101.5)
    last = request.attempts[-1]
    assert (last.verdict, last.ended_at, last.unknown is not None) == (verdict, 101.5, unknown)
    close_attempts(request, "error", 200.0)
    assert last.ended_at == 101.5


def finished_request() -> Relayed:
    request = relayed(headers={"user-agent": "me"}, session="s")
    request.attempts = [
        record(status=529, verdict="overloaded", ended_at=100.2),
        record(
            2,
            status=200,
            verdict="success",
            first_byte_at=100.5,
            ended_at=101.0,
            usage=Usage(input_tokens=3, output_tokens=2),
        ),
    ]
    request.attempts[1].charges.append(Charged("advisor", "claude-opus-4-5", ORDINARY, [Usage(output_tokens=4)]))
    request.outgoing.meter = metered(WHOLE)
    request.notes = ("one", "two")
    return request


def test_the_row_of_a_request() -> None:
    request = finished_request()
    row = request_row(flow_of(), request, Usage(output_tokens=2), "complete", 101.25)
    assert (row.id, row.session, row.user_agent, row.notes) == ("req_relay_1", "s", "me", "one; two")
    assert (row.provider, row.key, row.status, row.attempts) == ("anthropic", "k2", 200, 2)
    assert (row.served_model, row.error_type, row.output_tokens) == ("claude-served", None, 2)
    assert (row.ttft_ms, row.duration_ms) == (500, 1250)


def test_the_rows_of_its_attempts() -> None:
    first, second = attempt_rows(finished_request())
    assert (first.n, first.status, first.verdict, first.duration_ms, first.charges) == (1, 529, "overloaded", 200, ())
    assert (second.first_byte_ms, second.input_tokens) == (500, 3)
    (charge,) = second.charges
    assert (charge.kind, charge.attempt, charge.n, charge.output_tokens) == ("advisor", 2, 1, 4)


@pytest.mark.parametrize(
    ("finished", "status", "data", "attempts", "kind"),
    [
        ("complete", 200, b"", [], None),
        ("error", 200, BAD, [], "overloaded_error"),
        ("client_closed", 0, b"", [], "client_closed"),
        ("error", 200, b"", [record(verdict="relay_ended")], "relay_ended"),
        ("error", 0, b"", [], "refused"),
        # One status has one name, whether the provider's words are known or only the verdict, or none of both.
        ("error", 404, NOT_FOUND, [record(verdict="model_denied")], "not_found_error"),
        ("error", 404, b"", [record(verdict="model_denied")], "not_found_error"),
        ("error", 404, b"", [], "not_found_error"),
        ("error", 408, b"", [], "timeout_error"),
    ],
)
def test_what_kind_of_error_the_client_saw(
    finished: str, status: int, data: bytes, attempts: list[Any], kind: str | None
) -> None:
    request = relayed()
    request.attempts = attempts
    request.outgoing.meter = metered(data) if data else None
    assert error_type_of(request, finished, status) == kind


def test_a_client_that_left_before_any_answer_has_no_status() -> None:
    request = relayed()
    request.gone = True
    row = request_row(flow_of(503), request, Usage(), "client_closed", 101.0)
    assert (row.status, row.provider, row.key, row.ttft_ms) == (None, None, None, None)


def test_times() -> None:
    assert [milliseconds(1.0, end) for end in (None, 1.0, 2.0004, 0.5)] == [None, 0, 1000, 0]
