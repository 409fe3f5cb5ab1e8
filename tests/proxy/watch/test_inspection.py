"""What mitmweb shows of a request, and how little of it is kept."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy import flowfilter, http
from mitmproxy.addons.view import View as TheirView
from mitmproxy.test import tflow

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.config import parse
from claude_relay.core.exchange import Attempt, Endpoint, Facts, Failure, Fault, Key, Outcome
from claude_relay.proxy.request.records import AttemptRecord
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.inspection import FAILED, RETRIED, View, label, marker, short_count, story, summary
from proxy.stage import mitmproxy_with

ID = "req_relay_1"
KEY = Key("anthropic", "k2", "sk-ant-api03-secret-0123456789", "id")


@pytest.fixture
def relayed() -> Relayed:
    runtime = Runtime.of(parse("", environ={}), environ={})
    facts = Facts(Endpoint.MESSAGES, model="claude-sonnet-5")
    found = Relayed(ID, facts, runtime, runtime.limits, started_at=0.0)
    found.redaction.issue(KEY)
    return found


def record(n: int = 1, key: Key | None = KEY, fault: Fault | None = None, **more: Any) -> AttemptRecord:
    return AttemptRecord(Attempt(n, "anthropic", key, "claude-sonnet-5", fault=fault), 0.0, 0.0, **more)


def test_numbers_of_tokens() -> None:
    assert [short_count(n) for n in (None, 0, 999, 12_345, 1_234_567)] == ["?", "0", "999", "12.3k", "1.2M"]


def test_one_line(relayed: Relayed) -> None:
    assert summary(relayed, None, "error", 0.04) == f"no key · claude-sonnet-5 · 0 tries · error · 0.0 s · {ID}"
    relayed.attempts = [record(), record(2)]
    usage = Usage(input_tokens=12_000, cache_read_tokens=345, output_tokens=481)
    assert summary(relayed, usage, "complete", 2.06) == f"k2 · claude-sonnet-5 · 2 tries · 12.3k→481 tok · 2.1 s · {ID}"
    relayed.attempts = [record(key=None, estimated=True)]
    told = summary(relayed, Usage(output_tokens=7), "client_closed", 1.0)
    assert told == f"client's key · claude-sonnet-5 · ?→~7 tok · client closed · 1.0 s · {ID}"
    relayed.attempts = [record(fault=Fault("529")), record(2)]
    assert summary(relayed, None, "complete", 1.0) == f"k2 · claude-sonnet-5 · 2 tries · fault · 1.0 s · {ID}"


def test_failed_and_retried_requests_stand_out(relayed: Relayed) -> None:
    relayed.attempts = [record()]
    assert marker(relayed, "complete") == ""
    relayed.attempts = [record(), record(2)]
    assert marker(relayed, "complete") == RETRIED
    assert marker(relayed, "error") == FAILED


def test_the_mark_is_a_short_story(relayed: Relayed) -> None:
    usage = Usage(input_tokens=12_000, cache_read_tokens=345, output_tokens=481)
    relayed.attempts = [record()]
    assert story(relayed, usage, "complete") == "sonnet-5 k2 12.3k→481"
    relayed.attempts = [record(), record(2, key=None)]
    assert story(relayed, usage, "complete") == f"{RETRIED} sonnet-5 client ×2 12.3k→481"
    relayed.attempts = []
    assert story(relayed, None, "error") == f"{FAILED} sonnet-5"


def test_requests_and_attempts_are_found_by_each_other(relayed: Relayed) -> None:
    with mitmproxy_with(theirs := TheirView()):
        live = tflow.tflow(resp=True)
        relayed.attempts = [record(verdict="overloaded"), record(2, verdict="ok")]
        View(10, 10).add_failed(relayed, relayed.attempts[0], live, Outcome(529, message="busy"), None)
        label(relayed, live, "complete")
        (attempt,) = theirs
    assert live.metadata["relay_attempts"] == attempt.id
    for pattern in ("relay_request: req_relay_1", "relay_key: anthropic/k2", "relay_provider: anthropic"):
        assert flowfilter.FMeta(pattern)(live)
        assert flowfilter.FMeta(pattern)(attempt)
    assert flowfilter.FMeta("relay_verdict: overloaded")(attempt)
    assert flowfilter.FMeta("relay_verdict: ok")(live)


def test_a_failed_attempt_is_a_flow_of_its_own_without_secrets(relayed: Relayed) -> None:
    with mitmproxy_with(theirs := TheirView()):
        live = tflow.tflow(resp=True)
        answer = http.Response.make(401, b"", {"content-encoding": "gzip", "x": "y"})
        outcome = Outcome(401, body=f"no {KEY.secret}".encode(), message=f"bad {KEY.secret}")
        View(10, 10).add_failed(relayed, record(verdict="revoked"), live, outcome, answer)
        View(10, 10).add_failed(relayed, record(2), live, Outcome(failure=Failure.CONNECT, message="refused"), None)
        refused, unreached = theirs
        assert refused.comment == f"attempt 1 · anthropic/k2 · revoked · bad relay:anthropic/k2 · {ID}"
        assert (refused.response.raw_content, refused.marked) == (
            b"no relay:anthropic/k2",
            f"{FAILED} 1. anthropic/k2 revoked",
        )
        assert "content-encoding" not in refused.response.headers
        assert "content-encoding" in answer.headers
        assert (unreached.response, unreached.error.msg) == (None, "refused")


def test_never_more_flows_and_bodies_than_asked_for() -> None:
    with mitmproxy_with(theirs := TheirView()):
        view = View(keep_flows=3, keep_bodies=2)
        live = tflow.tflow()
        live.live = True
        theirs.add([live])
        done = []
        for _ in range(6):
            flow = tflow.tflow(resp=True)
            flow.live = False
            theirs.add([flow])
            done.append(flow)
            view.finished(flow)
        assert list(theirs._store.values()) == [live, *done[-2:]]
        assert [flow.request.raw_content is None for flow in done] == [True] * 4 + [False] * 2


def test_mitmdump_has_no_list(relayed: Relayed) -> None:
    with mitmproxy_with():
        View(1, 1).finished(tflow.tflow())
        View(1, 1).add_failed(relayed, record(), tflow.tflow(), Outcome(401), None)
