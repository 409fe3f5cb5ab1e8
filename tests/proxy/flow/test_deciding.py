"""One value says what becomes of a request: an attempt, an upstream's answer, or one of the relay's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import (
    Accepted,
    Answered,
    Attempt,
    Endpoint,
    Facts,
    Failure,
    Outcome,
    PassedOn,
    Refused,
    is_own,
)
from claude_relay.proxy.flow.deciding import Decider, turn_away
from claude_relay.proxy.flow.parts import Parts
from claude_relay.proxy.messages.wire import Signature
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.inspection import View

BODY = b'{"model":"claude-sonnet-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
GOOD = Outcome(200, body=b"{}")
BAD = Outcome(400, body=b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}')


def made(endpoint: Endpoint = Endpoint.MESSAGES, *, keys: int = 1, path: str = "/v1/messages") -> Any:
    pool = [f"sk-ant-api03-pool-{n}" for n in range(keys)]
    config = {"providers": {"anthropic": {"preset": "anthropic", "keys": pool}}}
    runtime = Runtime.of(parse(json.dumps(config), environ={}), environ={})
    relayed = Relayed("req_relay_1", Facts(endpoint), runtime, runtime.limits, started_at=0.0, served=True)
    flow = tflow.tflow(req=tflow.treq(method=b"POST", path=path.encode(), headers=http.Headers(), content=BODY))
    relayed.keep_request(flow.request, BODY)
    relayed.client_signature = Signature(())
    return flow, relayed, Decider(Parts(View(1, 1)))


def begun(**how: Any) -> Any:
    flow, relayed, decider = made(**how)
    asyncio.run(decider.begin(flow, relayed))
    assert isinstance(relayed.step, Attempt)
    relayed.begin_attempt(relayed.step)
    return flow, relayed, decider


def test_a_request_begins_with_an_attempt() -> None:
    flow, relayed, _ = begun()
    assert (relayed.step.n, relayed.step.provider, flow.response) == (1, "anthropic", None)


def test_a_good_answer_is_accepted() -> None:
    flow, relayed, decider = begun()
    asyncio.run(decider.follow(flow, relayed, GOOD))
    assert isinstance(relayed.step, Accepted)
    assert not is_own(relayed.step)
    assert flow.response is None


def test_a_bad_request_is_passed_on_as_it_is() -> None:
    flow, relayed, decider = begun()
    verdict = asyncio.run(decider.follow(flow, relayed, BAD))
    assert verdict.name == "bad_request"
    assert relayed.step == PassedOn(verdict)
    assert not is_own(relayed.step)


def test_an_error_in_other_words_is_recast() -> None:
    flow, relayed, decider = begun()
    asyncio.run(decider.follow(flow, relayed, Outcome(400, body=b"<html>no</html>")))
    assert isinstance(relayed.step, PassedOn)
    assert relayed.step.recast
    assert is_own(relayed.step)
    assert json.loads(flow.response.content)["type"] == "error"


def test_another_key_follows_one_that_is_refused() -> None:
    flow, relayed, decider = begun(keys=2)
    first = relayed.step.key
    asyncio.run(decider.follow(flow, relayed, Outcome(401)))
    assert isinstance(relayed.step, Attempt)
    assert relayed.step.key not in (first, None)


def test_the_relay_says_so_when_no_key_is_left() -> None:
    flow, relayed, decider = begun()
    asyncio.run(decider.follow(flow, relayed, Outcome(401)))
    assert isinstance(relayed.step, Refused)
    assert flow.response.status_code == relayed.step.error.status == 503


def test_whatever_was_decided_an_error_of_the_relays_own_ends_it() -> None:
    """Also after an answer was accepted: its key is free again then."""
    flow, relayed, decider = begun()
    pools, key = relayed.runtime.pools, relayed.step.key
    asyncio.run(decider.follow(flow, relayed, GOOD))
    assert pools["anthropic"].load.busy(key.id) == 1
    answer = relayed.refuse(RelayError(502, "it crashed"))
    assert answer.status_code == 502
    assert is_own(relayed.step)
    assert pools["anthropic"].load.busy(key.id) == 0


def test_a_call_that_is_none_of_the_apis_has_one_attempt_without_policy() -> None:
    flow, relayed, decider = made(Endpoint.SIDE, path="/api/hello")
    asyncio.run(decider.begin(flow, relayed))
    assert relayed.step == Attempt(1, "", None, "")
    assert relayed.policy is None


def test_the_relays_own_answer_is_a_step_too() -> None:
    flow, relayed, decider = made(Endpoint.SIDE, path="/")
    flow.request.method = "OPTIONS"
    relayed.facts = Facts(
        Endpoint.SIDE, headers={"origin": "https://a.example", "access-control-request-method": "POST"}
    )
    asyncio.run(decider.begin(flow, relayed))
    assert (relayed.step, is_own(relayed.step)) == (Answered(), True)
    assert flow.response is not None


@pytest.mark.parametrize("field", ["ended", "turned_away"])
def test_what_was_turned_away_is_not_decided(field: str) -> None:
    flow, relayed, decider = made()
    setattr(relayed, field, RelayError(503, "the relay ends"))
    with pytest.raises(RelayError, match="the relay ends"):
        asyncio.run(decider.begin(flow, relayed))
    turn_away(flow, relayed)
    assert relayed.turned_away is not None
    assert relayed.step is None


def test_an_attempt_that_was_cut_off_is_followed_by_another() -> None:
    flow, relayed, decider = begun(keys=2)
    asyncio.run(decider.follow(flow, relayed, Outcome(200, failure=Failure.CUT)))
    assert isinstance(relayed.step, Attempt)
    assert [record.verdict for record in relayed.attempts] != [""]
