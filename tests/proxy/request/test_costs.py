"""What a request has used and what that costs, over all of its tries."""

from __future__ import annotations

import asyncio

import pytest

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.core.accounting.terms import ORDINARY
from claude_relay.core.exchange import Answered
from claude_relay.proxy.request import costs
from claude_relay.proxy.request.records import Charged
from claude_relay.proxy.request.relayed import Relayed

from .made import MODEL, record, relayed, runtime

PRICES = [{"model": "*", "input": 1000, "output": 2000}]
"""USD per million tokens: whatever is used is easy to reckon with."""


def said(text: str) -> Passed:
    found = Passed()
    found.content([{"type": "text", "text": text}])
    return found


@pytest.fixture
def request_(request: pytest.FixtureRequest) -> Relayed:
    found = relayed(on=runtime(prices=PRICES), body=b'{"messages": "' + b"x " * 400 + b'"}')
    found.attempts = [
        record(usage=Usage(input_tokens=10, output_tokens=0)),
        record(2, usage=Usage(input_tokens=20, output_tokens=5)),
    ]
    return found


def test_tries_whose_answers_the_client_never_saw_count(request_: Relayed) -> None:
    used = costs.billed(request_)
    assert (used.input_tokens, used.output_tokens) == (30, 5)
    costs.price_all(request_)
    whole = costs.whole_price(request_)
    assert whole is not None
    assert whole.usd == pytest.approx(0.04)


def test_what_is_billed_beside_an_attempt(request_: Relayed) -> None:
    charge = Charged("advisor", "claude-opus-4-5", ORDINARY, [Usage(output_tokens=1), Usage(output_tokens=2)])
    request_.attempts[-1].charges.append(charge)
    assert costs.billed(request_).output_tokens == 8
    costs.price_all(request_)
    assert charge.priced is not None
    assert charge.priced.usd == pytest.approx(0.006)


def test_a_model_that_nobody_knows_has_no_price() -> None:
    request = relayed(on=runtime())
    request.attempts = [record(model="no-such-model-at-all", usage=Usage(input_tokens=10))]
    costs.price_all(request)
    assert costs.whole_price(request) is None
    request.attempts = [record()]
    costs.price_all(request)
    assert costs.whole_price(request) is None  # it has used nothing that is known


@pytest.mark.parametrize("rough", [False, True])
def test_what_an_answer_did_not_come_to_tell(request_: Relayed, rough: bool) -> None:
    broken = record(3, unknown=said("word " * 100))
    request_.attempts.append(broken)
    assert [one for one, _ in costs.unknown(request_)] == [broken]
    before = costs.by_now(request_, broken)
    assert before is not None
    assert 50 < (before.output_tokens or 0) < 250
    assert broken.usage is None
    if rough:
        costs.estimate_now(request_)
    else:
        asyncio.run(costs.estimate(request_))
    assert broken.estimated
    assert broken.usage is not None
    assert 50 < (broken.usage.output_tokens or 0) < 250
    assert (broken.usage.input_tokens or 0) > 100
    assert costs.unknown(request_) == []
    assert costs.by_now(request_, broken) is broken.usage


def test_an_answer_that_never_began_has_no_output(request_: Relayed) -> None:
    request_.attempts = [record(unknown=Passed())]
    asyncio.run(costs.estimate(request_))
    assert request_.attempts[0].usage is not None
    assert request_.attempts[0].usage.output_tokens == 0


def test_whether_the_meter_saw_the_last_tries_answer(request_: Relayed) -> None:
    assert costs.counts(request_)
    request_.step = Answered()
    assert not costs.counts(request_)
    assert not costs.counts(relayed())


def test_what_something_would_cost_now() -> None:
    found = costs.price_at(runtime(prices=PRICES), "anthropic", MODEL, Usage(output_tokens=500), batch=False)
    assert found == pytest.approx(1.0)
    assert costs.price_at(runtime(), "anthropic", "no-such-model-at-all", Usage(output_tokens=5), batch=False) is None
