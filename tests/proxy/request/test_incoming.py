"""An upstream's answer as it comes: one for each attempt, so that nothing of the attempt before is taken for its own."""

from __future__ import annotations

import pytest
from mitmproxy import http

from claude_relay.core.bodies.gate import Decision
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.core.secrets import Matcher
from claude_relay.proxy.request.incoming import Incoming

KEY = b"sk-ant-api03-pool-secret-0123456789"
ALIAS = b"relay:anthropic/k1"
BOTH = b'{"stream":true,"model":"m","stream":false}'


def come(status: int = 200, facts: Facts | None = None, **headers: str) -> tuple[Incoming, http.Response]:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    response = http.Response.make(status, b"", fields)
    facts = facts or Facts(Endpoint.MESSAGES)
    return Incoming.of(response, facts, None, Matcher(((KEY, ALIAS),)), head=False), response


def test_before_a_head_has_come_nothing_is_known() -> None:
    found = Incoming()
    assert (found.gate, found.good, found.served_model, found.encoding, dict(found.headers)) == (
        None, False, None, "", {},
    )  # fmt: skip


def test_its_head_without_what_was_for_this_hop_only() -> None:
    found, response = come(Content_Type="application/json", Connection="x-hop", X_Hop="1")
    assert found.good
    assert found.upstream_headers["x-hop"] == "1"
    assert "x-hop" not in found.headers
    assert "x-hop" not in response.headers


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (301, False), (429, False), (529, False)])
def test_whether_its_status_is_good(status: int, good: bool) -> None:
    assert come(status)[0].good is good


def test_what_was_issued_is_taken_out_of_its_body() -> None:
    found, _ = come(content_type="application/json")
    assert KEY not in found.read(b'{"you said": "' + KEY + b'"}') + found.read_end()


def test_no_more_than_may_be_kept() -> None:
    found, _ = come()
    assert found.takes(60, 100)
    assert found.takes(40, 100)
    assert not found.takes(1, 100)


@pytest.mark.parametrize(
    ("status", "body", "unknown"),
    [(200, BOTH, True), (200, b'{"model":"m"}', False), (400, BOTH, False)],
)
def test_an_answer_of_the_other_kind(status: int, body: bytes, unknown: bool) -> None:
    """Only where the request can be understood so, too, is it not known what was asked for."""
    found, _ = come(status, Facts(Endpoint.MESSAGES, body=body), content_type="text/event-stream")
    assert found.stream_unknown is unknown


def test_a_good_head_is_held_until_its_body_tells_more() -> None:
    found, _ = come(content_type="application/json")
    assert found.gate is not None
    assert found.gate.decision is Decision.HOLD
    found.let_go()
    assert found.gate is None
