"""An answer as its client gets it: what is counted, what is kept, and how it ends."""

from __future__ import annotations

import json

import pytest

from claude_relay.core.accounting.batches import BatchMeter
from claude_relay.core.exchange import Endpoint
from claude_relay.proxy.request.outgoing import KEPT_BODY_LIMIT, Outgoing

STREAM = {"content-type": "text/event-stream"}
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":7}}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def begun(
    status: int = 200, headers: dict[str, str] | None = None, endpoint: Endpoint = Endpoint.MESSAGES, **how: object
) -> Outgoing:
    method = str(how.pop("method", "POST"))
    more = {"batch": False, "keep": False} | how
    return Outgoing.of(status, headers or {}, endpoint, method, **more)  # type: ignore[arg-type]


def test_a_stream_that_is_complete() -> None:
    found = begun(headers=STREAM)
    assert found.pass_on(START) is None
    assert not found.end()
    found = begun(headers=STREAM)
    found.pass_on(START)
    assert found.pass_on(b": x\n\n" + STOP) == len(b": x\n\n")
    assert found.end()
    assert found.size == len(START) + 5 + len(STOP)


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        (STREAM, True),
        (STREAM | {"content-length": "900"}, False),
        (STREAM | {"content-encoding": "gzip"}, False),
        ({"content-type": "application/json"}, False),
    ],
)
def test_how_a_broken_one_ends(headers: dict[str, str], may: bool) -> None:
    """With an error event, where something can be added to it."""
    found = begun(headers=headers)
    found.pass_on(START[:-1])
    said = found.ending("the upstream left", "req_relay_1")
    assert (said is not None) is may
    if said is not None:
        assert said.startswith(b"\n\nevent: error\ndata: ")
        assert "the upstream left" in json.loads(said.partition(b"data: ")[2])["error"]["message"]
    found.pass_on(b"\n")
    assert not may or (found.ending("x", "r") or b"").startswith(b"event: error")


def test_its_announced_length() -> None:
    found = begun(headers={"content-length": "10"})
    found.pass_on(b"x" * 9)
    assert not found.is_at_its_length
    found.pass_on(b"x")
    assert found.is_at_its_length


def test_what_is_kept_of_it() -> None:
    assert begun().kept is None
    found = begun(keep=True)
    found.pass_on(b"x" * KEPT_BODY_LIMIT)
    found.pass_on(b"more")
    assert sum(map(len, found.kept or ())) == KEPT_BODY_LIMIT
    found.let_go()
    assert found.kept is None


def test_what_makes_something_is_kept_for_the_id_in_it() -> None:
    assert begun(endpoint=Endpoint.RESOURCE).brought == []
    assert begun(endpoint=Endpoint.RESOURCE, method="GET").brought is None
    assert begun(400, endpoint=Endpoint.RESOURCE).brought is None


def test_results_of_a_batch_have_a_meter_of_their_own() -> None:
    assert isinstance(begun(endpoint=Endpoint.RESOURCE, method="GET", batch=True).meter, BatchMeter)
    assert not isinstance(begun(404, endpoint=Endpoint.RESOURCE, method="GET", batch=True).meter, BatchMeter)


def test_a_body_that_leaves_at_once() -> None:
    found = begun(headers={"content-type": "application/json"})
    found.pass_whole(b'{"type":"message","usage":{"input_tokens":5,"output_tokens":3}}')
    assert found.meter is not None
    assert (found.size, found.meter.usage.output_tokens) == (63, 3)
